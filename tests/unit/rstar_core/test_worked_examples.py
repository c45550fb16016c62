"""Searches worked by hand. Every figure below was computed on paper from the rules, none by the program."""

import pytest

from rstar_core.pairs import step_pairs
from rstar_core.search import backup
from rstar_core.selection import uct
from rstar_core.trajectories import select_best, trajectories
from rstar_core.tree import Tree
from rstar_core.types import Step, StepKind

LEFT, RIGHT = "# go left\n<end_of_step>\n", "# go right\n<end_of_step>\n"


def final(value):
    return f"print({value})\n<end_of_code>"


def shown(value):
    return f"print({value})\n<end_of_code>\n<output>{value}<end_of_output>\n"


def boxed(value):
    return f"\\boxed{{{value}}}<end_of_answer>"


def left_and_right(request):
    """Left leads to 5 and 7, right to 7 and 8; the reference is 5. Both answers say what was printed."""
    if not request.steps:
        return [LEFT, RIGHT]
    if "<output>" in request.steps[-1]:
        return [boxed(request.steps[-1].split("<output>")[1][0])] * 2
    return [final(5), final(7)] if request.steps[-1] == LEFT else [final(7), final(8)]


def rows(tree):
    """(parent, what it says, N, q) of every node in the order of their indices."""
    return [
        (node.parent, node.step and (node.step.answer or node.step.code.strip()), node.visits, node.q_sum)
        for node in tree.nodes
    ]


def rounded(table):
    return [(parent, text, visits, pytest.approx(q)) for parent, text, visits, q in table]


@pytest.mark.parametrize(
    ("prior", "after_each", "mean", "score"),
    [
        (0.0, [1.0, 2.0, 1.0, 2.0], 0.5, 2.017),  # rounds 1 and 2
        (0.4, [1.4, 2.4, 1.4, 2.4], 0.6, 2.117),  # rounds 3 and 4: the PPM's score is where q starts
        (-0.8, [0.2, 1.2, 0.2, 1.2], 0.3, 1.817),
    ],
)
def test_four_rollouts_through_a_step_and_its_uct(prior, after_each, mean, score):
    tree = Tree()
    step = tree.add(tree.root, Step(StepKind.CODE, LEFT), prior)
    assert step.q_sum == prior
    q_sums = []
    for value in (1.0, 1.0, -1.0, 1.0):
        backup(tree, step.index, value)
        q_sums.append(step.q_sum)
    assert q_sums == pytest.approx(after_each)
    assert (step.visits, step.q) == (4, pytest.approx(mean))
    # 2·sqrt(ln 10 / 4) = 2·sqrt(2.302585 / 4) = 2·0.758713 = 1.517427
    assert uct(step.q, step.visits, 10) == pytest.approx(score, abs=5e-4)


def test_three_rollouts_of_terminal_guided_search(play, settings):
    tree = play(settings(num_rollouts=3), left_and_right).tree
    # 1: left (the first of two equals), print(5) (as before), 5 is right: +1 along the path.
    # 2: right was never visited; print(7), 7 is wrong: -1.
    # 3: UCT(left) = 1 + 2·sqrt(ln 2 / 1) = 2.665, UCT(right) = -1 + 1.665 = 0.665: left. print(7) was never
    #    visited; 7 is wrong: -1.
    assert uct(1.0, 1, 2) == pytest.approx(2.665, abs=5e-4)
    assert uct(-1.0, 1, 2) == pytest.approx(0.665, abs=5e-4)
    assert rows(tree) == [
        (None, None, 3, -1.0),
        (0, "# go left", 2, 0.0),
        (0, "# go right", 1, -1.0),
        (1, "print(5)", 1, 1.0),
        (1, "print(7)", 1, -1.0),
        (3, "5", 1, 1.0),
        (2, "print(7)", 1, -1.0),
        (2, "print(8)", 0, 0.0),
        (6, "7", 1, -1.0),
        (4, "7", 1, -1.0),
    ]
    assert tree.num_rollouts == 3
    assert [(node.index, node.correct) for node in tree.answers()] == [(5, True), (8, False), (9, False)]
    assert tree.drops == {"identical_sibling": 3}  # both candidates gave the same answer, three times
    assert tree.num_candidates == 12


PRIORS = {
    LEFT: 0.4,
    RIGHT: 0.1,
    LEFT + shown(5): 0.2,
    LEFT + shown(7): 0.6,
    RIGHT + shown(7): -0.5,
    RIGHT + shown(8): -0.2,
}


def test_three_rollouts_of_ppm_augmented_search_and_what_they_train(play, settings):
    tree = play(
        settings(num_rollouts=3, annotation="ppm"), left_and_right, score=lambda text: PRIORS.get(text, 0.3)
    ).tree
    # 1: nobody was visited, so the priors decide: left (0.4), print(7) (0.6); 7 is wrong: -1.
    # 2: right was never visited; print(8) (-0.2 against -0.5); 8 is wrong: -1.
    # 3: UCT(left) = 0.4 - 1 + 1.665 = 1.065, UCT(right) = 0.1 - 1 + 1.665 = 0.765: left. print(5) was never
    #    visited, which beats any UCT of print(7); 5 is right: +1.
    assert rows(tree) == rounded(
        [
            (None, None, 3, -1.0),
            (0, "# go left", 2, 0.4),  # 0.4 - 1 + 1, so Q = 0.2
            (0, "# go right", 1, -0.9),  # 0.1 - 1
            (1, "print(5)", 1, 1.2),  # 0.2 + 1, so Q = 1.2: the prior is not counted in N
            (1, "print(7)", 1, -0.4),  # 0.6 - 1
            (4, "7", 1, -0.7),  # 0.3 - 1
            (2, "print(7)", 0, -0.5),
            (2, "print(8)", 1, -1.2),  # -0.2 - 1
            (7, "8", 1, -0.7),
            (3, "5", 1, 1.3),
        ]
    )
    found = trajectories("p", tree)
    assert [each.node_ids for each in found] == [(1, 4, 5), (2, 7, 8), (1, 3, 9)]
    (best,) = select_best(found)
    assert best.mean_q == pytest.approx((0.2 + 1.2 + 1.3) / 3)
    pairs = [
        (pair.positive, pair.negative, pair.positive_q, pair.negative_q) for pair in step_pairs("p", tree)
    ]
    assert pairs == [
        (LEFT, RIGHT, pytest.approx(0.2), pytest.approx(-0.9)),
        (shown(5), shown(7), pytest.approx(1.2), pytest.approx(-0.4)),
    ]


def test_three_rollouts_at_test_time_where_the_ppms_score_of_the_solution_is_the_reward(play, settings):
    answers = {boxed(5): 0.9, boxed(7): -0.5, boxed(8): 0.1}

    def score(text):
        return PRIORS[text] if text in PRIORS else answers[text.rpartition("\n")[2]]

    tree = play(settings(num_rollouts=3, annotation="ppm"), left_and_right, score=score, reference=None).tree
    # 1: left, print(7), and the solution with 7 scores -0.5.  2: right, print(8), and 8 scores 0.1.
    # 3: UCT(left) = 0.4 - 0.5 + 1.665 = 1.565, UCT(right) = 0.1 + 0.1 + 1.665 = 1.865: right; print(7) is new
    #    and 7 scores -0.5. The right answer on the left is never seen: the PPM misled them.
    assert rows(tree) == rounded(
        [
            (None, None, 3, -0.9),  # -0.5 + 0.1 - 0.5
            (0, "# go left", 1, -0.1),
            (0, "# go right", 2, -0.3),  # 0.1 + 0.1 - 0.5
            (1, "print(5)", 0, 0.2),
            (1, "print(7)", 1, 0.1),  # 0.6 - 0.5
            (4, "7", 1, -1.0),  # an answer's score is its first value and its reward
            (2, "print(7)", 1, -1.0),
            (2, "print(8)", 1, -0.1),
            (7, "8", 1, 0.2),
            (6, "7", 1, -1.0),
        ]
    )
    assert all(node.correct is None for node in tree.answers())


def test_the_mean_value_of_a_step_leaves_the_interval_of_rewards_only_by_its_prior():
    # |q| <= N + |prior|, and nothing tighter holds: a step that the PPM is sure of and that wins has Q = 2.
    tree = Tree()
    sure = tree.add(tree.root, Step(StepKind.CODE, LEFT), 1.0)
    means = []
    for _ in range(4):
        backup(tree, sure.index, 1.0)
        means.append(sure.q)
    assert means == pytest.approx([2.0, 3 / 2, 4 / 3, 5 / 4])  # 1 + 1 / N
