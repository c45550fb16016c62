"""The catalog: every fact of a campaign, opened and written in whole transactions.

One `Catalog` is one connection. It is not to be shared between threads or processes: each opens its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from infra.catalog.columns import table_of
from infra.catalog.connection import connect
from infra.catalog.history_rows import DecisionRow, VersionRow
from infra.catalog.location import CatalogLocation
from infra.catalog.outcomes import append, found_by, withdraw_problems, withdraw_shard
from infra.catalog.places import locate
from infra.catalog.reader import DECISIONS, NEWEST_SNAPSHOT, CatalogReader
from infra.catalog.round_rows import LineageRow, StageRow
from infra.catalog.rows import (
    DropRow,
    NodeRow,
    ProblemRow,
    Row,
    ShardRow,
    ShardStatus,
    TrajectoryRow,
    TreeRow,
)
from infra.catalog.schema import SHARD_TABLES, check_version, has_column, open_or_create, upgrade
from infra.catalog.statements import delete, insert, insert_table, select
from infra.catalog.transactions import patiently, read, write
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import duckdb

    from infra.catalog.round_rows import EvaluationRow
    from rstar_core.types import Problem

R = TypeVar("R", bound=Row)
T = TypeVar("T")


class Catalog(CatalogReader):
    """An open catalog. Made by `Catalog.open`, closed by `close` or by leaving the `with` block."""

    @classmethod
    def open(
        cls,
        root: Path | str | CatalogLocation,
        *,
        create: bool = False,
        read_only: bool = False,
        at: int | None = None,
    ) -> Self:
        """Open the catalog under `root`; one that older code made is upgraded unless it is only read.

        Args:
            root: Folder or `postgresql://…?schema=…` address of the catalog, or its location.
            create: Make the catalog and what it lies in where they are missing.
            read_only: Refuse every write. Reading never waits for writers and never stops them.
            at: Snapshot to read instead of the newest; see `CatalogReader.snapshot_of`.

        Raises:
            CatalogError: There is no catalog, it was made by newer code, or it cannot be opened.
        """
        location = root if isinstance(root, CatalogLocation) else locate(root)
        connection = patiently(
            lambda: _connection(location, create=create, read_only=read_only, at=at),
            doubting=location.is_remote,
        )
        try:
            if not read_only and at is None:
                upgrade(connection, location)
            check_version(connection, location, old_is_fine=at is not None)
        except CatalogError:
            connection.close()
            raise
        return cls(location, connection, read_only=read_only or at is not None)

    def add_problems(self, problems: Iterable[Problem]) -> int:
        """Add the problems whose ids are not there yet and return how many that were.

        Running it again adds nothing, and a problem keeps the split it first had.
        """
        now = datetime.now(UTC)
        found = {problem.problem_id: _problem_row(problem, now) for problem in problems}
        # In order, for a shard's problems are neighbours: a scan then finds them in one place.
        rows = dict(sorted(found.items()))

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            known = {record[0] for record in connection.execute("SELECT problem_id FROM problems").fetchall()}
            fresh = [row for problem_id, row in rows.items() if problem_id not in known]
            insert(connection, ProblemRow, fresh)
            return len(fresh)

        return self._write(f"ingest {len(rows)} problems", work)

    def tag(self, tag: str, message: str) -> int:
        """Name the newest snapshot and return its id; a name that exists moves there."""
        return self._write(f"name a version {tag}", lambda connection: _tag(connection, tag, message))

    def record_stage(self, row: StageRow, *, output: str | None = None) -> None:
        """Replace a stage's row; with `output`, one line about it, also name the version that has it."""

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            delete(connection, StageRow, {"round_id": row.round_id, "stage": row.stage})
            insert(connection, StageRow, [row])
            if output is not None:
                _tag(connection, f"round-{row.round_id}/{row.stage}", output)

        self._write(f"round {row.round_id}: stage {row.stage}", work)

    def decide(self, problem_id: str, decision: str, *, answer: str | None = None, reason: str = "") -> int:
        """Write a decision about a problem down; returns the first round that honours it.

        Raises:
            CatalogError: The decision is not keep, fix or drop, a fix has no answer, or the problem is not
                one of training: the held-out ones are what rounds are compared by.
        """
        if decision not in DECISIONS:
            raise CatalogError(f"A decision is {', '.join(DECISIONS)}, not {decision!r}.")
        if (decision == "fix") != bool(answer and answer.strip()):
            raise CatalogError("A fix needs the new answer, and the other decisions have none.")

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            if not select(connection, ProblemRow, "problem_id = ? AND split = 'train'", (problem_id,)):
                raise CatalogError(
                    f"{problem_id} is no training problem, and only those can be decided about."
                )
            query = "SELECT coalesce(max(round_id), 0) + 1 FROM shards"
            (from_round,) = connection.execute(query).fetchall()[0]
            row = DecisionRow(problem_id, decision, answer, reason, from_round, datetime.now(UTC))
            insert(connection, DecisionRow, [row])
            problems, what = f"round-{from_round}/problems", f"{decision} {problem_id}"
            insert(connection, LineageRow, [LineageRow(problems, what, "decided", from_round)])
            return int(from_round)

        return self._write(f"decide: {decision} {problem_id}", work)

    def plan_shards(self, shards: Iterable[ShardRow]) -> int:
        """Write down the shards that are not known yet and return how many that were; known ones stay."""
        rows = {_key(shard): shard for shard in shards}

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            known = set(connection.execute("SELECT round_id, shard_id FROM shards").fetchall())
            fresh = [row for key, row in rows.items() if key not in known]
            insert(connection, ShardRow, fresh)
            return len(fresh)

        return self._write(f"plan {len(rows)} shards", work)

    def start_shard(self, shard: ShardRow) -> ShardRow:
        """Count one more attempt of the shard, mark it running and return it; an unknown one is added.

        What an earlier attempt committed does not count from here on until this attempt commits.
        """

        def work(connection: duckdb.DuckDBPyConnection) -> ShardRow:
            attempt, _ = _withdraw_if_done(connection, shard)
            started = replace(
                shard,
                attempt=attempt + 1,
                status=ShardStatus.RUNNING,
                started_at=datetime.now(UTC),
                finished_at=None,
                seconds=None,
                num_tokens=None,
                error=None,
            )
            _replace_shard(connection, started)
            return started

        return self._write(f"round {shard.round_id}: start shard {shard.shard_id}", work)

    def fail_shard(self, shard: ShardRow, error: str) -> ShardRow:
        """Mark the shard failed for this reason (one sentence) and return it."""
        failed = _ended(shard, ShardStatus.FAILED, error)
        message = f"round {shard.round_id}: shard {shard.shard_id} failed"

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            _withdraw_if_done(connection, shard)
            _replace_shard(connection, failed)

        self._write(message, work)
        return failed

    def forget_stage(self, round_id: int, stage: str, *, kind: str) -> int:
        """Remove a stage's shards and all that they found, in one transaction; returns their number.

        What the stage has cost stays in its row: it is paid.
        """

        def work(connection: duckdb.DuckDBPyConnection) -> int:
            shards = select(connection, ShardRow, "round_id = ? AND kind = ?", (round_id, kind))
            for shard in shards:
                _forget(connection, shard, ())
                delete(connection, ShardRow, {"round_id": round_id, "shard_id": shard.shard_id})
            rows = select(connection, StageRow, "round_id = ? AND stage = ?", (round_id, stage))
            delete(connection, StageRow, {"round_id": round_id, "stage": stage})
            paid = [(row, row.detail.get("cost", 0.0)) for row in rows]
            kept = [replace(row, seconds=0.0, detail={"cost": cost}) for row, cost in paid if cost]
            insert(connection, StageRow, kept)
            return len(shards)

        return self._write(f"round {round_id}: forget stage {stage}", work)

    def commit_shard(
        self,
        shard: ShardRow,
        *,
        trees: Sequence[TreeRow] = (),
        nodes: Sequence[NodeRow] = (),
        trajectories: Sequence[TrajectoryRow] = (),
        evaluations: Sequence[EvaluationRow] = (),
        drops: Sequence[DropRow] = (),
        follow_up: ShardRow | None = None,
        supersedes: Sequence[str] = (),
    ) -> ShardRow:
        """Replace everything this shard ever wrote by these rows and mark it done, in one transaction.

        However often a shard runs, its rows count once. Returns the finished shard. A missing `num_tokens` is
        summed from the trees, missing times are taken from the clock. `follow_up` is the shard that goes on
        where this one ends; of the problems in `supersedes` all that other shards of the round found is
        replaced.

        Raises:
            CatalogBusyError: Others were writing for too long; nothing was kept, and it may be tried again.
            CatalogError: A row belongs to another shard, or the catalog cannot be written; nothing was kept.
        """
        if shard.num_tokens is None and trees:
            shard = replace(shard, num_tokens=sum(tree.num_tokens for tree in trees))
        done = _ended(shard, ShardStatus.DONE, None)
        groups: tuple[Sequence[Any], ...] = (trees, nodes, trajectories, evaluations, drops)
        _check_owner((row for group in groups for row in group), shard)

        what = f"The catalog {self.location.root} could not be written"
        changes = read(self.location, lambda: found_by(self._connection, shard, trajectories), what)
        tables = [(type(group[0]), table_of(type(group[0]), group)) for group in groups if group]

        def work(connection: duckdb.DuckDBPyConnection) -> ShardRow:
            attempt = _forget(connection, shard, supersedes)
            for row_type, table in tables:
                insert_table(connection, row_type, table)
            append(connection, *_key(shard), changes)
            finished = replace(done, attempt=max(attempt, done.attempt))  # somebody may have started it again
            _replace_shard(connection, finished)
            if follow_up is not None:
                _replace_shard(connection, follow_up)
            return finished

        return self._write(f"round {shard.round_id}: commit shard {shard.shard_id}", work)

    def replace_round(
        self, row_type: type[R], round_id: int | None, rows: Sequence[R], **match: str | int | None
    ) -> None:
        """Replace a round's rows of one table in one transaction, so that a rerun never counts twice.

        `match` narrows what is replaced, for example `replace_round(EvaluationRow, 2, rows, label="r2")`.

        Raises:
            CatalogError: A row lies outside what is replaced, a column is unknown, or the write failed.
        """
        scope = {"round_id": round_id, **match}
        for name, value in scope.items():
            if not has_column(row_type, name):
                raise CatalogError(f"The table {row_type.TABLE} has no column {name} to replace rows by.")
            strays = [row for row in rows if getattr(row, name) != value]
            if strays:
                raise CatalogError(
                    f"A row of {row_type.TABLE} has {name} {getattr(strays[0], name)!r}, but only rows with "
                    f"{name} {value!r} are being replaced."
                )

        def work(connection: duckdb.DuckDBPyConnection) -> None:
            delete(connection, row_type, scope)
            insert(connection, row_type, rows)

        narrowed = "".join(f" {name}={value}" for name, value in match.items())
        self._write(f"round {round_id}: replace {row_type.TABLE}{narrowed}", work)

    def _write(self, message: str, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        if self._read_only:
            raise CatalogError(f"The catalog {self.location.root} was opened for reading only.")
        return write(self._connection, self.location, message, work)


def _connection(
    location: CatalogLocation, *, create: bool, read_only: bool, at: int | None
) -> duckdb.DuckDBPyConnection:
    if create and not read_only:
        return open_or_create(location)
    if not location.exists:
        raise location.missing()
    return connect(location, read_only=read_only or at is not None, at=at)


def _tag(connection: duckdb.DuckDBPyConnection, tag: str, message: str) -> int:
    (snapshot_id,) = connection.execute(f"SELECT {NEWEST_SNAPSHOT}").fetchall()[0]
    delete(connection, VersionRow, {"tag": tag})
    insert(connection, VersionRow, [VersionRow(tag, snapshot_id, message, datetime.now(UTC))])
    return int(snapshot_id)


def _key(shard: ShardRow) -> tuple[int, str]:
    return shard.round_id, shard.shard_id


def _check_owner(rows: Iterable[Any], shard: ShardRow) -> None:
    for row in rows:
        if (row.round_id, row.shard_id) != _key(shard):
            raise CatalogError(
                f"A row of {row.TABLE} belongs to round {row.round_id} shard {row.shard_id}, not to the "
                f"committed round {shard.round_id} shard {shard.shard_id}."
            )


def _withdraw_if_done(connection: duckdb.DuckDBPyConnection, shard: ShardRow) -> tuple[int, str]:
    """Only a done shard counts; returns the attempts and the status that the catalog had of it."""
    query = "SELECT attempt, status FROM shards WHERE round_id = ? AND shard_id = ?"
    known = connection.execute(query, _key(shard)).fetchall()
    attempt, status = known[0] if known else (0, ShardStatus.PENDING)
    if status == ShardStatus.DONE:
        withdraw_shard(connection, shard)
    return int(attempt), str(status)


def _forget(connection: duckdb.DuckDBPyConnection, shard: ShardRow, supersedes: Sequence[str]) -> int:
    """Remove what earlier commits of the shard left, and what others found of the problems it supersedes.

    Returns the attempts of the shard so far.
    """
    attempt, status = _withdraw_if_done(connection, shard)
    if _may_have_rows(attempt, status):
        for table in SHARD_TABLES:
            delete(connection, table, {"round_id": shard.round_id, "shard_id": shard.shard_id})
    if supersedes:
        withdraw_problems(connection, shard.round_id, supersedes)
        for table in (TreeRow, NodeRow, TrajectoryRow, DropRow):
            delete(connection, table, {"round_id": shard.round_id, "problem_id": list(supersedes)})
    return attempt


def _may_have_rows(attempt: int, status: str) -> bool:
    """Whether an earlier commit can have left rows of this shard.

    Only `commit_shard` writes such rows, it marks the shard done, and whatever comes after it leaves a trace:
    a failure, or a second attempt. So the usual first commit need not search five tables (0.1 s of CPU).
    """
    return attempt > 1 or status not in {ShardStatus.PENDING, ShardStatus.RUNNING}


def _replace_shard(connection: duckdb.DuckDBPyConnection, shard: ShardRow) -> None:
    delete(connection, ShardRow, {"round_id": shard.round_id, "shard_id": shard.shard_id})
    insert(connection, ShardRow, [shard])


def _ended(shard: ShardRow, status: ShardStatus, error: str | None) -> ShardRow:
    """The shard with its end written in; times that the caller measured stay."""
    now = datetime.now(UTC)
    seconds = shard.seconds
    if seconds is None and shard.started_at is not None:
        seconds = (now - shard.started_at).total_seconds()
    return replace(shard, status=status, error=error, finished_at=shard.finished_at or now, seconds=seconds)


def _problem_row(problem: Problem, added_at: datetime) -> ProblemRow:
    return ProblemRow(
        problem_id=problem.problem_id,
        question=problem.question,
        answer=problem.answer,
        tier=problem.tier,
        source=problem.source,
        licence=problem.licence,
        split=problem.split,
        synthetic=problem.synthetic,
        added_at=added_at,
    )
