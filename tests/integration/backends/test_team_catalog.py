"""The same catalog on every kind of place: SQLite or PostgreSQL, a folder or S3."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.catalog import Catalog, NodeRow, RoundRow, ShardRow, TrajectoryRow, TreeRow
from infra.catalog.checking import differences
from infra.catalog.maintenance import maintain
from infra.catalog.places import locate, settle
from infra.workspace import Workspace
from rstar_core.config import BuiltinSource, CampaignConfig, CatalogConfig, RoundConfig
from rstar_core.errors import CatalogAwayError, CatalogClaimedError, CatalogError, is_transient
from rstar_core.types import Problem, Split, Tier

NAMES = tuple(f"p{number}" for number in range(120))  # more rows than are kept inside the metadata
PLACES = ("folder", "postgres", "s3", "team")


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """A place for a catalog; a fresh schema and prefix each time."""
    name = f"c{os.urandom(4).hex()}"
    metadata = data = None
    if request.param in {"postgres", "team"}:
        metadata = request.getfixturevalue("postgres").address()
    if request.param in {"s3", "team"}:
        store = request.getfixturevalue("s3")
        data = f"s3://{store.BUCKET}/runs"
    return settle(tmp_path, name, CatalogConfig(metadata=metadata, data=data))


def commit(catalog, shard_id="search-0", *, round_id=1, tree=0, text="x"):
    shard = ShardRow(round_id, shard_id, "search", 1, "running", len(NAMES), NAMES)
    trees = [TreeRow(round_id, shard_id, p, tree, 1, 4, 9, 1, 1, True, 10, 8, 0, 2.0) for p in NAMES]
    blank = (1, "code", text, "", None, 8, 8.0, 1.0, None, False, None, None)
    nodes = [NodeRow(round_id, shard_id, p, tree, i, 0, *blank) for p in NAMES for i in range(2)]
    paths = [
        TrajectoryRow(round_id, shard_id, p, tree, 0, (1,), ("s",), (0.5,), 0.5, 0.5, "1", True, "s")
        for p in NAMES
    ]
    catalog.commit_shard(shard, trees=trees, nodes=nodes, trajectories=paths)


def add_problems(catalog):
    first = Problem("p0", "q", "1", Tier.GSM, "here", "MIT", Split.TRAIN)
    catalog.add_problems([replace(first, problem_id=each) for each in NAMES])


def test_everything_a_catalog_does_works_there(place):
    with Catalog.open(place, create=True) as catalog:
        add_problems(catalog)
        commit(catalog)
        commit(catalog)  # again: counted once
        version = catalog.tag("round-1/search", "searched")
        commit(catalog, "search-1", tree=1)
        config = {"seed": 1}
        catalog.replace_round(
            RoundRow, 1, [RoundRow(1, "c", config, "h", 1, "base", None, "done", datetime.now(UTC), None)]
        )
    with Catalog.open(place, read_only=True) as reader:
        assert reader.coverage(1)[-1] == {
            "round": 1,
            "tier": "all",
            "problems": 120,
            "solved": 120,
            "coverage": 1.0,
        }
        assert reader.sql("SELECT count(*) FROM nodes")[1] == [(480,)]
        assert reader.fetch(RoundRow)[0].config == config
        for query in (
            "DELETE FROM nodes",
            "CREATE TABLE other (a INT)",
            "SELECT * FROM read_text('/etc/passwd')",
        ):
            with pytest.raises(CatalogError):
                reader.sql(query)
    with Catalog.open(place, at=version) as then:
        assert len(then.fetch(NodeRow)) == 240
    with Catalog.open(place) as catalog:
        assert list(differences(catalog)) == []
        done = maintain(catalog, keep_days=0)
        assert done.files == len(place.files.sizes()) > 0
        assert list(differences(catalog, checksums=True)) == []
        assert catalog.coverage(1)[-1]["solved"] == 120


def test_a_file_that_is_damaged_missing_or_unknown_is_named(place):
    with Catalog.open(place, create=True) as catalog:
        add_problems(catalog)
        commit(catalog)
        maintain(catalog, keep_days=0)
        flipped, lost, *_ = place.files.sizes()
        files = place.files._filesystem()
        path = f"{place.files._base}/{flipped}"
        data = bytearray(files.cat_file(path))
        data[len(data) // 2] ^= 1
        files.pipe_file(path, bytes(data))
        files.rm_file(f"{place.files._base}/{lost}")
        files.pipe_file(f"{place.files._base}/main/nodes/stranger.parquet", b"")
        found = "\n".join(differences(catalog, checksums=True))
        assert f"{place.files.address(flipped)} has other bytes" in found
        assert f"{place.files.address(lost)} is not there" in found
        assert "stranger.parquet is unknown" in found


def test_one_runner_at_a_time_and_the_other_is_told_who(place):
    place.prepare()
    with place.claim("round-1"), place.claim("round-2"):
        with pytest.raises(CatalogClaimedError, match=f"round-1 of .* process {os.getpid()} on ") as caught:
            place.claim("round-1").__enter__()
        assert not is_transient(caught.value)
    with place.claim("round-1"):
        pass


def test_a_folder_or_an_address_is_enough_to_ask(place, tmp_path, cli):
    with Catalog.open(place, create=True) as catalog:
        add_problems(catalog)
        commit(catalog)
    roots = [str(tmp_path)]
    if place.metadata.EXTENSION == "postgres_scanner":
        roots.append(place.metadata.full_address)
    for root in roots:
        assert locate(root).data_path == place.data_path
        assert "120" in cli.answer("coverage", "-c", root)
        assert cli.answer("sql", "SELECT count(*) AS n FROM trees", "-c", root, "--csv") == "n\n120\n"
        assert "agree" in cli.answer("catalog", "check", "-c", root)


def campaign(tmp_path, **catalog):
    return CampaignConfig(
        name="team-1",
        root=str(tmp_path),
        sources=(BuiltinSource(),),
        rounds=(RoundConfig(),),
        catalog=CatalogConfig(**catalog),
    )


def test_the_place_of_a_campaigns_catalog_is_decided_once(tmp_path, postgres, s3):
    team = campaign(tmp_path, metadata=postgres.address(), data=f"s3://{s3.BUCKET}/p/")
    with Workspace.of(team).open_catalog() as catalog:
        assert catalog.location.data_path == f"s3://{s3.BUCKET}/p/team-1/"
        assert catalog.location.metadata.schema == "team_1"
    written = (tmp_path / "team-1" / "catalog.toml").read_text()
    assert "schema=team_1" in written
    with Workspace.of(team).open_catalog(read_only=True) as catalog:
        assert catalog.problems() == []
    for other in (
        {},
        {"metadata": postgres.address()},
        {"metadata": postgres.address("x"), "data": "s3://lake/p"},
    ):
        with pytest.raises(CatalogError, match="says otherwise; give another --root or name"):
            Workspace.of(campaign(tmp_path, **other)).open_catalog()
    alone = campaign(tmp_path / "other")
    Workspace.of(alone).open_catalog().close()
    with pytest.raises(CatalogError, match="has its catalog in that folder; remove"):
        Workspace.of(campaign(tmp_path / "other", metadata=postgres.address())).open_catalog()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("postgresql://u:hunter2@h/db?schema=a", "holds a password; put it into PGPASSWORD"),
        ("postgresql://h/db?password=hunter2&schema=a", "holds a password"),
        ("postgresql://h", "names no database"),
        ("postgresql://h/db", "names no schema"),
        ("postgresql://h/db?schema=A;drop", "is no schema of a catalog"),
        ("mysql://h/db", "is no catalog"),
    ],
)
def test_a_wrong_address_is_one_sentence_without_the_password(address, says):
    with pytest.raises(CatalogError, match=says) as caught:
        locate(address)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_and_may_be_tried_again(monkeypatch):
    monkeypatch.setattr("infra.catalog.transactions.PATIENCE_SECONDS", 0.2)
    with pytest.raises(CatalogAwayError, match=r"PostgreSQL at .*:1/db does not answer") as caught:
        Catalog.open("postgresql://127.0.0.1:1/db?schema=a", read_only=True)
    assert is_transient(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("s3")
def test_without_credentials_or_bucket_the_sentence_says_so(tmp_path, monkeypatch):
    with pytest.raises(CatalogError, match="no bucket nowhere"):
        Catalog.open(settle(tmp_path / "a", "c", CatalogConfig(data="s3://nowhere/x")), create=True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(CatalogError, match="There are no credentials for s3://lake/x/c/"):
        settle(tmp_path / "b", "c", CatalogConfig(data="s3://lake/x")).files.secret_statement()


def test_the_secret_key_is_nowhere(tmp_path, postgres, s3):
    """Not in a question, PostgreSQL's log of every statement, an object or a file."""
    place = settle(
        tmp_path, "secretive", CatalogConfig(metadata=postgres.address(), data=f"s3://{s3.BUCKET}/s")
    )
    with Catalog.open(place, create=True) as catalog:
        add_problems(catalog)
        commit(catalog)
        maintain(catalog, keep_days=0)
        shown = str(catalog.connection.execute("FROM duckdb_secrets()").fetchall())
    assert "catalog_data" in shown
    secret = s3.environment()["AWS_SECRET_ACCESS_KEY"]
    assert secret not in shown
    assert secret not in postgres.log
    files = place.files._filesystem()
    for name in files.find(place.files._base):
        assert secret.encode() not in files.cat_file(name)
    for path in Path(tmp_path).rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
