from itertools import permutations

import pytest

from rstar_core.search import backup
from rstar_core.trajectories import keeps_synthetic, select_best, trajectories
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Step, StepKind, Trajectory


def made(text, *q_values, correct=True):
    steps = (*(Step(StepKind.CODE, "") for _ in q_values[1:]), Step(StepKind.ANSWER, text))
    return Trajectory("p", tuple(range(1, len(q_values) + 1)), steps, q_values, "5", correct)


def texts(found):
    return [each.text for each in found]


def with_answer(tree, parent, answer, *, correct):
    leaf = tree.add(parent, Step(StepKind.ANSWER, f"\\boxed{{{answer}}}"), 0.0)
    tree.end(leaf.index, Terminal.ANSWER, correct=correct)
    return leaf


def test_every_visited_path_to_an_answer_is_a_trajectory():
    tree = Tree()
    step = Step(StepKind.FINAL_CODE, "print(5)\n")
    node = tree.add(tree.root, step, 0.0)
    other = tree.add(tree.root, Step(StepKind.CODE, "never\n"), 0.0)
    right, wrong, never = (with_answer(tree, node, a, correct=a == "5") for a in ("5", "7", "8"))
    for leaf, value in ((right, 1.0), (wrong, -1.0), (right, 1.0), (other, -1.0)):
        backup(tree, leaf.index, value)
    assert never.visits == 0
    assert trajectories("p", tree) == (
        Trajectory("p", (1, 3), (step, right.step), (1 / 3, 1.0), "5", correct=True),
        Trajectory("p", (1, 4), (step, wrong.step), (1 / 3, -1.0), "7", correct=False),
    )


def test_without_a_reference_no_trajectory_counts_as_correct():
    tree = Tree()
    backup(tree, with_answer(tree, tree.root, "5", correct=None).index, 0.5)
    assert [each.correct for each in trajectories("p", tree)] == [False]


def test_a_trajectory_knows_its_mean_its_weakest_step_and_its_text():
    trajectory = made("a", 1.0, 0.5, -0.3)
    assert trajectory.mean_q == pytest.approx(0.4)
    assert trajectory.min_q == -0.3
    assert trajectory.text == "a"


def test_the_two_correct_trajectories_with_the_highest_mean_q_are_chosen():
    found = [made("a", 0.2), made("b", 0.9), made("wrong", 1.0, correct=False), made("c", 0.5)]
    assert texts(select_best(found)) == ["b", "c"]
    assert texts(select_best(found, count=1)) == ["b"]
    assert texts(select_best(found, count=9)) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(made("a", 0.5, 0.5), made("b", 0.75, 0.25), id="higher minimum"),
        pytest.param(made("a", 0.5), made("bb", 0.5), id="shorter text"),
        pytest.param(made("b", 0.5), made("a", 0.5), id="the text itself"),
    ],
)
def test_ties_are_broken_the_same_way_in_any_order(better, worse):
    assert select_best([better, worse], count=1) == select_best([worse, better], count=1) == (better,)


def test_no_text_is_chosen_twice_and_its_best_reading_counts():
    found = [made("a", 0.9), made("a", 0.1), made("a", 0.8), made("b", 0.5), made("c", 0.4)]
    for order in permutations(found):
        assert select_best(order) == (found[0], found[3])


def test_nothing_correct_means_nothing_chosen():
    assert select_best([made("a", 0.9, correct=False)]) == ()
    assert select_best([]) == ()


@pytest.mark.parametrize(
    ("right", "wrong", "kept"), [(1, 1, True), (2, 1, True), (1, 2, False), (0, 1, False), (0, 0, False)]
)
def test_a_synthetic_problem_stays_if_half_of_its_trajectories_are_correct(right, wrong, kept):
    found = [made("a", 0.5)] * right + [made("b", 0.5, correct=False)] * wrong
    assert keeps_synthetic(found) is kept
