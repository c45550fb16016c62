import pytest

from rstar_core.tree import Terminal, Tree
from rstar_core.types import Step, StepKind, Trajectory
from rstar_core.voting import ANSWER_RULES, Vote, cast_vote, elect


def vote(tree, answer, score):
    step = Step(StepKind.ANSWER, f"<answer>\\boxed{{{answer}}}<end_of_answer>")
    return Vote(tree, Trajectory("p", (tree,), (step,), (0.0,), answer, correct=False), score, 1)


def elected(rule, *votes, groups=None):
    given = [vote(number, *each) for number, each in enumerate(votes)]
    chosen = elect(given, groups or {each.answer: each.answer for each in given}, rule)
    return None if chosen is None else (chosen.tree, chosen.answer)


def test_the_rules_differ_in_who_wins():
    votes = [("5", -0.9), ("5", -0.8), ("5", -0.9), ("7", 0.4), ("7", 0.3), ("9", 0.9)]
    assert elected("best", *votes) == (5, "9")
    assert elected("majority", *votes) == (1, "5")
    assert elected("weighted", *votes) == (3, "7")


def test_equal_answers_vote_together_and_the_best_scored_of_them_speaks():
    votes = [("1/2", 0.1), ("0.5", 0.2), ("3", 0.5)]
    groups = {"1/2": "0.5", "0.5": "0.5", "3": "3"}
    assert elected("majority", *votes, groups=groups) == (1, "0.5")
    assert elected("majority", *votes) == (2, "3")


def test_more_votes_never_harm_an_answer_even_if_all_scores_are_negative():
    alone = [("5", -0.6), ("7", -0.7)]
    assert elected("weighted", *alone) == (0, "5")
    assert elected("weighted", *alone, ("5", -0.9)) == (0, "5")
    assert elected("weighted", *alone, ("5", -1.0)) == (0, "5")
    assert elected("weighted", *alone, ("7", -0.8)) == (1, "7")


@pytest.mark.parametrize("rule", ANSWER_RULES)
def test_ties_go_to_the_better_score_then_to_the_first_tree(rule):
    assert elected(rule, ("5", 0.1), ("7", 0.2)) == (1, "7")
    assert elected(rule, ("5", 0.2), ("7", 0.2)) == (0, "5")
    assert elected(rule, ("5", -1.0), ("7", -1.0)) == (0, "5")
    assert elected(rule, ("5", None), ("7", None)) == (0, "5")
    assert elected(rule) is None


def tree_of(*answers):
    """A tree of direct answers: (answer, prior, visits) each."""
    tree = Tree()
    for answer, prior, visits in answers:
        step = Step(StepKind.ANSWER, f"<answer>\\boxed{{{answer}}}<end_of_answer>")
        (node,) = tree.extend(0, [step], [prior])
        tree.end(node, Terminal.ANSWER)
        tree.visits[node] = visits
    return tree


def test_a_tree_votes_for_its_best_scored_visited_trajectory():
    tree = tree_of(("5", 0.1, 1), ("7", 0.6, 2), ("9", 0.9, 0))
    cast = cast_vote("p", 3, tree, scored=True)
    assert (cast.tree, cast.answer, cast.score, cast.num_trajectories) == (3, "7", 0.6, 2)


def test_without_a_ppm_a_tree_votes_for_its_most_frequent_answer():
    cast = cast_vote("p", 0, tree_of(("5", 0, 1), ("7", 0, 1), ("7", 0, 1)), scored=False)
    assert (cast.answer, cast.score, cast.trajectory.node_ids) == ("7", None, (2,))


def test_a_tree_without_an_answer_does_not_vote():
    assert cast_vote("p", 0, Tree(), scored=True) is None
    assert cast_vote("p", 0, tree_of(("5", 0, 0)), scored=False) is None
