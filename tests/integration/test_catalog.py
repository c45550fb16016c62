"""The catalog in one process: opening, writing, reading, refusing."""

import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pytest

from infra.catalog import (
    Catalog,
    DropRow,
    EvaluationRow,
    ModelRow,
    NodeRow,
    RoundRow,
    ShardRow,
    ShardStatus,
    StageRow,
    TrajectoryRow,
    TreeRow,
)
from infra.catalog.columns import columns_of
from infra.catalog.complaints import is_away, is_conflict, translated
from infra.catalog.schema import TABLES
from infra.catalog.transactions import write
from rstar_core.errors import CatalogBusyError, CatalogError, is_transient
from rstar_core.types import Problem, Split, Tier

PROBLEMS = [
    Problem(f"p{i}", f"What is {i} + {i}?", str(2 * i), tier, "builtin/sum", "MIT", split)
    for i, (tier, split) in enumerate(
        [(Tier.GSM, Split.TRAIN), (Tier.MATH, Split.TRAIN), (Tier.GSM, Split.HELDOUT)]
    )
]
SHARD = ShardRow(1, "search-0", "search", 0, ShardStatus.PENDING, 2, ("p0", "p1"))
TREE = TreeRow(1, "search-0", "p0", 0, 7, 8, 2, 1, 1, True, 90, 5, 1, 0.5)
NODE = NodeRow(
    1, "search-0", "p0", 0, 1, 0, 1, "answer", "é 'quoted'\n", "", None, 8, 8.0, 1.0, None, True, None, "0"
)
PATH = TrajectoryRow(1, "search-0", "p0", 0, 0, (1,), ("a 'step'",), (1.0,), 1.0, 1.0, "0", True, "a 'step'")


@pytest.fixture(scope="module")
def template(tmp_path_factory, empty_catalog):
    root = empty_catalog(tmp_path_factory.mktemp("template"))
    with Catalog.open(root) as catalog:
        catalog.add_problems(PROBLEMS)
    return root


@pytest.fixture(scope="module")
def reader(template):
    with Catalog.open(template, read_only=True) as reader:
        yield reader


@pytest.fixture
def root(template, tmp_path):
    return shutil.copytree(template, tmp_path / "a root's folder")


@pytest.fixture
def catalog(root):
    with Catalog.open(root) as catalog:
        yield catalog


def test_a_missing_catalog_is_named_together_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(CatalogError, match=r"There is no catalog at .*nowhere; make one with `rstar run"):
        Catalog.open(tmp_path / "nowhere")


def test_a_half_made_catalog_is_finished_by_the_next_creation(tmp_path):
    (tmp_path / "catalog.sqlite").touch()
    with pytest.raises(CatalogError, match="cannot be opened"):
        Catalog.open(tmp_path)
    with Catalog.open(tmp_path, create=True) as catalog:
        assert catalog.problems() == []


def test_a_catalog_of_newer_code_is_refused(root, catalog):
    def newer(connection):
        connection.execute("UPDATE meta_schema SET version = 99")

    write(catalog._connection, catalog.location, "from the future", newer)
    with pytest.raises(CatalogError, match="has schema 99, but this code knows only 4; update rstar"):
        Catalog.open(root)


def test_a_root_that_cannot_hold_a_catalog_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="cannot be made"):
        Catalog.open(tmp_path / "file" / "root", create=True)
    with pytest.raises(CatalogError, match="is no catalog; give a campaign"):
        Catalog.open("s3://bucket/runs", create=True)


def test_every_column_and_view_says_what_it_means(reader):
    columns = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE database_name = 'lake'"
    commented = {(table, column): comment for table, column, comment in reader.sql(columns)[1]}
    for table in TABLES:
        for column in columns_of(table):
            assert commented[table.TABLE, column.name] == column.comment
    views = reader.sql("SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'lake'")[1]
    assert len(views) == 13
    assert all(comment for _, comment in views)


def test_ingesting_again_adds_only_new_problems_and_keeps_their_split(catalog):
    moved = replace(PROBLEMS[0], split=Split.HELDOUT)
    new = replace(PROBLEMS[0], problem_id="p9", synthetic=True)
    assert catalog.add_problems([moved, new, new]) == 1
    assert catalog.problems(Split.TRAIN) == [*PROBLEMS[:2], new]
    assert catalog.problems() == [*PROBLEMS, new]


def test_a_shard_committed_twice_counts_once_and_the_last_commit_stays(catalog):
    catalog.plan_shards([SHARD])
    for repetition in range(2):
        shard = catalog.start_shard(SHARD)
        assert shard.attempt == repetition + 1
        kept = replace(PATH, text=f"attempt {repetition}")
        catalog.commit_shard(shard, trees=[TREE], nodes=[NODE], trajectories=[kept])
    assert catalog.fetch(TreeRow) == [TREE]
    assert catalog.fetch(NodeRow) == [NODE]
    assert catalog.trajectories(1) == [replace(PATH, text="attempt 1")]
    (done,) = catalog.done_shards(1)
    assert (done.attempt, done.num_tokens, done.error) == (2, 90, None)
    assert done.seconds >= 0
    assert done.finished_at >= done.started_at


def test_a_shard_that_failed_after_its_commit_counts_once_when_it_is_committed_again(catalog):
    catalog.commit_shard(SHARD, trees=[TREE])
    catalog.fail_shard(SHARD, "The report of success was lost.")
    catalog.commit_shard(SHARD, trees=[TREE])
    catalog.commit_shard(SHARD, trees=[TREE])
    assert catalog.fetch(TreeRow) == [TREE]


def test_nodes_come_back_as_they_were_and_only_for_the_asked_problems(catalog):
    root = replace(NODE, node_id=0, parent_id=None, depth=0, kind=None, text="", prior=-0.25, correct=False)
    other = replace(NODE, problem_id="p1")
    catalog.commit_shard(SHARD, nodes=[NODE, root, other])
    assert catalog.nodes(1, ["p0"]) == [root, NODE]
    assert catalog.nodes(1, []) == []


def test_a_row_of_another_shard_is_refused_and_nothing_is_written(catalog):
    with pytest.raises(CatalogError, match="belongs to round 1 shard search-9"):
        catalog.commit_shard(SHARD, trees=[TREE], nodes=[replace(NODE, shard_id="search-9")])
    assert catalog.fetch(TreeRow) == []


def test_a_transaction_that_fails_in_the_middle_leaves_nothing(catalog):
    catalog.commit_shard(SHARD, trees=[TREE])
    with pytest.raises(CatalogError, match="could not be written"):
        catalog.commit_shard(SHARD, trees=[], nodes=[replace(NODE, text=None)])
    assert catalog.fetch(TreeRow) == [TREE]
    catalog.commit_shard(SHARD, nodes=[NODE])
    assert catalog.fetch(TreeRow) == []


def test_missing_shards_are_the_planned_ones_that_are_not_done(catalog):
    shards = [replace(SHARD, shard_id=f"search-{i}") for i in range(4)]
    assert catalog.plan_shards(shards) == 4
    catalog.commit_shard(shards[0])
    catalog.fail_shard(catalog.start_shard(shards[1]), "The sandbox broke.")
    catalog.start_shard(shards[2])
    assert catalog.plan_shards(shards) == 0
    missing = catalog.missing_shards(1, kind="search")
    assert [(row.shard_id, row.status) for row in missing] == [
        ("search-1", "failed"),
        ("search-2", "running"),
        ("search-3", "pending"),
    ]
    assert missing[0].error == "The sandbox broke."
    assert catalog.missing_shards(1, kind="escalation-1") == []


def test_replacing_a_round_touches_only_its_rows(catalog):
    now = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    base = ModelRow("m0", None, "base", None, "hub", None, {"loss": None, "é": [1, 2.5]}, None, now)
    policy = replace(base, model_id="m1", round_id=1, role="policy", base_model="m0")
    for _ in range(2):
        catalog.replace_round(ModelRow, None, [base], role="base")
        catalog.replace_round(ModelRow, 1, [policy], role="policy")
    assert catalog.fetch(ModelRow, order_by="model_id") == [base, policy]
    catalog.replace_round(ModelRow, 1, [], role="policy")
    assert catalog.fetch(ModelRow, "role = ?", ["base"]) == [base]


def test_replacing_a_round_refuses_rows_outside_it(catalog):
    stage = StageRow(1, "search", 1.5, {}, datetime.now(UTC))
    with pytest.raises(CatalogError, match="has stage 'search', but only rows with stage 'sft'"):
        catalog.replace_round(StageRow, 1, [stage], stage="sft")
    with pytest.raises(CatalogError, match="has no column colour"):
        catalog.replace_round(StageRow, 1, [stage], colour="red")


def test_drops_of_a_shard_and_of_the_ingest_do_not_mix(catalog):
    ingest = DropRow(None, None, "ingest", None, "gsm8k", "empty_answer", None, 3)
    in_shard = DropRow(1, "search-0", "search", "p0", None, "timeout", "5 s", 2)
    for _ in range(2):
        catalog.replace_round(DropRow, None, [ingest], stage="ingest")
        catalog.commit_shard(SHARD, drops=[in_shard])
    assert catalog.fetch(DropRow, order_by="stage") == [ingest, in_shard]


def test_null_is_kept_apart_from_zero_and_empty(catalog):
    row = EvaluationRow(1, "base", None, "p2", "builtin/sum", "gsm", None, None, 0, 0, 0.0)
    catalog.replace_round(EvaluationRow, 1, [row], label="base")
    assert catalog.fetch(EvaluationRow) == [row]
    round_row = RoundRow(1, "demo", {"seed": 0}, "ab", 0, "m", None, "running", datetime.now(UTC), None)
    catalog.replace_round(RoundRow, 1, [round_row])
    assert catalog.fetch(RoundRow) == [round_row]


def test_every_commit_is_a_snapshot_with_a_message(catalog):
    catalog.plan_shards([SHARD])
    catalog.commit_shard(SHARD, trees=[TREE])
    query = "SELECT author, commit_message FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 2"
    assert catalog.sql(query)[1] == [("rstar", "round 1: commit shard search-0"), ("rstar", "plan 1 shards")]


def test_typed_sql_can_neither_write_nor_look_elsewhere(reader, template, tmp_path):
    forbidden = [
        "DELETE FROM problems",
        "CREATE TABLE evil (i INT)",
        "DROP VIEW coverage; SELECT 1",
        "CREATE TABLE evil (i INT); SELECT 1",
        f"COPY problems TO '{tmp_path}/out.csv'; SELECT 1",
        f"COPY problems TO '{template}/lake/out.csv'",
        f"EXPLAIN ANALYZE COPY problems TO '{template}/lake/out.csv'",
        f"ATTACH '{tmp_path}/other.db'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SET enable_external_access = true",
        "SELEC 'write-write conflict'",
        "SELECT nothing FROM problems",
        "",
    ]
    for query in forbidden:
        with pytest.raises(CatalogError) as caught:
            reader.sql(query)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == list((template / "lake").glob("*.csv")) == []
    assert len(reader.problems()) == 3


def test_typed_sql_may_ask_in_every_form(reader):
    forms = ["FROM problems", "DESCRIBE problems", "SHOW TABLES", "PIVOT problems ON tier USING count(*)"]
    for query in forms:
        columns, rows = reader.sql(query)
        assert columns
        assert all(len(row) == len(columns) for row in rows)


def test_a_read_only_catalog_refuses_to_write(reader):
    with pytest.raises(CatalogError, match="for reading only"):
        reader.plan_shards([SHARD])


def test_a_writer_that_never_lets_go_is_reported_as_busy(catalog):
    with (
        catalog.location.writing(),
        pytest.raises(CatalogBusyError, match="has been writing") as caught,
        catalog.location.writing(timeout_seconds=0.05),
    ):
        pass
    assert is_transient(caught.value)


def test_a_writer_without_the_lock_makes_the_whole_transaction_run_again(root, catalog):
    attempts = []

    def work(connection):
        attempts.append(connection.execute("SELECT count(*) FROM shards").fetchone()[0])
        if len(attempts) == 1:
            with Catalog.open(root) as other:
                other._connection.execute("INSERT INTO lineage VALUES ('a', 'b', 'c', NULL)")
        connection.execute("INSERT INTO lineage VALUES ('d', 'e', 'f', NULL)")

    write(catalog._connection, catalog.location, "late", work)
    assert attempts == [0, 0]
    assert catalog.sql("SELECT child FROM lineage ORDER BY child")[1] == [("a",), ("d",)]


def test_only_errors_about_other_writers_are_conflicts():
    assert is_conflict(duckdb.TransactionException("Failed to commit: database is locked"))
    assert is_conflict(duckdb.TransactionException("Transaction conflict - table changed"))
    assert not is_conflict(duckdb.IOException("No space left on device"))
    assert not is_conflict(sqlite3.OperationalError("database is locked"))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (duckdb.IOException("Unable to connect to Postgres at x: Connection refused"), True),
        (duckdb.TransactionException('Failed to commit: Failed to execute query "ROLLBACK": '), True),
        (duckdb.TransactionException("stats: Current transaction is aborted (please ROLLBACK)"), True),
        (duckdb.IOException("Server returned nothing error for HTTP PUT to 'http://x/y'"), True),
        (duckdb.HTTPException("HTTP GET error on 'http://x/y' (HTTP 503)"), True),
        (duckdb.HTTPException("HTTP GET error on 'http://x/y' (HTTP 403)"), False),
        (duckdb.IOException("No space left on device"), False),
        (duckdb.BinderException("no column 'connection refused'"), False),
    ],
)
def test_an_absence_is_known_in_all_its_forms(error, passes):
    assert is_away(error) is passes
    assert is_transient(translated(error, "It failed")) is passes


def test_ctrl_c_in_the_middle_of_a_query_is_an_interrupt_and_no_error_of_the_catalog(catalog):
    def interrupted(_):
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        write(catalog.connection, catalog.location, "interrupted", interrupted)
    assert catalog.add_problems([]) == 0  # it can go on
