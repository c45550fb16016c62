"""What a person may type: honest questions, nothing beyond the catalog, writes only on request."""

import shutil
import sqlite3
import subprocess
import sys

import pytest

from infra.catalog import Catalog, ShardRow
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier


@pytest.fixture(scope="module")
def folder(tmp_path_factory, empty_catalog):
    folder = tmp_path_factory.mktemp("typed") / "small"
    with Catalog.open(empty_catalog(folder)) as catalog:
        catalog.add_problems(
            Problem(f"p{i}", f"What is {i}?", str(i), tier, "here", "MIT", Split.TRAIN)
            for i, tier in enumerate((Tier.GSM, Tier.MATH))
        )
        catalog.commit_shard(ShardRow(1, "s", "search", 1, "running", 2, ("p0", "p1")))
    other = sqlite3.connect(folder / "other.sqlite")
    other.execute("CREATE TABLE secrets (secret TEXT)")
    other.commit()
    other.close()
    (folder / "file.csv").write_text("a\n1\n")
    return folder


@pytest.fixture(scope="module")
def reader(folder):
    with Catalog.open(folder, read_only=True) as reader:
        yield reader


HONEST = [
    "FROM coverage",
    "SELECT tier, count(*) FROM problems GROUP BY ALL ORDER BY tier",
    "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
    "PIVOT problems ON tier USING count(*)",
    "DESCRIBE problems",
    "SHOW TABLES",
    "SUMMARIZE problems",
    "FROM problems AT (VERSION => 2)",
    "FROM lake.snapshots()",
    "SELECT row_number() OVER (ORDER BY problem_id) FROM problems",
    "SELECT unnest(range(3))",
    "FROM generate_series(1, 3)",
    "SELECT [x * 2 FOR x IN [1, 2]]",
    "SELECT list_transform([1, 2], lambda x: x + 1)",
    "SELECT comment FROM duckdb_columns() WHERE table_name = 'trees'",
    "SELECT table_name FROM information_schema.tables",
    "SELECT 'read_csv and sqlite_scan and query(1)' AS words",
    "SELECT question AS query FROM problems -- glob('x')",
    "SELECT pg_typeof(1)",
    "FROM lake.table_changes('problems', 1, 2)",
]


@pytest.mark.parametrize("query", HONEST)
def test_an_honest_question_is_answered(reader, query):
    columns, rows = reader.sql(query)
    assert columns
    assert rows


HOSTILE = [
    "SELECT * FROM sqlite_scan('{folder}/other.sqlite', 'secrets')",
    "SELECT * FROM \"sqlite_scan\" /* hidden */ ('{folder}/other.sqlite', 'secrets')",
    "SELECT * FROM system.main.sqlite_scan('{folder}/other.sqlite', 'secrets')",
    "SELECT * FROM SQLITE_SCAN('{folder}/other.sqlite', 'secrets')",
    "SELECT * FROM query('FROM sqlite' || '_scan(''{folder}/other.sqlite'', ''secrets'')')",
    "SELECT * FROM query_table('problems')",
    "SELECT '€€€€€€€€€€€€€€€€€€€€€€€€€€', * FROM sqlite_scan('{folder}/other.sqlite', 'secrets')",
    "/* €€€€€€€€€€€€€€€€€€€€€€€€€€ */ SELECT * FROM sqlite_scan('{folder}/other.sqlite', 'secrets')",
    "SELECT * FROM sqlite_query('{folder}/other.sqlite', 'SELECT 1')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('{folder}/file.csv')",
    "SELECT * FROM '{folder}/file.csv'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('{folder}/lake/**/*.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/x.parquet')",
    "SELECT * FROM postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
    "SELECT * FROM __ducklake_metadata_lake.ducklake_snapshot",
    "SELECT * FROM duckdb_secrets(redact => false)",
    "SELECT getenv('HOME')",
    "SELECT U&\"\\0071uery\"('x')",
    "COPY problems TO '{folder}/out.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/other.sqlite' AS other (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA disable_checkpoint_on_shutdown",
    "CALL ducklake_expire_snapshots('lake', versions => [1])",
    "FROM ducklake_expire_snapshots('lake', versions => [1])",
    "FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "FROM lake.set_option('target_file_size', '1MB')",
    "DELETE FROM problems",
    "INSERT INTO problems FROM problems",
    "UPDATE problems SET answer = '1'",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "DROP VIEW coverage",
    "SELECT 1; DELETE FROM problems; SELECT 2",
    "BEGIN",
    "",
]


@pytest.mark.parametrize("query", HOSTILE)
def test_what_reaches_beyond_the_catalog_or_writes_is_one_sentence(reader, folder, query):
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(CatalogError) as caught:
        reader.sql(query.replace("{folder}", str(folder)))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert reader.sql("SELECT count(*) FROM problems")[1] == [(2,)]


def test_writing_is_allowed_on_request_all_or_nothing(folder, cli):
    said = cli.answer(
        *("sql", "-c", folder, "--allow-write"),
        "UPDATE problems SET source = 'there' WHERE problem_id = 'p0';"
        "UPDATE problems SET source = 'x' WHERE false",
    )
    assert said == "1 rows changed\n"
    complaint = cli.complaint(
        *("sql", "-c", folder, "--allow-write"),
        "UPDATE problems SET source = 'lost'; UPDATE problems SET sorce = 'x'",
    )
    assert "sorce" in complaint
    assert "all is one transaction" in cli.complaint("sql", "-c", folder, "--allow-write", "BEGIN; COMMIT")
    assert (
        cli.answer("sql", "-c", folder, "SELECT source FROM problems ORDER BY 1", "--csv")
        == "source\nhere\nthere\n"
    )
    message = "SELECT commit_message FROM lake.snapshots() ORDER BY snapshot_id DESC LIMIT 1"
    assert "typed by hand" in cli.answer("sql", "-c", folder, message, "--csv")


def test_without_the_request_the_sentence_names_it(folder, cli):
    assert "--allow-write" in cli.complaint("sql", "-c", folder, "DELETE FROM problems")


def test_the_shell_answers_and_cannot_write(folder):
    pytest.importorskip("duckdb_cli")
    command = [sys.executable, "-m", "flows.cli", "catalog", "shell", "-c", str(folder)]
    typed = "SELECT count(*) AS number FROM problems;\nDELETE FROM problems;\nSELECT 40 + 2;\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=120)
    assert "number" in done.stdout
    assert "42" in done.stdout
    assert "read-only" in done.stderr


def test_a_view_or_macro_that_somebody_left_cannot_reach_further_than_a_question(folder, cli, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "small")
    body = f"SELECT * FROM sqlite_scan('{folder}/other.sqlite', 'secrets')"  # noqa: S608 - a path of ours
    for left, question in (
        (f"CREATE VIEW innocent AS {body}", "FROM innocent"),
        (f"CREATE MACRO harmless() AS TABLE {body}", "FROM harmless()"),
    ):
        cli.answer("sql", "-c", copy, "--allow-write", left)
        assert "sqlite_scan reaches beyond the catalog" in cli.complaint("sql", "-c", copy, question)
        kind, name = left.split()[1:3]
        cli.answer(
            "sql",
            "-c",
            copy,
            "--allow-write",
            f"DROP {kind} {'TABLE ' if kind == 'MACRO' else ''}{name.removesuffix('()')}",
        )
        assert cli.answer("sql", "-c", copy, "FROM coverage")
