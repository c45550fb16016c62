import re
from itertools import chain

import pytest

from infra.driver import Services, TreeJob, grow_tree
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, failed, printed
from infra.tree_rows import drop_rows, node_rows, trajectory_from, trajectory_rows, tree_row, trees_from
from rstar_core.config import SearchConfig
from rstar_core.pairs import final_pairs, step_pairs
from rstar_core.trajectories import trajectories
from rstar_core.types import StepKind

CONFIG = SearchConfig(num_candidates=4, num_rollouts=12, max_depth=4)


def run_arithmetic(prefix, code):
    if "x = 0" in code:
        return failed("ValueError: zero")
    return printed(re.findall(r"x = (\d)", prefix)[-1] if "print(x)" in code else "")


class LengthScorer:
    async def score(self, request):
        return tuple(len(text) % 7 / 7 for text in request.candidates)


async def grow(number, **changes):
    services = Services(
        ScriptedPolicy(random_arithmetic), ScriptedRunner(run_arithmetic), ExactGrader(), LengthScorer()
    )
    config = CONFIG.model_copy(update=changes)
    job = TreeJob(f"p{number // 2}", f"Question {number // 2}?", "2", number % 2, number, config)
    return await grow_tree(job, services)


@pytest.fixture
async def grown():
    return [await grow(number) for number in range(4)]


def kept(tree):
    """What rows keep of a tree."""
    return [
        (n.index, n.parent, n.depth, n.step, n.prior, n.children, n.visits, n.q_sum, n.q, n.correct)
        for n in tree.nodes
    ]


async def test_trees_come_back_from_their_rows(grown):
    rows = list(chain.from_iterable(node_rows(each, 1, "s1", scored=False) for each in grown))
    back = list(trees_from(rows))
    assert [problem_id for problem_id, _ in back] == ["p0", "p0", "p1", "p1"]
    for (problem_id, tree), each in zip(back, grown, strict=True):
        assert kept(tree) == kept(each.tree)
        assert [leaf.index for leaf in tree.answers()] == [leaf.index for leaf in each.tree.answers()]
        assert trajectories(problem_id, tree) == trajectories(problem_id, each.tree)
        assert step_pairs(problem_id, tree) == step_pairs(problem_id, each.tree)
    assert any(step_pairs(problem_id, tree) for problem_id, tree in back)


async def test_priors_are_kept_where_a_ppm_gave_them_and_unknown_elsewhere():
    each = await grow(1, annotation="ppm")
    scored, unscored = (node_rows(each, 3, "s", scored=scored) for scored in (True, False))
    assert [row.prior for row in scored] == [None] + [node.prior for node in each.tree.nodes[1:]]
    assert {row.prior for row in unscored} == {None}
    ((_, tree),) = trees_from(scored)
    assert kept(tree) == kept(each.tree)


async def test_a_node_row_says_what_its_node_is(grown):
    for row, node in zip(node_rows(grown[0], 2, "s1", scored=False), grown[0].tree.nodes, strict=True):
        assert (row.round_id, row.shard_id, row.problem_id, row.tree_index) == (2, "s1", "p0", 0)
        assert row.terminal == (node.terminal is not None)
        is_answer = row.kind == StepKind.ANSWER
        assert (row.answer is not None) == (row.correct is not None) == is_answer
        assert row.status == (None if row.kind is None or is_answer else "ok")
        assert (row.kind is None) == (row.text == "") == (row.parent_id is None)


async def test_a_tree_row_adds_up(grown):
    for each in grown:
        row, paths = tree_row(each, 1, "s1"), trajectory_rows(each, 1, "s1")
        assert (row.num_nodes, row.num_rollouts) == (len(each.tree.nodes), each.tree.num_rollouts)
        assert (row.num_trajectories, row.num_correct) == (len(paths), sum(path.correct for path in paths))
        assert row.solved == (row.num_correct > 0)
        assert (row.seed, row.seconds) == (each.job.seed, each.seconds)
        duplicates = each.tree.drops["identical_sibling"]
        assert row.num_candidates == row.num_nodes - 1 + duplicates + row.num_failed_candidates
    assert {tree_row(each, 1, "s1").solved for each in grown} == {True, False}


async def test_trajectory_rows_hold_the_trajectories_and_give_their_texts_back(grown):
    rows = trajectory_rows(grown[0], 1, "s1")
    found = trajectories("p0", grown[0].tree)
    assert [row.trajectory_index for row in rows] == list(range(len(found)))
    for row, trajectory in zip(rows, found, strict=True):
        back = trajectory_from(row)
        assert (row.text, row.mean_q, row.min_q) == (trajectory.text, trajectory.mean_q, trajectory.min_q)
        assert len(row.node_ids) == len(row.step_texts) == len(row.q_values)
        for name in ("problem_id", "node_ids", "q_values", "answer", "correct", "text", "mean_q", "min_q"):
            assert getattr(back, name) == getattr(trajectory, name)
    assert final_pairs("p0", [trajectory_from(row) for row in rows]) == final_pairs("p0", found)


async def test_every_dropped_candidate_is_in_a_drop_row(grown):
    rows = drop_rows(grown[0], 1, "s1")
    assert {row.reason: row.count for row in rows} == grown[0].tree.drops
    assert [row.reason for row in rows] == sorted(grown[0].tree.drops)
    assert {(row.stage, row.problem_id, row.round_id, row.shard_id) for row in rows} == {
        ("search", "p0", 1, "s1")
    }
