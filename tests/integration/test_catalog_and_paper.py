"""The catalog's SQL against the paper's figures and against the core's Python."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.catalog.catalog import Catalog
from infra.catalog.rows import ShardRow, TrajectoryRow
from infra.tree_rows import trajectory_from
from rstar_core.trajectories import select_best
from rstar_core.types import Problem, Split, Tier

# Share of the training problems solved, % (paper, table 2).
TABLE_2 = {
    1: {"gsm": 96.61, "math": 67.36, "olympiad": 20.99, "all": 60.17},
    2: {"gsm": 97.88, "math": 67.40, "olympiad": 56.04, "all": 66.60},
    3: {"gsm": 98.15, "math": 88.69, "olympiad": 62.16, "all": 77.86},
    4: {"gsm": 98.15, "math": 94.53, "olympiad": 80.58, "all": 90.25},
}
PER_TIER = 10_000  # the table has four digits
TIERS = ("gsm", "math", "olympiad", "other")


def solved_counts(shares):
    """How many of each tier are solved; the rest that `all` needs is in the tier without a column."""
    counts = {tier: round(shares[tier] * PER_TIER / 100) for tier in TIERS[:3]}
    counts["other"] = round(shares["all"] * PER_TIER * len(TIERS) / 100) - sum(counts.values())
    return counts


def path(round_id, shard_id, problem_id, index, *, correct=True, q=(0.5, 0.5), text="s"):
    steps, mean_q = (text, ""), sum(q) / 2
    return TrajectoryRow(
        round_id, shard_id, problem_id, 0, index, (1, 2), steps, q, mean_q, min(q), "1", correct, text
    )


def test_coverage_is_the_papers_table_2(tmp_path):
    with Catalog.open(tmp_path, create=True) as catalog:
        names = {tier: [f"{tier}-{number}" for number in range(PER_TIER)] for tier in TIERS}
        catalog.add_problems(
            Problem(name, "q", "1", Tier(tier), tier, "MIT", Split.TRAIN)
            for tier in TIERS
            for name in names[tier]
        )
        for round_id, shares in TABLE_2.items():
            counts = solved_counts(shares)
            for tier in TIERS:
                shard = ShardRow(round_id, tier, "search", 1, "running", PER_TIER, tuple(names[tier]))
                found = [path(round_id, tier, name, 0) for name in names[tier][: counts[tier]]]
                catalog.commit_shard(shard, trajectories=found)
        shown = {
            round_id: {
                row["tier"]: round(100 * row["coverage"], 2)
                for row in catalog.coverage(round_id)
                if row["tier"] != "other"
            }
            for round_id in TABLE_2
        }
        assert shown == TABLE_2
        query = "SELECT newly_solved FROM coverage_changes WHERE \"round\" = 4 AND tier = 'olympiad'"
        assert catalog.sql(query)[1] == [(8058 - 6216,)]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    with Catalog.open(tmp_path_factory.mktemp("random"), create=True) as catalog:
        yield catalog


VALUES = st.sampled_from((-1.0, -0.25, 0.0, 0.5, 1.0))
PATHS = st.lists(
    st.tuples(
        st.booleans(), st.tuples(VALUES, VALUES), st.sampled_from(("a", "b", "bb", "é", "日本", "c c", ""))
    ),
    max_size=12,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problems=st.lists(PATHS, min_size=20, max_size=40))
def test_the_best_trajectories_in_sql_are_those_of_the_core(catalog, problems):
    rows = [
        path(1, "s", f"p{problem}", index, correct=correct, q=q, text=text)
        for problem, found in enumerate(problems)
        for index, (correct, q, text) in enumerate(found)
    ]
    names = tuple(f"p{number}" for number in range(len(problems)))
    catalog.commit_shard(ShardRow(1, "s", "search", 2, "running", len(names), names), trajectories=rows)
    in_sql = catalog.connection.execute(
        "SELECT problem_id, text, best.mean_q FROM best_trajectories best"
        " JOIN trajectories USING (shard_id, problem_id, tree_index, trajectory_index)"
        " WHERE rank <= 2 ORDER BY problem_id, rank"
    ).fetchall()
    in_python = [
        (name, best.text, best.mean_q)
        for name in sorted(names)
        for best in select_best([trajectory_from(row) for row in rows if row.problem_id == name])
    ]
    assert in_sql == in_python
