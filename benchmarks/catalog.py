"""The catalog at the paper's size: how long it takes to write, how fast it answers, and beside what else.

python benchmarks/catalog.py [--json] [--scale 1.0] [--folder DIR]

With scale 1: 747,000 problems, 4 rounds, 117 million nodes; about an hour on 2 cores. An interrupted run goes
on where it was. The comparison asks the same facts, copied, of plain Parquet files and a plain DuckDB file.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from benchmarks.catalog_writing import write_campaign
from benchmarks.figures import Figure, arguments, at_most, show
from benchmarks.paper_scale import NUM_PROBLEMS, problems, shards, write_shard
from infra.catalog import Catalog
from infra.catalog.maintenance import maintain

if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATS = 5
_ROUND = 3
_NUM_WRITERS = 4
_WATCH_SECONDS = 20.0
_UNSOLVED = "SELECT problem_id, question, num_trajectories FROM unsolved WHERE tier = 'olympiad'"
# The same questions of the facts alone, as anybody would ask them without this catalog.
_PLAIN_COVERAGE = """
    WITH done AS (SELECT round_id, shard_id, problem_ids FROM shards WHERE status = 'done'),
    tried AS (SELECT DISTINCT round_id, unnest(problem_ids) AS problem_id FROM done),
    solved AS (SELECT DISTINCT round_id, problem_id FROM trajectories
        SEMI JOIN done USING (round_id, shard_id) WHERE correct)
    SELECT t.round_id, coalesce(tier, 'all') AS tier, count(*), count(s.problem_id)
    FROM tried t JOIN problems USING (problem_id)
    LEFT JOIN solved s ON s.round_id = t.round_id AND s.problem_id = t.problem_id
    GROUP BY GROUPING SETS ((t.round_id, tier), (t.round_id))"""
_PLAIN_UNSOLVED = """
    SELECT problem_id, question, answer FROM problems
    ANTI JOIN (SELECT DISTINCT problem_id FROM trajectories WHERE correct) USING (problem_id)
    WHERE tier = 'olympiad'"""
_TABLES = ("problems", "shards", "trajectories")


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the paper's problems")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-catalog"))
    options = parser.parse_args()
    num_problems = round(NUM_PROBLEMS * options.scale)
    figures = writing(options.folder, options.scale)
    figures += questions(options.folder)
    figures += beside_writers(options.folder, num_problems)
    figures += selection(options.folder)
    figures += one_large_commit(options.folder, num_problems)
    figures += comparison(options.folder)
    figures += million_nodes(options.folder)
    show(figures, as_json=options.json)


def writing(folder: Path, scale: float) -> list[Figure]:
    """The campaign through the normal shard path by two writers, then maintained."""
    done = write_campaign(folder, scale)
    before = _bytes(folder)
    started = time.perf_counter()
    with Catalog.open(folder) as catalog:
        maintain(catalog, keep_days=0)
        query = "SELECT (SELECT count(*) FROM nodes), (SELECT count(*) FROM trajectories)"
        nodes, trajectories = catalog.connection.execute(query).fetchall()[0]
    return [
        Figure("nodes", nodes, "1"),
        Figure("trajectories", trajectories, "1"),
        Figure("shards", done["shards"], "1"),
        Figure("writing by 2 writers", done["seconds"], "s"),
        Figure("shards written", done["shards"] / done["seconds"], "1/s"),
        Figure("a commit (256 problems, 10,000 nodes), median", done["commit_median"], "s"),
        Figure("a commit, 99th percentile, waiting for the other included", done["commit_p99"], "s"),
        Figure("disk before maintenance", before / 1e9, "GB"),
        Figure("maintenance", time.perf_counter() - started, "s"),
        Figure("disk after maintenance", _bytes(folder) / 1e9, "GB"),
    ]


def questions(folder: Path) -> list[Figure]:
    """What an engineer asks, each in a fresh connection's median of five."""
    with Catalog.open(folder, read_only=True) as catalog:
        unsolved = len(catalog.sql(_UNSOLVED)[1])
        return [
            at_most("coverage by round and tier", _median(catalog.coverage), "s", 0.5),
            at_most(
                f"unsolved list of a tier ({unsolved:,} rows)",
                _median(lambda: catalog.sql(_UNSOLVED)),
                "s",
                1.0,
            ),
            Figure("coverage by source", _median(lambda: catalog.coverage(by="source")), "s"),
            Figure("newly solved and lost", _median(lambda: catalog.sql("FROM coverage_changes")), "s"),
            Figure("the curve of one round", _once(lambda: catalog.coverage(_ROUND, by="rollouts")), "s"),
        ]


def beside_writers(folder: Path, num_problems: int) -> list[Figure]:
    """Coverage of one round while four writers commit shards of a fifth."""
    with Catalog.open(folder) as catalog:
        catalog.plan_shards(shards(5, num_problems))
    command = [
        sys.executable,
        __file__.replace("catalog.py", "catalog_writer.py"),
        str(folder),
        str(num_problems),
    ]
    writers = [
        subprocess.Popen([*command, str(number), str(_NUM_WRITERS)], stdout=subprocess.PIPE, text=True)
        for number in range(_NUM_WRITERS)
    ]
    for each in writers:
        if each.stdout is not None:
            each.stdout.readline()  # it has made its trees and begins
    seconds, deadline = [], time.perf_counter() + _WATCH_SECONDS
    with Catalog.open(folder, read_only=True) as catalog:
        before = len(catalog.done_shards(5))
        while time.perf_counter() < deadline:
            seconds.append(_once(lambda: catalog.coverage(_ROUND)))
            time.sleep(0.2)
        committed = len(catalog.done_shards(5)) - before
    for each in writers:
        each.kill()
        each.wait()
    seconds.sort()
    return [
        Figure("shards that four writers committed meanwhile", committed, "1"),
        at_most("coverage of one round beside them, median", statistics.median(seconds), "s", 1.0),
        at_most("coverage of one round beside them, slowest", seconds[-1], "s", 1.0),
    ]


def selection(folder: Path) -> list[Figure]:
    """Top-2 selection and pair mining over a round, each in a process of its own for its memory."""
    figures = []
    for name, goal in (("select_best", 60.0), ("mine_pairs", None)):
        code = f"""
import resource, time
from infra.catalog import Catalog
from infra.catalog.training_sets import {name}
with Catalog.open({str(folder)!r}) as catalog:
    started = time.perf_counter()
    count = {name}(catalog, {_ROUND}, 2)
    print(count, time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        count, seconds, memory = map(float, done.stdout.split())
        what = "top-2 selection over a round" if goal else "pair mining over a round"
        figures += [
            Figure(f"{what}, rows", count, "1"),
            at_most(what, seconds, "s", goal) if goal else Figure(what, seconds, "s"),
            at_most(f"{what}, peak memory", memory, "GiB", 4.0)
            if goal
            else Figure(f"{what}, peak memory", memory, "GiB"),
        ]
    return figures


def one_large_commit(folder: Path, num_problems: int) -> list[Figure]:
    """A shard of 256 problems with some 40,000 nodes, nobody else writing."""
    with Catalog.open(folder) as catalog:
        rows = shards(6, num_problems)[:_REPEATS]
        catalog.plan_shards(rows)
        seconds = [write_shard(catalog, row, num_problems, long=True) for row in rows]
        (nodes,) = catalog.connection.execute(
            "SELECT count(*) FROM nodes WHERE round_id = 6 AND shard_id = ?", (rows[0].shard_id,)
        ).fetchall()[0]
    return [
        Figure("nodes of one large shard", nodes, "1"),
        at_most("its commit, median", statistics.median(seconds), "s", 1.0),
    ]


def comparison(folder: Path) -> list[Figure]:
    """The same questions over plain Parquet files and a plain DuckDB file with the same facts."""
    figures = []
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        parquet, file = Path(temporary) / "parquet", Path(temporary) / "facts.duckdb"
        parquet.mkdir()
        with Catalog.open(folder) as catalog:
            catalog.connection.execute("RESET threads")
            for table in _TABLES:
                target = parquet / f"{table}.parquet"
                catalog.connection.execute(f"COPY (FROM {table}) TO '{target}' (FORMAT parquet)")
        with duckdb.connect(str(file)) as plain:
            for table in _TABLES:
                plain.execute(f"CREATE TABLE {table} AS FROM '{parquet / table}.parquet'")
        with duckdb.connect() as over_parquet, duckdb.connect(str(file), read_only=True) as over_file:
            for table in _TABLES:
                over_parquet.execute(f"CREATE VIEW {table} AS FROM '{parquet / table}.parquet'")
            for name, connection in (("plain Parquet", over_parquet), ("a plain DuckDB file", over_file)):
                for what, query in (("coverage", _PLAIN_COVERAGE), ("unsolved list", _PLAIN_UNSOLVED)):
                    seconds = _median(lambda c=connection, q=query: c.execute(q).fetchall())  # type: ignore[misc]
                    figures.append(Figure(f"{what} over {name}", seconds, "s"))
        figures.append(
            Figure("disk of the plain DuckDB file (without nodes)", file.stat().st_size / 1e9, "GB")
        )
    return figures


def million_nodes(folder: Path) -> list[Figure]:
    """Coverage of a catalog of a million nodes."""
    small = folder.with_name(f"{folder.name}-small")
    shutil.rmtree(small, ignore_errors=True)
    scale = 0.0086
    num_problems = round(NUM_PROBLEMS * scale)
    with Catalog.open(small, create=True) as catalog:
        catalog.add_problems(problems(num_problems))
        for round_id in range(1, 5):
            catalog.plan_shards(shards(round_id, num_problems))
            for row in catalog.missing_shards(round_id):
                write_shard(catalog, row, num_problems)
        (nodes,) = catalog.connection.execute("SELECT count(*) FROM nodes").fetchall()[0]
    with Catalog.open(small, read_only=True) as catalog:
        seconds = _median(catalog.coverage)
    shutil.rmtree(small)
    return [
        Figure("nodes of a small catalog, not maintained", nodes, "1"),
        at_most("its coverage by round and tier", seconds, "s", 0.1),
    ]


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_once(work) for _ in range(_REPEATS))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
