from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rstar_core.config import SearchConfig
from rstar_core.requests import Propose
from rstar_core.tree import Terminal
from rstar_core.types import StepKind

CONFIGS = st.builds(
    SearchConfig,
    num_candidates=st.integers(1, 4),
    num_rollouts=st.integers(1, 12),
    num_proposals=st.integers(1, 2),
    max_depth=st.integers(1, 5),
    exploration=st.sampled_from([0.0, 0.5, 2.0]),
    annotation=st.sampled_from(["terminal", "ppm"]),
    answer_step=st.sampled_from(["policy", "output"]),
)
GAMES = {
    "config": CONFIGS,
    "reference": st.sampled_from(["3", "5", None]),
    "percent_bad": st.sampled_from([0, 20, 60, 95]),
    "seed": st.integers(0, 2**31 - 1),
}
few = effort(max_examples=25, deadline=None, derandomize=True, database=None)


def value_of(leaf, config):
    """What a rollout that ended here was worth, from the rules in algorithm.md §3."""
    if leaf.terminal is not Terminal.ANSWER:
        return -1.0
    if leaf.correct is not None:
        return 1.0 if leaf.correct else -1.0
    return leaf.prior if config.annotation == "ppm" else 0.0


def below(tree, node):
    """The terminal nodes of a subtree."""
    if node.terminal is not None:
        return [node]
    return [leaf for child in tree.children(node) for leaf in below(tree, child)]


@few
@given(**GAMES)
def test_the_statistics_of_any_tree_add_up(world, config, reference, percent_bad, seed):
    tree = world(seed, percent_bad=percent_bad).play(config, reference=reference, seed=seed).tree
    assert tree.root.visits == tree.num_rollouts <= config.num_rollouts
    assert tree.num_rollouts == config.num_rollouts or tree.root.closed
    for node in tree.nodes:
        of_children = sum(child.visits for child in tree.children(node))
        assert node.visits >= of_children
        if node.terminal is None:
            assert node.visits == of_children
        backed_up = sum(leaf.visits * value_of(leaf, config) for leaf in below(tree, node))
        assert node.q_sum == pytest.approx(node.prior + backed_up)
        # q starts at the prior, which N does not count: Q = mean value + prior / N, so only with a prior of 0
        # is |Q| <= 1, and |Q| <= 1 + |prior| / N <= 2 in general (docs/algorithm.md).
        assert abs(node.q_sum) <= node.visits + abs(node.prior) + 1e-9
        if node.visits:
            assert abs(node.q) <= 1 + abs(node.prior) / node.visits + 1e-9
        if config.annotation == "terminal":
            assert node.prior == 0.0
            assert -1.0 <= node.q <= 1.0


@few
@given(**GAMES)
def test_the_structure_of_any_tree_holds(world, config, reference, percent_bad, seed):
    played = world(seed, percent_bad=percent_bad).play(config, reference=reference, seed=seed)
    tree = played.tree
    for index, node in enumerate(tree.nodes):
        assert node.index == index
        path = tree.path(node)
        assert path[0] == tree.root
        assert [each.depth for each in path] == list(range(node.depth + 1))
        assert all(child.parent == parent.index for parent, child in pairwise(path))
        assert node.depth <= config.max_depth + 1
        texts = [child.step.text for child in tree.children(node)]
        assert len(set(texts)) == len(texts)
        assert not (node.terminal is not None and node.children)
        kinds = [step.kind for step in tree.steps(node)]
        assert kinds == sorted(kinds, key=["code", "final_code", "answer"].index)
        assert (kinds[-1:] == [StepKind.ANSWER]) == (node.terminal is Terminal.ANSWER)
        if node.children:
            assert node.closed == all(child.closed for child in tree.children(node))
    assert tree.num_candidates == sum(each.num_candidates for each in played.of(Propose))


@few
@given(**GAMES)
def test_the_same_seed_always_gives_the_same_tree(world, config, reference, percent_bad, seed):
    def grow():
        return world(7, percent_bad=percent_bad).play(config, reference=reference, seed=seed).tree

    assert grow() == grow()


def test_every_child_is_tried_before_any_is_repeated(world, settings):
    tree = world(3, percent_bad=0).play(settings(num_candidates=4, num_rollouts=40)).tree
    for node in tree.nodes:
        visits = [child.visits for child in tree.children(node)]
        assert not visits or min(visits) > 0 or max(visits) <= 1
