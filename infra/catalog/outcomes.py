"""The outcome of each problem, kept in step with the shards: changes are appended, nothing is updated.

Coverage of a campaign of the paper's size then is a sum over three million short rows instead of a scan of
all trajectories. `rstar catalog check` compares the sums with the facts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from infra.catalog.rows import OutcomeChangeRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from infra.catalog.rows import ShardRow, TrajectoryRow

_TABLE = OutcomeChangeRow.TABLE
Change = tuple[str, str, str, int, int, int]
"""Problem, its tier and source; by how much its tries, trajectories and correct trajectories change."""

# Whether a problem is tried and solved is decided by its counts before and after: a shard that is run again
# may not be the only one that solved it.
_APPEND = f"""
    INSERT INTO {_TABLE} BY NAME
    WITH new AS (
        SELECT unnest(?::VARCHAR[]) AS problem_id, unnest(?::VARCHAR[]) AS tier,
            unnest(?::VARCHAR[]) AS source, unnest(?::BIGINT[]) AS tries,
            unnest(?::BIGINT[]) AS num_trajectories, unnest(?::BIGINT[]) AS num_correct
    ), old AS (
        SELECT problem_id, sum(tries)::BIGINT AS tries, sum(num_correct)::BIGINT AS num_correct
        FROM {_TABLE} WHERE round_id = ? AND problem_id BETWEEN ? AND ?
            AND problem_id IN (SELECT problem_id FROM new) GROUP BY problem_id
    )
    SELECT ? AS round_id, ? AS shard_id, new.* EXCLUDE (tries, num_correct), new.tries, new.num_correct,
        (coalesce(old.tries, 0) + new.tries > 0)::BIGINT - (coalesce(old.tries, 0) > 0)::BIGINT AS tried,
        (coalesce(old.num_correct, 0) + new.num_correct > 0)::BIGINT
            - (coalesce(old.num_correct, 0) > 0)::BIGINT AS solved
    FROM new LEFT JOIN old USING (problem_id)"""  # noqa: S608 - our own table

FILL_FROM_FACTS = f"""
    INSERT INTO {_TABLE} BY NAME
    WITH tried AS (
        SELECT DISTINCT round_id, shard_id, unnest(problem_ids) AS problem_id FROM shards
        WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
    ), found AS (
        SELECT round_id, shard_id, problem_id, count(*) AS num_trajectories,
            count(*) FILTER (WHERE correct) AS num_correct
        FROM trajectories GROUP BY ALL
    ), counted AS (
        SELECT round_id, shard_id, problem_id, tier, source, 1 AS tries,
            coalesce(num_trajectories, 0) AS num_trajectories, coalesce(num_correct, 0) AS num_correct
        FROM tried JOIN problems USING (problem_id)
        LEFT JOIN found USING (round_id, shard_id, problem_id) WHERE split = 'train'
    )
    SELECT *, (row_number() OVER (PARTITION BY round_id, problem_id ORDER BY shard_id) = 1)::BIGINT AS tried,
        (num_correct > 0 AND row_number() OVER (PARTITION BY round_id, problem_id, num_correct > 0
            ORDER BY shard_id) = 1)::BIGINT AS solved
    FROM counted"""  # noqa: S608 - our own table
"""What the shards of a catalog of older code amount to."""


def found_by(
    connection: duckdb.DuckDBPyConnection, shard: ShardRow, trajectories: Iterable[TrajectoryRow]
) -> list[Change]:
    """What a search shard that is done changes: its training problems were tried, and this was found.

    It reads nothing that ever changes, so it needs no transaction.
    """
    if shard.kind.startswith("evaluate"):
        return []
    found, right = Counter[str](), Counter[str]()
    for row in trajectories:
        found[row.problem_id] += 1
        right[row.problem_id] += row.correct
    query = """
        SELECT problem_id, tier, source FROM problems
        WHERE split = 'train' AND problem_id BETWEEN ? AND ?
            AND problem_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY problem_id"""
    ids = shard.problem_ids or ("",)
    known = connection.execute(query, (min(ids), max(ids), list(ids))).fetchall()
    return [(each, tier, source, 1, found[each], right[each]) for each, tier, source in known]


def withdraw_shard(connection: duckdb.DuckDBPyConnection, shard: ShardRow) -> None:
    """The shard no longer counts: take back what it changed."""
    query = f"""
        SELECT problem_id, any_value(tier), any_value(source), -sum(tries)::BIGINT,
            -sum(num_trajectories)::BIGINT, -sum(num_correct)::BIGINT
        FROM {_TABLE} WHERE round_id = ? AND shard_id = ? GROUP BY problem_id
        HAVING sum(tries) <> 0 OR sum(num_trajectories) <> 0"""  # noqa: S608 - our own table
    changes = connection.execute(query, (shard.round_id, shard.shard_id)).fetchall()
    append(connection, shard.round_id, shard.shard_id, changes)


def withdraw_problems(
    connection: duckdb.DuckDBPyConnection, round_id: int, problem_ids: Sequence[str]
) -> None:
    """What any shard of the round found of these problems is about to be replaced; they stay tried."""
    query = f"""
        SELECT shard_id, problem_id, any_value(tier), any_value(source), 0,
            -sum(num_trajectories)::BIGINT, -sum(num_correct)::BIGINT
        FROM {_TABLE} WHERE round_id = ? AND problem_id IN (SELECT unnest(?::VARCHAR[]))
        GROUP BY shard_id, problem_id HAVING sum(num_trajectories) <> 0 ORDER BY shard_id"""  # noqa: S608
    by_shard: dict[str, list[Change]] = {}
    for shard_id, *change in connection.execute(query, (round_id, list(problem_ids))).fetchall():
        by_shard.setdefault(shard_id, []).append(tuple(change))
    for shard_id, changes in by_shard.items():
        append(connection, round_id, shard_id, changes)


def append(
    connection: duckdb.DuckDBPyConnection, round_id: int, shard_id: str, changes: Sequence[Change]
) -> None:
    """Write the changes of a shard down."""
    if changes:
        columns = [list(column) for column in zip(*changes, strict=True)]
        between = (min(columns[0]), max(columns[0]))  # neighbours: most files need not be opened
        connection.execute(_APPEND, (*columns, round_id, *between, round_id, shard_id))
