"""What can be asked of a catalog: typed rows, the views' rows as dicts, and a person's own SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from infra.catalog.connection import connect
from infra.catalog.history_rows import DecisionRow, VersionRow
from infra.catalog.questions import answer
from infra.catalog.round_rows import StageRow
from infra.catalog.rows import NodeRow, ProblemRow, Row, ShardRow, ShardStatus, TrajectoryRow, TreeRow
from infra.catalog.statements import ask, select
from infra.catalog.transactions import read
from infra.closing import Closing
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from infra.catalog.location import CatalogLocation

R = TypeVar("R", bound=Row)

_OF_DONE_SEARCHES = """round_id = ? AND shard_id IN (
    SELECT shard_id FROM shards
    WHERE round_id = ? AND status = 'done' AND NOT starts_with(kind, 'evaluate'))"""


DECISIONS = ("keep", "fix", "drop")
NEWEST_SNAPSHOT = "max(snapshot_id) FROM lake.snapshots()"
_FEW = 3
_MAX_DIGITS = 18
_DISTANCE = "levenshtein(left(problem_id, greatest(1, length(?))), ?)"


class CatalogReader(Closing):
    """The reading half of a `Catalog`. One object is one connection, for one thread."""

    def __init__(
        self, location: CatalogLocation, connection: duckdb.DuckDBPyConnection, *, read_only: bool
    ) -> None:
        self.location = location
        self._connection = connection
        self._read_only = read_only

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, for questions that have no method here."""
        return self._connection

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self._connection.close()

    def fetch(
        self, row_type: type[R], where: str = "", params: Sequence[object] = (), *, order_by: str = ""
    ) -> list[R]:
        """Typed rows of a table. `where` and `order_by` are SQL, with a `?` for each of `params`.

        Raises:
            CatalogError: The condition is wrong or the catalog cannot be read.
        """
        return read(self.location, lambda: select(self._connection, row_type, where, params, order_by))

    def problems(self, split: Split | None = None, *, round_id: int | None = None) -> list[Problem]:
        """All problems, or those of one split, ordered by id.

        With `round_id` as that round sees them: without those that were dropped, and with the references
        that were fixed, before it was planned.
        """
        where, params = ("", ()) if split is None else ("split = ?", (str(split),))
        found = [_problem(row) for row in self.fetch(ProblemRow, where, params, order_by="problem_id")]
        if round_id is None:
            return found
        rows = self.fetch(DecisionRow, "from_round <= ?", (round_id,), order_by="decided_at")
        decided = {row.problem_id: row for row in rows}  # the newest counts
        return [
            replace(each, answer=decided[each.problem_id].answer or each.answer)
            if each.problem_id in decided
            else each
            for each in found
            if each.problem_id not in decided or decided[each.problem_id].decision != "drop"
        ]

    def newest_snapshot(self) -> int:
        """Id of the newest snapshot."""
        _, rows = read(self.location, lambda: ask(self._connection, f"SELECT {NEWEST_SNAPSHOT}"))
        return int(rows[0][0])

    def snapshot_before(self, moment: datetime) -> int | None:
        """The newest snapshot that is as old as this moment or older, or None."""
        query = "SELECT max(snapshot_id) FROM lake.snapshots() WHERE snapshot_time <= ?"
        found = read(self.location, lambda: ask(self._connection, query, (moment,)))[1][0][0]
        return None if found is None else int(found)

    def snapshot_of(self, name: str) -> int:
        """Snapshot that a tag names, or a number that is one.

        Raises:
            CatalogError: There is none; the sentence names the nearest tags.
        """
        rows = self.fetch(VersionRow, "tag = ?", (name,))
        if rows:
            return rows[0].version
        query = "SELECT snapshot_id FROM lake.snapshots() WHERE snapshot_id = ?"
        if name.isdecimal() and len(name) < _MAX_DIGITS:
            if read(self.location, lambda: ask(self._connection, query, (int(name),)))[1]:
                return int(name)
            raise CatalogError(f"There is no version {name} here; the newest is {self.newest_snapshot()}.")
        query = f"SELECT tag FROM versions ORDER BY levenshtein(tag, ?), tag LIMIT {_FEW}"  # noqa: S608 - constants
        _, nearest = read(self.location, lambda: ask(self._connection, query, (name,)))
        near = f"; the nearest are {', '.join(row[0] for row in nearest)}" if nearest else ""
        raise CatalogError(f"No version is called '{name}' here{near}.")

    def find_problem(self, start: str) -> Problem:
        """The problem whose id is `start`, or the only one whose id begins with it.

        Raises:
            CatalogError: No id begins so (the sentence names the nearest), or several do.
        """
        start = start.encode(errors="replace").decode()  # a command line may hold any bytes
        found = self.fetch(ProblemRow, "starts_with(problem_id, ?)", (start,), order_by="problem_id")
        if len(found) == 1:
            return _problem(found[0])
        if found:
            some = ", ".join(row.problem_id for row in found[:_FEW]) + (", …" if len(found) > _FEW else "")
            raise CatalogError(
                f"{len(found)} problem ids begin with '{start}' ({some}); give more of the id."
            )
        query = f"SELECT problem_id FROM problems ORDER BY {_DISTANCE}, problem_id LIMIT {_FEW}"  # noqa: S608 - constants
        _, nearest = read(self.location, lambda: ask(self._connection, query, (start, start)))
        near = f"; the nearest are {', '.join(row[0] for row in nearest)}" if nearest else ""
        raise CatalogError(f"No problem id begins with '{start}' here{near}.")

    def shards(
        self, round_id: int, *, kind: str | None = None, status: ShardStatus | None = None
    ) -> list[ShardRow]:
        """Shards of a round, all or those of one kind or status, ordered by id."""
        match = {"round_id": round_id, "kind": kind, "status": None if status is None else str(status)}
        given = {name: value for name, value in match.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given)
        return self.fetch(ShardRow, where, tuple(given.values()), order_by="shard_id")

    def done_shards(self, round_id: int, *, kind: str | None = None) -> list[ShardRow]:
        """Shards of a round that are done, ordered by id."""
        return self.shards(round_id, kind=kind, status=ShardStatus.DONE)

    def missing_shards(self, round_id: int, *, kind: str | None = None) -> list[ShardRow]:
        """Planned shards of a round that are not done, ordered by id: what a rerun has to do."""
        return [row for row in self.shards(round_id, kind=kind) if row.status != ShardStatus.DONE]

    def trees(self, round_id: int, problem_ids: Sequence[str]) -> list[TreeRow]:
        """These problems' trees in a round's finished searches, in a stable order."""
        return self.fetch(
            TreeRow,
            f"{_OF_DONE_SEARCHES} AND problem_id IN (SELECT unnest(?::VARCHAR[]))",
            (round_id, round_id, list(problem_ids)),
            order_by="problem_id, tree_index",
        )

    def trajectories(self, round_id: int) -> list[TrajectoryRow]:
        """Trajectories of a round's finished searches, in a stable order."""
        order = "problem_id, tree_index, trajectory_index"
        return self.fetch(TrajectoryRow, _OF_DONE_SEARCHES, (round_id, round_id), order_by=order)

    def nodes(self, round_id: int, problem_ids: Sequence[str]) -> list[NodeRow]:
        """Nodes of these problems' trees in a round's finished searches, in a stable order."""
        return self.fetch(
            NodeRow,
            f"{_OF_DONE_SEARCHES} AND problem_id IN (SELECT unnest(?::VARCHAR[]))",
            (round_id, round_id, list(problem_ids)),
            order_by="problem_id, tree_index, node_id",
        )

    def cost(self) -> float:
        """What all stages of all rounds are known to have cost, in the currency of the prices."""
        return float(sum(row.detail.get("cost", 0.0) for row in self.fetch(StageRow)))

    def coverage(self, round_id: int | None = None, *, by: str = "tier") -> list[dict[str, Any]]:
        """Rows of `coverage` (by="tier"), `coverage_by_source` ("source") or `coverage_curve` ("rollouts").

        Keys: round, tier or source, rollouts, problems, solved, coverage (a share in [0, 1]). The
        last two of a curve are None where the catalog of older code does not know when solutions were found.

        Raises:
            CatalogError: `by` is something else.
        """
        views = {"tier": "coverage", "source": "coverage_by_source", "rollouts": "coverage_curve"}
        if by not in views:
            raise CatalogError(f"Coverage is known by {', '.join(views)}, not by {by!r}.")
        return self._records(views[by], round_id)

    def evaluation_summary(self, round_id: int | None = None) -> list[dict[str, Any]]:
        """Rows of the view `evaluation_summary` as dicts; pass_at_1, low and high are shares in [0, 1]."""
        return self._records("evaluation_summary", round_id)

    def sql(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a question that a person typed. It cannot change or read anything else.

        Raises:
            CatalogError: The query is wrong or not a question.
        """
        if not self._read_only:
            connection = connect(self.location, read_only=True)
            with CatalogReader(self.location, connection, read_only=True) as reader:
                return reader.sql(query)
        return answer(self._connection, self.location, query)

    def _records(self, view: str, round_id: int | None) -> list[dict[str, Any]]:
        query, params = f"FROM {view}", () if round_id is None else (round_id,)
        if round_id is not None:
            query += ' WHERE "round" = ?'
        columns, records = read(self.location, lambda: ask(self._connection, query, params))
        return [dict(zip(columns, record, strict=True)) for record in records]


def _problem(row: ProblemRow) -> Problem:
    return Problem(
        problem_id=row.problem_id,
        question=row.question,
        answer=row.answer,
        tier=Tier(row.tier),
        source=row.source,
        licence=row.licence,
        split=Split(row.split),
        synthetic=row.synthetic,
    )
