import pytest

from rstar_core.pairs import final_pairs, step_pairs
from rstar_core.trajectories import trajectories
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Step, StepKind, Trajectory


def branch(tree, parent, text, q, *answers, visits=4):
    """A child with mean value q, below which `answers` (True, False) were reached."""
    node = tree.add(parent, Step(StepKind.CODE, text), 0.0)
    node.visits, node.q_sum = visits, q * visits
    for number, correct in enumerate(answers):
        leaf = tree.add(node, Step(StepKind.ANSWER, f"{text}{number}\\boxed{{1}}"), 0.0)
        tree.end(leaf.index, Terminal.ANSWER, correct=correct)
        leaf.visits = 1
        leaf.q_sum = 1.0 if correct else -1.0
    return node


def sides(pairs):
    return [(pair.positive, pair.negative) for pair in pairs]


def made(text, q, *, correct):
    return Trajectory("p", (1,), (Step(StepKind.ANSWER, text),), (q,), "1", correct)


def test_the_two_best_that_lead_to_right_meet_the_two_worst_that_lead_to_wrong():
    tree = Tree()
    for text, q, answer in (
        ("a", 0.9, True),
        ("b", 0.8, True),
        ("c", 0.7, True),
        ("x", -0.5, False),
        ("y", -0.9, False),
        ("z", -0.7, False),
    ):
        branch(tree, tree.root, text, q, answer)
    pairs = step_pairs("p", tree)
    assert sides(pairs) == [("a", "y"), ("a", "z"), ("b", "y"), ("b", "z")]
    assert [pair.weight for pair in pairs] == [0.25] * 4
    assert (pairs[0].positive_q, pairs[0].negative_q) == pytest.approx((0.9, -0.9))
    assert {(pair.prefix, pair.depth, pair.final, pair.group) for pair in pairs} == {("", 1, False, "p/0/0")}
    assert len(step_pairs("p", tree, per_side=1)) == 1


def test_both_sides_continue_the_same_steps():
    tree = Tree()
    first = branch(tree, tree.root, "first ", 0.0)
    second = branch(tree, first, "second ", 0.0)
    branch(tree, second, "good", 1.0, True)
    branch(tree, second, "bad", -1.0, False)
    (pair,) = step_pairs("p", tree, tree_label="shard/3")
    assert (pair.prefix, pair.positive, pair.negative) == ("first second ", "good", "bad")
    assert (pair.depth, pair.weight, pair.group) == (3, 1.0, "p/shard/3/2")


def test_an_only_child_and_unmixed_siblings_make_no_pair():
    tree = Tree()
    only = branch(tree, tree.root, "only", 0.0, True, False)
    assert step_pairs("p", tree) == ()
    branch(tree, only, "a", 0.9, True)
    branch(tree, only, "b", 0.1, True)
    assert step_pairs("p", tree) == ()


def test_a_child_that_leads_to_both_is_never_compared_with_itself():
    tree = Tree()
    branch(tree, tree.root, "both", 0.5, True, False)
    branch(tree, tree.root, "wrong", -1.0, False)
    assert sides(step_pairs("p", tree)) == [("both", "wrong")]


def test_a_child_that_leads_to_both_may_stand_on_the_negative_side():
    tree = Tree()
    for text, q in (("a", 0.9), ("b", 0.8)):
        branch(tree, tree.root, text, q, True)
    branch(tree, tree.root, "both", 0.1, True, False)
    assert sides(step_pairs("p", tree)) == [("a", "both"), ("b", "both")]


def test_a_positive_has_the_higher_q_and_the_weights_of_a_step_add_up_to_one():
    tree = Tree()
    for text, q, answer in (("a", 0.9, True), ("b", 0.2, True), ("x", 0.5, False), ("y", -0.5, False)):
        branch(tree, tree.root, text, q, answer)
    pairs = step_pairs("p", tree)
    assert sides(pairs) == [("a", "y"), ("a", "x"), ("b", "y")]
    assert sum(pair.weight for pair in pairs) == pytest.approx(1.0)


def test_children_never_visited_and_answers_never_visited_do_not_count():
    tree = Tree()
    branch(tree, tree.root, "a", 0.9, True)
    branch(tree, tree.root, "never", 0.0, visits=0)
    unseen = branch(tree, tree.root, "unseen", -0.9, False)
    tree.nodes[unseen.children[0]].visits = 0
    assert step_pairs("p", tree) == ()


def test_answer_steps_are_left_to_the_final_pairs():
    tree = Tree()
    branch(tree, tree.root, "a", 0.0, True, False)
    assert step_pairs("p", tree) == ()
    assert sides(final_pairs("p", trajectories("p", tree))) == [("aa0\\boxed{1}", "aa1\\boxed{1}")]


def test_whole_trajectories_are_compared_best_correct_against_worst_incorrect():
    found = [
        made("a", 0.1, correct=True),
        made("b", 0.9, correct=True),
        made("c", 0.5, correct=True),
        made("x", 0.2, correct=False),
        made("y", -0.9, correct=False),
        made("z", -0.1, correct=False),
    ]
    pairs = final_pairs("p", found)
    assert sides(pairs) == [("b", "y"), ("b", "z"), ("c", "y"), ("c", "z")]
    assert {(pair.weight, pair.prefix, pair.final, pair.group) for pair in pairs} == {
        (0.25, "", True, "p/final")
    }
    assert (pairs[0].positive_q, pairs[0].negative_q) == (0.9, -0.9)


def test_one_right_and_one_wrong_trajectory_make_one_pair_of_full_weight():
    (pair,) = final_pairs("p", [made("a", 0.1, correct=True), made("x", 0.2, correct=False)])
    assert (pair.positive, pair.negative, pair.weight, pair.depth) == ("a", "x", 1.0, 1)


@pytest.mark.parametrize("correct", [True, False])
def test_unmixed_outcomes_make_no_final_pair(correct):
    assert final_pairs("p", [made("a", 0.1, correct=correct), made("b", 0.2, correct=correct)]) == ()


def test_the_best_of_equal_texts_keeps_its_place():
    right = [made("a", 0.9, correct=True), made("b", 0.5, correct=True), made("c", 0.4, correct=True)]
    again = made("a", 0.1, correct=True)  # the same solution in another tree of the problem
    pairs = final_pairs("p", [*right, again, made("x", -1.0, correct=False)])
    assert [(pair.positive, pair.positive_q) for pair in pairs] == [("a", 0.9), ("b", 0.5)]


def test_equal_texts_stand_on_a_side_once():
    found = [made("a", 0.9, correct=True), made("a", 0.8, correct=True)]
    found += [made("x", -0.9, correct=False), made("x", -0.8, correct=False)]
    (pair,) = final_pairs("p", found)
    assert (pair.positive_q, pair.negative_q) == (0.9, -0.9)


def test_the_pairs_of_a_grown_tree_are_what_the_rules_say(world, settings):
    config = settings(num_candidates=4, num_rollouts=30)
    trees = [world(seed).play(config, reference="2", seed=seed).tree for seed in range(6)]
    pairs = [pair for tree in trees for pair in step_pairs("p", tree)]
    assert pairs
    for pair in pairs:
        assert pair.positive != pair.negative
        assert pair.positive_q > pair.negative_q
    for tree in trees:
        weights = {}
        for pair in step_pairs("p", tree):
            weights[pair.group] = weights.get(pair.group, 0.0) + pair.weight
        assert all(total == pytest.approx(1.0) for total in weights.values())
