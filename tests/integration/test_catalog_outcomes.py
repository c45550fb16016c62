"""Outcomes are kept in step with shards, however these are committed, run again, fail or are superseded."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.catalog import Catalog, ShardRow, ShardStatus, TrajectoryRow, TreeRow
from infra.catalog.checking import differences
from rstar_core.types import Problem, Split, Tier

PROBLEMS = [
    Problem(f"p{i}", "q", "1", tier, "here", "MIT", split)
    for i, (tier, split) in enumerate(
        [
            (Tier.GSM, Split.TRAIN),
            (Tier.MATH, Split.TRAIN),
            (Tier.GSM, Split.TRAIN),
            (Tier.GSM, Split.HELDOUT),
        ]
    )
]
KINDS = {"a": "search", "b": "search", "a.1": "escalation-1", "e": "evaluate:base"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path_factory.mktemp("outcomes"))) as catalog:
        catalog.add_problems(PROBLEMS)
        yield catalog


def path(shard, problem_id, index, *, correct, rollout=1):
    return TrajectoryRow(
        *(shard.round_id, shard.shard_id, problem_id, 0, index, (1,), ("s",), (0.5,), 0.5, 0.5, "1", correct),
        *("s", rollout),
    )


def tree(shard, problem_id, num_trajectories, index=0, num_rollouts=8):
    return TreeRow(
        *(shard.round_id, shard.shard_id, problem_id, index, 1, num_rollouts, 9, 1, num_trajectories, True),
        *(10, 8, 0, 2.0),
    )


def commit(catalog, shard, found, supersedes=()):
    paths = [
        path(shard, problem_id, index, correct=correct)
        for problem_id, verdicts in found.items()
        for index, correct in enumerate(verdicts)
    ]
    trees = [replace(tree(shard, each, len(verdicts)), tree_index=0) for each, verdicts in found.items()]
    return catalog.commit_shard(shard, trees=trees, trajectories=paths, supersedes=supersedes)


def facts(catalog, round_id):
    """Coverage of a round, asked of the facts themselves."""
    query = """
        WITH done AS (
            FROM shards WHERE round_id = ? AND status = 'done' AND NOT starts_with(kind, 'evaluate')
        ),
        tried AS (SELECT DISTINCT unnest(problem_ids) AS problem_id FROM done),
        solved AS (SELECT DISTINCT problem_id FROM trajectories SEMI JOIN done USING (round_id, shard_id)
            WHERE correct)
        SELECT count(*), count(solved.problem_id) FROM tried JOIN problems USING (problem_id)
        LEFT JOIN solved USING (problem_id) WHERE split = 'train'"""
    return catalog.connection.execute(query, (round_id,)).fetchone()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "start", "fail", "supersede"]),
        st.sampled_from([*KINDS]),
        st.integers(0, 99),
    ),
    max_size=12,
)


@settings(max_examples=12)
@given(ACTIONS)
def test_coverage_is_what_the_facts_say_after_any_history(catalog, actions):
    (round_id,) = catalog.sql("SELECT coalesce(max(round_id), 0) + 1 FROM shards")[1][0]
    for action, name, seed in actions:
        chance = random.Random(seed)
        shard = ShardRow(round_id, name, KINDS[name], 1, ShardStatus.RUNNING, 2, ("p0", f"p{1 + seed % 3}"))
        if action == "start":
            catalog.start_shard(shard)
        elif action == "fail":
            catalog.fail_shard(catalog.start_shard(shard), "why not")
        else:
            found = {
                each: [chance.random() < 0.4 for _ in range(chance.randrange(3))]
                for each in shard.problem_ids
            }
            if name == "e":
                found = {}
            supersedes = shard.problem_ids if action == "supersede" and name != "e" else ()
            if action == "supersede":
                catalog.start_shard(shard)
            commit(catalog, shard, found, supersedes)
    tried, solved = facts(catalog, round_id)
    rows = [row for row in catalog.coverage(round_id) if row["tier"] == "all"]
    assert [(row["problems"], row["solved"]) for row in rows] == ([(tried, solved)] if tried else [])
    assert [each for each in differences(catalog) if "outcome" in each] == []


def test_an_outcome_that_differs_from_the_facts_is_named(catalog):
    catalog.connection.execute(
        "INSERT INTO outcome_changes VALUES (777, 's', 'p0', 'gsm', 'here', 1, 0, 0, 1, 0)"
    )
    found = [each for each in differences(catalog) if "outcome" in each]
    assert found == ["There is a problem whose outcome is not what its trajectories say: 777, p0."]
    catalog.connection.execute("DELETE FROM outcome_changes WHERE round_id = 777")


def test_the_curve_counts_the_rollouts_of_a_problems_trees_one_after_the_other(catalog):
    shard = ShardRow(900, "a", "search", 1, ShardStatus.RUNNING, 3, ("p0", "p1", "p2"))
    trees = [tree(shard, "p0", 1), tree(shard, "p0", 1, 1, 4), tree(shard, "p1", 2), tree(shard, "p2", 0)]
    paths = [
        path(shard, "p0", 0, correct=False, rollout=1),
        replace(path(shard, "p0", 0, correct=True, rollout=2), tree_index=1),  # 8 of the first tree, and 2
        path(shard, "p1", 0, correct=True, rollout=3),
        path(shard, "p1", 1, correct=True, rollout=5),
    ]
    catalog.commit_shard(shard, trees=trees, trajectories=paths)
    curve = [
        (row["tier"], row["rollouts"], row["problems"], row["solved"])
        for row in catalog.coverage(900, by="rollouts")
    ]
    assert curve == [
        *(("gsm", k, 2, solved) for k, solved in ((1, 0), (2, 0), (4, 0), (8, 0), (12, 1))),
        *(("math", k, 1, solved) for k, solved in ((1, 0), (2, 0), (4, 1), (8, 1), (12, 1))),
        *(("all", k, 3, solved) for k, solved in ((1, 0), (2, 0), (4, 1), (8, 1), (12, 2))),
    ]


def test_the_curve_is_null_where_it_was_not_written_down_when_a_solution_was_found(catalog):
    shard = ShardRow(901, "a", "search", 1, ShardStatus.RUNNING, 2, ("p0", "p1"))
    paths = [path(shard, "p0", 0, correct=True, rollout=None), path(shard, "p1", 0, correct=True, rollout=1)]
    trees = [tree(shard, each, 1, num_rollouts=1) for each in shard.problem_ids]
    catalog.commit_shard(shard, trees=trees, trajectories=paths)
    curve = {row["tier"]: (row["solved"], row["coverage"]) for row in catalog.coverage(901, by="rollouts")}
    assert curve == {"gsm": (None, None), "math": (1, 1.0), "all": (None, None)}


def test_outcomes_of_a_catalog_of_older_code_are_filled_in_from_the_facts(tmp_path, empty_catalog):
    root = empty_catalog(tmp_path / "c")
    with Catalog.open(root) as catalog:
        catalog.add_problems(PROBLEMS)
        for round_id in (1, 2):  # p0 is solved by two shards, p1 by one of two; p3 is not for training
            for name, found in (
                ("a", {"p0": [True, False], "p1": [False], "p3": [True]}),
                ("b", {"p0": [True], "p1": [True, True], "p2": []}),
                ("e", {}),
            ):
                shard = ShardRow(
                    round_id, name, KINDS[name], 1, ShardStatus.RUNNING, 3, tuple(found or ("p0",))
                )
                commit(catalog, shard, found)
        again = ShardRow(2, "b", "search", 1, ShardStatus.RUNNING, 3, ("p0", "p1", "p2"))
        catalog.start_shard(again)  # what it committed does not count meanwhile
        before = catalog.coverage(), catalog.sql("FROM outcomes ORDER BY ALL")[1]
        for statement in (
            "DROP VIEW coverage_curve",
            "DROP TABLE outcome_changes",
            "ALTER TABLE trajectories DROP COLUMN found_at_rollout",
            "UPDATE meta_schema SET version = 2",
        ):
            catalog.connection.execute(statement)
    with Catalog.open(root) as catalog:
        assert (catalog.coverage(), catalog.sql("FROM outcomes ORDER BY ALL")[1]) == before
        assert [
            (row["round"], row["problems"], row["solved"]) for row in before[0] if row["tier"] == "all"
        ] == [
            (1, 3, 2),
            (2, 2, 1),
        ]
        assert [each for each in differences(catalog) if "outcome" in each] == []
        commit(catalog, again, {"p0": [], "p1": [True], "p2": [True]})
        solved = [row["solved"] for row in catalog.coverage(2) if row["tier"] == "all"]
        assert solved == [3]
        assert [each for each in differences(catalog) if "outcome" in each] == []


def test_small_files_are_merged_as_one_goes_and_nothing_is_lost(tmp_path, empty_catalog, monkeypatch):
    monkeypatch.setattr("infra.catalog.merging.MERGE_EVERY_VERSIONS", 8)
    names = tuple(f"p{number}" for number in range(120))  # more rows than are kept inside the metadata
    root = empty_catalog(tmp_path / "c")
    with Catalog.open(root) as catalog:
        catalog.add_problems(replace(PROBLEMS[0], problem_id=each) for each in names)
        for number in range(20):
            if number == 11:
                middle = catalog.newest_snapshot()
            shard = ShardRow(1, f"search-{number}", "search", 1, ShardStatus.RUNNING, len(names), names)
            trees = [tree(shard, each, 0, index=number) for each in names]
            catalog.commit_shard(catalog.start_shard(shard), trees=trees)
        (num_files,) = catalog.connection.execute(
            "SELECT count(*) FROM ducklake_list_files('lake', 'trees')"
        ).fetchone()
        assert num_files <= 8
        (num_files, num_deletes) = catalog.connection.execute(
            "SELECT count(*), count(delete_file) FROM ducklake_list_files('lake', 'shards')"
        ).fetchone()
        assert num_files <= 2
        assert num_deletes <= 1
        with Catalog.open(root, read_only=True, at=middle) as earlier:
            assert len(earlier.done_shards(1)) == 11
        assert catalog.sql("SELECT count(*), count(DISTINCT shard_id) FROM trees")[1] == [(2400, 20)]
        assert list(differences(catalog)) == []
