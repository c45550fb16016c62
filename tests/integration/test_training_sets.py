"""Selection and pairs in SQL are those of the core, on trees of real searches and on any trajectories."""

import random
import re
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.catalog import Catalog, DropRow, SftExampleRow, ShardRow, ShardStatus, StepPairRow, TrajectoryRow
from infra.catalog.training_sets import mine_pairs, select_best
from infra.driver import GrownTree, TreeJob
from infra.tree_rows import node_rows, trajectory_from, trajectory_rows, tree_row
from rstar_core.config import SearchConfig
from rstar_core.pairs import final_pairs, step_pairs
from rstar_core.requests import Execute, Grade, Propose, Score
from rstar_core.search import search
from rstar_core.trajectories import select_best as best_in_core
from rstar_core.types import Completion, Execution, ExecutionStatus, Problem, Split, Tier, Verdict


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path_factory.mktemp("training-sets"))) as catalog:
        problem = Problem("p0", "Question?", "2", Tier.GSM, "here", "MIT", Split.TRAIN)
        catalog.add_problems(
            [replace(problem, problem_id=f"p{i}") for i in range(6)]
            + [replace(problem, problem_id=f"s{i}", synthetic=True) for i in range(2)]
        )
        yield catalog


def next_round(catalog):
    return catalog.sql("SELECT coalesce(max(round_id), 0) + 1 FROM shards")[1][0][0]


def grow(job):
    """A real search whose policy, sandbox and answer check are one stream of random numbers."""
    chance = random.Random(job.seed)
    searching = search(job.question, job.reference, job.config, random.Random(job.seed))
    request = next(searching)
    while True:
        try:
            request = searching.send(reply(request, chance))
        except StopIteration as end:
            return GrownTree(job, end.value, 0.1)


def reply(request, chance):
    match request:
        case Propose():
            return tuple(
                completion(len(request.steps), chance.randrange(4)) for _ in range(request.num_candidates)
            )
        case Execute():
            status = ExecutionStatus.OK if chance.random() < 0.9 else ExecutionStatus.ERROR
            return tuple(
                Execution(status, "2\n" if "print" in code else "", "", 0.0) for code in request.candidates
            )
        case Grade():
            return tuple(Verdict(each == "2", "exact", 0.0) for each in request.predictions)
        case Score():
            return tuple(chance.uniform(-1, 1) for _ in request.candidates)


def completion(depth, number):
    """Few different texts, so that solutions repeat within and across trees."""
    if depth == 0 or (depth == 1 and number < 2):
        return Completion(f"# Step\nx = {number}\n<end_of_step>", 5, finished=True)
    if depth in {1, 2}:
        return Completion(f"# Now print the final answer\nprint({number})\n<end_of_code>", 5, finished=True)
    return Completion(f"<answer>It is \\boxed{{{number}}}.<end_of_answer>", 5, finished=True)


TREES = st.lists(st.tuples(st.integers(0, 2**20), st.booleans(), st.integers(1, 14)), min_size=1, max_size=10)


@settings(max_examples=12)
@given(TREES, st.integers(1, 3))
def test_pairs_and_best_trajectories_are_those_of_the_core(catalog, trees, count):
    round_id = next_round(catalog)
    names = tuple(f"p{number}" for number in range(6))
    shard = ShardRow(round_id, "s", "search", 1, ShardStatus.RUNNING, len(names), names)
    grown = []
    for number, (seed, ppm, rollouts) in enumerate(trees):
        config = SearchConfig(
            num_candidates=4, num_rollouts=rollouts, max_depth=4, annotation="ppm" if ppm else "terminal"
        )
        job = TreeJob(f"p{number % 6}", "Question?", "2", number // 6, seed, config)
        grown.append(grow(job))
    key = (round_id, "s")
    paths = [row for each in grown for row in trajectory_rows(each, *key)]
    catalog.commit_shard(
        shard,
        trees=[tree_row(each, *key) for each in grown],
        nodes=[row for each in grown for row in node_rows(each, *key, scored=True)],
        trajectories=paths,
    )

    expected = []
    for name in names:
        found = [row for row in paths if row.problem_id == name]
        if {row.correct for row in found} == {True, False}:
            expected += final_pairs(name, [trajectory_from(row) for row in found], per_side=count)
            for each in grown:
                if each.job.problem_id == name:
                    expected += step_pairs(
                        name, each.tree, per_side=count, tree_label=str(each.job.tree_index)
                    )
    assert mine_pairs(catalog, round_id, count) == len(expected)
    rows = catalog.fetch(StepPairRow, "round_id = ?", (round_id,))
    in_sql = [
        (
            r.problem_id,
            r.group_id,
            r.prefix,
            r.positive,
            r.negative,
            r.positive_q,
            r.negative_q,
            r.depth,
            r.final,
        )
        for r in rows
    ]
    in_core = [
        (
            p.problem_id,
            p.group,
            p.prefix,
            p.positive,
            p.negative,
            p.positive_q,
            p.negative_q,
            p.depth,
            p.final,
        )
        for p in expected
    ]
    assert sorted(in_sql) == sorted(in_core)
    assert sorted(r.weight for r in rows) == pytest.approx(sorted(p.weight for p in expected))
    check_best(catalog, round_id, names, paths, count)


def check_best(catalog, round_id, names, paths, count):
    chosen = [
        (name, rank, tuple(step.text for step in each.steps), each.mean_q)
        for name in names
        for rank, each in enumerate(
            best_in_core([trajectory_from(row) for row in paths if row.problem_id == name], count=count),
            start=1,
        )
    ]
    assert select_best(catalog, round_id, count) == len(chosen)
    rows = catalog.fetch(SftExampleRow, "round_id = ?", (round_id,), order_by="problem_id, rank")
    assert [(r.problem_id, r.rank, r.step_texts, r.mean_q) for r in rows] == chosen
    assert {r.question for r in rows} <= {"Question?"}


VALUES = st.sampled_from((-1.0, -0.25, 0.0, 0.5, 1.0))
TEXTS = st.sampled_from(("a", "b", "bb", "é", "日本", "c c", ""))
PATHS = st.lists(st.tuples(st.booleans(), st.tuples(VALUES, VALUES), TEXTS), max_size=12)


@settings(max_examples=12)
@given(st.lists(PATHS, min_size=8, max_size=8))
def test_ties_are_broken_as_the_core_breaks_them_and_doubted_problems_are_left_out(catalog, problems):
    round_id = next_round(catalog)
    names = tuple([f"p{i}" for i in range(6)] + [f"s{i}" for i in range(2)])
    shard = ShardRow(round_id, "s", "search", 1, ShardStatus.RUNNING, len(names), names)
    paths = [
        TrajectoryRow(
            *(round_id, "s", name, 0, index, (1, 2), (text, ""), q, sum(q) / 2, min(q), "1", correct, text, 1)
        )
        for name, found in zip(names, problems, strict=True)
        for index, (correct, q, text) in enumerate(found)
    ]
    catalog.commit_shard(shard, trajectories=paths)
    doubted = {
        name
        for name, found in zip(names, problems, strict=True)
        if name.startswith("s") and 2 * sum(correct for correct, _, _ in found) < len(found)
    }
    kept = [name for name in names if name not in doubted]
    check_best(catalog, round_id, kept, [row for row in paths if row.problem_id in kept], 2)
    drops = catalog.fetch(DropRow, "round_id = ? AND stage = 'select'", (round_id,))
    assert {(row.problem_id, row.reason) for row in drops} == {
        (name, "synthetic_doubted") for name in doubted
    }


def test_a_second_selection_replaces_the_first(catalog):
    round_id = next_round(catalog)
    shard = ShardRow(round_id, "s", "search", 1, ShardStatus.RUNNING, 1, ("p0",))
    row = TrajectoryRow(round_id, "s", "p0", 0, 0, (1,), ("t",), (0.5,), 0.5, 0.5, "1", True, "t", 1)
    wrong = replace(row, trajectory_index=1, correct=False, text="w", step_texts=("w",))
    catalog.commit_shard(shard, trajectories=[row, wrong])
    for _ in range(2):
        assert select_best(catalog, round_id, 2) == 1
        assert mine_pairs(catalog, round_id, 2) == 1
    assert select_best(catalog, round_id, 0) == 0
    assert catalog.fetch(SftExampleRow, "round_id = ?", (round_id,)) == []
    (pair,) = catalog.fetch(StepPairRow, "round_id = ?", (round_id,))
    assert re.fullmatch(r"p0/final", pair.group_id)
    assert astuple(pair)[3:6] == ("", "t", "w")
