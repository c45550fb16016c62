import math
import random

import pytest

from rstar_core.selection import select_child, uct
from rstar_core.tree import Tree
from rstar_core.types import Step, StepKind


def tree_with_children(*children, root_visits=10):
    """A root with one child for each (q_sum, visits, prior)."""
    tree = Tree()
    tree.root.visits = root_visits
    for number, (q_sum, visits, prior) in enumerate(children):
        node = tree.add(tree.root, Step(StepKind.CODE, f"# {number}\n"), prior)
        node.q_sum, node.visits = q_sum, visits
    return tree


def choose(tree, *, exploration=2.0, seed=0):
    return select_child(tree, 0, exploration=exploration, rng=random.Random(seed))


def test_uct_of_the_papers_rule_worked_by_hand():
    q = (1 + 1 - 1 + 1) / 4
    assert q == 0.5
    assert uct(q, 4, 10) == pytest.approx(0.5 + 2 * 0.7587, abs=1e-3)
    assert round(uct(q, 4, 10), 3) == 2.017


def test_without_exploration_uct_is_the_mean_value():
    assert uct(0.25, 3, 8, exploration=0.0) == 0.25


def test_a_node_never_visited_is_worth_infinitely_much():
    assert uct(-1.0, 0, 10) == math.inf


def test_a_child_never_visited_goes_before_the_best_visited_one():
    assert choose(tree_with_children((9.0, 9, 0.0), (0.0, 0, 0.0))) == 2


def test_among_children_never_visited_the_prior_decides():
    assert choose(tree_with_children((0.1, 0, 0.1), (0.7, 0, 0.7), (-1.0, 0, -1.0))) == 2


def test_among_visited_children_the_prior_counts_only_through_q():
    # Q = 2/4 and 3/4; the first one's higher prior is in its q already.
    assert choose(tree_with_children((2.0, 4, 1.0), (3.0, 4, -1.0))) == 2


def test_a_rarely_visited_child_overtakes_a_better_one():
    # 0.6 + 2·sqrt(ln 10 / 8) = 1.673 against 0 + 2·sqrt(ln 10 / 2) = 2.146
    tree = tree_with_children((4.8, 8, 0.0), (0.0, 2, 0.0))
    assert choose(tree) == 2
    assert choose(tree, exploration=0.5) == 1


def test_what_is_still_tied_is_drawn_from_the_stream():
    tree = tree_with_children((0.0, 0, 0.0), (0.0, 0, 0.0), (0.0, 0, 0.0))
    chosen = [choose(tree, seed=seed) for seed in range(30)]
    assert chosen == [choose(tree, seed=seed) for seed in range(30)]
    assert set(chosen) == {1, 2, 3}
    assert choose(tree, seed=4) == random.Random(4).choice([1, 2, 3])


def test_a_clear_choice_takes_nothing_from_the_stream():
    rng = random.Random(7)
    before = rng.getstate()
    tree = tree_with_children((1.0, 1, 0.0), (0.0, 1, 0.0))
    select_child(tree, 0, exploration=2.0, rng=rng)
    assert rng.getstate() == before


def test_closed_children_are_passed_over():
    tree = tree_with_children((5.0, 5, 0.0), (-5.0, 5, 0.0))
    tree.nodes[1].closed = True
    assert choose(tree) == 2
