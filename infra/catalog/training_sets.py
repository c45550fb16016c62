"""Training sets made where the facts are: in SQL, whatever the size of a round.

They are what `rstar_core.trajectories.select_best` and `rstar_core.pairs` say, row for row; a test compares
them on random trees. Ranks are made of numbers, and texts are fetched for the winners alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.catalog.round_rows import SftExampleRow, StepPairRow
from infra.catalog.rows import DropRow
from infra.catalog.statements import delete
from infra.catalog.transactions import write

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from infra.catalog.reader import CatalogReader

    _Work = Callable[[duckdb.DuckDBPyConnection], int]

_MEMORY_LIMIT = "3GiB"
"""DuckDB writes what is more to temporary files; the models of the process need the rest of the memory."""

_FOUND = """
    found AS (
        FROM trajectories SEMI JOIN (
            SELECT round_id, shard_id FROM shards
            WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
        ) USING (round_id, shard_id)
        SEMI JOIN (FROM problems WHERE split = 'train') USING (problem_id)
        WHERE round_id = $round_id
    )"""
# Fewer than half of a synthetic problem's trajectories are correct: its reference is doubted (paper, 3.1).
_DOUBTED = """
    doubted AS (
        SELECT problem_id FROM found SEMI JOIN (FROM problems WHERE synthetic) USING (problem_id)
        GROUP BY problem_id HAVING 2 * count(*) FILTER (WHERE correct) < count(*)
    )"""

_BEST = f"""
    INSERT INTO sft_examples BY NAME
    WITH {_FOUND}, {_DOUBTED}, distinct_texts AS (
        SELECT problem_id, tree_index, trajectory_index, mean_q, min_q, length(text) AS size FROM found
        ANTI JOIN doubted USING (problem_id) WHERE correct
        QUALIFY row_number() OVER (PARTITION BY problem_id, hash(text), length(text)
            ORDER BY mean_q DESC, min_q DESC, tree_index, trajectory_index) = 1
    ), candidates AS (
        SELECT problem_id, tree_index, trajectory_index, size FROM distinct_texts
        QUALIFY rank() OVER (PARTITION BY problem_id ORDER BY mean_q DESC, min_q DESC, size) <= $count
    ), ranked AS (
        SELECT problem_id, step_texts, mean_q, tree_index, row_number() OVER (PARTITION BY problem_id
            ORDER BY mean_q DESC, min_q DESC, size, text DESC) AS rank
        FROM found JOIN candidates USING (problem_id, tree_index, trajectory_index)
    )
    SELECT $round_id AS round_id, problem_id, rank, question, step_texts, mean_q, tree_index
    FROM ranked JOIN problems USING (problem_id) WHERE rank <= $count ORDER BY problem_id, rank"""  # noqa: S608

_DOUBTS = f"""
    INSERT INTO drops BY NAME
    WITH {_FOUND}, {_DOUBTED}
    SELECT $round_id AS round_id, 'select' AS stage, problem_id, source, 'synthetic_doubted' AS reason,
        'fewer than half of its trajectories agree with its reference answer' AS detail, 1 AS count
    FROM doubted JOIN problems USING (problem_id) ORDER BY problem_id"""  # noqa: S608 - constants

_MIXED = f"""
    WITH {_FOUND}, mixed AS (
        FROM found SEMI JOIN (
            SELECT problem_id FROM found GROUP BY problem_id HAVING count(DISTINCT correct) = 2
        ) USING (problem_id)
    )"""  # noqa: S608 - constants

# A solution's nodes are the path to its answer: what leads where, and the text before it, is read from there.
_STEP_PAIRS = f"""
    INSERT INTO step_pairs BY NAME
    {_MIXED}, passed AS (
        SELECT problem_id, tree_index, correct, step_texts, unnest(node_ids) AS node_id,
            generate_subscripts(node_ids, 1) AS depth FROM mixed
    ), led AS (
        SELECT problem_id, tree_index, node_id, any_value(depth) AS depth, bool_or(correct) AS to_right,
            bool_or(NOT correct) AS to_wrong,
            any_value(array_to_string(step_texts[1:depth - 1], '')) AS prefix
        FROM passed GROUP BY ALL
    ), children AS (
        SELECT problem_id, tree_index, parent_id, node_id, q, text, led.depth, to_right, to_wrong, prefix
        FROM nodes JOIN led USING (problem_id, tree_index, node_id)
        WHERE round_id = $round_id AND kind <> 'answer' AND visits > 0
    ), right_ranked AS (
        SELECT *, to_right AND row_number() OVER (PARTITION BY problem_id, tree_index, parent_id, to_right
            ORDER BY q DESC, node_id) <= $per_side AS positive
        FROM children
    ), ranked AS (
        SELECT *, to_wrong AND NOT positive AND row_number() OVER (
            PARTITION BY problem_id, tree_index, parent_id, to_wrong AND NOT positive
            ORDER BY q, node_id DESC) <= $per_side AS negative
        FROM right_ranked
    )
    SELECT $round_id AS round_id, problem_id,
        concat_ws('/', problem_id, tree_index, parent_id) AS group_id,
        p.prefix, p.text AS positive, n.text AS negative, p.q AS positive_q, n.q AS negative_q, p.depth,
        false AS final, 1 / count(*) OVER (PARTITION BY problem_id, tree_index, parent_id) AS weight
    FROM (FROM ranked WHERE positive) p JOIN (FROM ranked WHERE negative) n
        USING (problem_id, tree_index, parent_id)
    WHERE p.q > n.q ORDER BY problem_id, tree_index, parent_id"""  # noqa: S608 - constants

_FINAL_PAIRS = f"""
    INSERT INTO step_pairs BY NAME
    {_MIXED}, positives AS (
        SELECT problem_id, text, mean_q, len(node_ids) AS depth FROM mixed WHERE correct
        QUALIFY row_number() OVER (
            PARTITION BY problem_id, text ORDER BY mean_q DESC, tree_index, trajectory_index) = 1
    ), negatives AS (
        SELECT problem_id, text, mean_q FROM mixed WHERE NOT correct
        QUALIFY row_number() OVER (PARTITION BY problem_id, text ORDER BY mean_q) = 1
    ), best AS (
        FROM positives QUALIFY row_number() OVER (
            PARTITION BY problem_id ORDER BY mean_q DESC, text) <= $per_side
    ), worst AS (
        FROM negatives QUALIFY row_number() OVER (
            PARTITION BY problem_id ORDER BY mean_q, text DESC) <= $per_side
    )
    SELECT $round_id AS round_id, problem_id, problem_id || '/final' AS group_id, '' AS prefix,
        best.text AS positive, worst.text AS negative, best.mean_q AS positive_q, worst.mean_q AS negative_q,
        depth, true AS final, 1 / count(*) OVER (PARTITION BY problem_id) AS weight
    FROM best JOIN worst USING (problem_id) ORDER BY problem_id"""  # noqa: S608 - constants


def select_best(catalog: CatalogReader, round_id: int, count: int) -> int:
    """Choose each problem's best correct trajectories of a round and return how many were chosen.

    Synthetic problems whose reference is doubted are left out and written down as dropped.

    Args:
        catalog: Open for writing.
        round_id: The round; what was chosen in it before is replaced.
        count: At most this many of each problem; 0 only writes the doubts down.

    Raises:
        CatalogError: The catalog cannot be written.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> int:
        delete(connection, SftExampleRow, {"round_id": round_id})
        delete(connection, DropRow, {"round_id": round_id, "stage": "select"})
        connection.execute(_DOUBTS, {"round_id": round_id})
        return _num_changed(connection, _BEST, {"round_id": round_id, "count": count})

    return _on_all_cores(catalog, f"round {round_id}: select the best trajectories", work)


def mine_pairs(catalog: CatalogReader, round_id: int, per_side: int) -> int:
    """Compare sibling steps and whole trajectories of a round's mixed problems; returns the number of pairs.

    Args:
        catalog: Open for writing.
        round_id: The round; its pairs of before are replaced.
        per_side: At most this many positives and negatives of each step, and of each problem.

    Raises:
        CatalogError: The catalog cannot be written.
    """

    def work(connection: duckdb.DuckDBPyConnection) -> int:
        given = {"round_id": round_id, "per_side": per_side}
        delete(connection, StepPairRow, {"round_id": round_id})
        return sum(_num_changed(connection, query, given) for query in (_STEP_PAIRS, _FINAL_PAIRS))

    return _on_all_cores(catalog, f"round {round_id}: mine pairs", work)


def _num_changed(connection: duckdb.DuckDBPyConnection, query: str, given: dict[str, int]) -> int:
    (count,) = connection.execute(query, given).fetchall()[0]
    return int(count)


def _on_all_cores(catalog: CatalogReader, message: str, work: _Work) -> int:
    """A commit is tiny and faster on one thread; these are not, and may sort more than fits into memory."""
    catalog.connection.execute("RESET threads")
    catalog.connection.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
    try:
        return write(catalog.connection, catalog.location, message, work)
    finally:
        catalog.connection.execute("RESET memory_limit")
        catalog.connection.execute("SET threads = 1")
