import math
import random

import pytest

from rstar_core.errors import SearchError
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute, Grade, Propose, Score
from rstar_core.search import backup, search
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Completion, Execution, ExecutionStatus, Step, StepKind
from tests.unit.rstar_core.scripts import answers_what_was_printed, boxed, code, final, one_step_then

A, B = "# go left\n<end_of_step>\n", "# go right\n<end_of_step>\n"


def left_and_right(request):
    """Left leads to 5 and 7, right to 7 and 8; the reference is 5."""
    if not request.steps:
        return [code("# go left"), code("# go right")]
    if "<output>" in request.steps[-1]:
        return answers_what_was_printed(request)
    return [final(5), final(7)] if request.steps[-1] == A else [final(7), final(8)]


def test_the_requests_of_the_first_rollout_are_asked_in_order(play, settings):
    played = play(settings(temperature=0.7, top_p=0.9, max_step_tokens=32), left_and_right)
    shown = "# Now print the final answer\nprint(5)\n<end_of_code>\n<output>5<end_of_output>\n"
    asked = {"num_candidates": 2, "temperature": 0.7, "top_p": 0.9, "max_tokens": 32}
    assert played.requests == [
        Propose("How many?", (), seed=1, **asked),
        Execute(PREAMBLE, ("# go left\n", "# go right\n")),
        Propose("How many?", (A,), seed=2, **asked),
        Execute(
            PREAMBLE + "# go left\n",
            ("# Now print the final answer\nprint(5)\n", "# Now print the final answer\nprint(7)\n"),
        ),
        Propose("How many?", (A, shown), seed=3, **asked),
        Grade(("5",), "5"),
    ]


def test_the_ppms_score_is_a_steps_first_value_and_the_reference_still_judges(play, settings):
    scores = {A: 0.25, B: 0.75}
    played = play(
        settings(num_rollouts=2, annotation="ppm"), left_and_right, score=lambda text: scores.get(text, 0.5)
    )
    # 1: right has the higher prior → print(7), wrong: −1. 2: left is new → print(5), right: +1.
    root, left, right = played.tree.nodes[:3]
    assert (left.prior, left.q_sum, left.q) == (0.25, 1.25, 1.25)
    assert (right.prior, right.q_sum, right.q) == (0.75, -0.25, -0.25)
    assert (root.visits, root.q_sum) == (2, 0.0)
    assert [node.q_sum for node in played.tree.answers()] == [-0.5, 1.5]
    assert played.of(Score)[1] == Score(
        "How many?",
        (B,),
        tuple(
            f"# Now print the final answer\nprint({n})\n<end_of_code>\n<output>{n}<end_of_output>\n"
            for n in (7, 8)
        ),
    )


def test_in_terminal_annotation_no_score_is_asked_for(play, settings):
    played = play(settings(num_rollouts=3), left_and_right)
    assert played.of(Score) == []
    assert all(node.prior == 0.0 for node in played.tree.nodes)


def test_without_a_reference_the_ppm_judges_the_answer(play, settings):
    played = play(
        settings(annotation="ppm"),
        one_step_then(5, 7),
        score=lambda text: 0.5 if "answer>" in text else 0.1,
        reference=None,
    )
    answer = next(played.tree.answers())
    assert played.of(Grade) == []
    assert answer.correct is None
    assert answer.q_sum == 0.5 + 0.5
    assert played.tree.nodes[1].q_sum == 0.1 + 0.5
    assert played.tree.root.q_sum == 0.5


def test_without_reference_and_ppm_an_answer_is_worth_nothing(play, settings):
    tree = play(settings(), one_step_then(5, 7), reference=None).tree
    assert next(tree.answers()).correct is None
    assert (tree.root.visits, tree.root.q_sum) == (1, 0.0)


def test_a_node_where_nothing_runs_is_a_dead_end_that_costs_a_rollout(play, settings):
    def propose(request):
        if not request.steps:
            return [code("# go left"), code("# go right")]
        return [code("raise ValueError"), code("raise KeyError")] if request.steps == (A,) else [final(5)] * 2

    def with_answers(request):
        done = request.steps and "<output>" in request.steps[-1]
        return answers_what_was_printed(request) if done else propose(request)

    tree = play(settings(num_rollouts=4, num_proposals=3), with_answers).tree
    left, right = tree.nodes[1:3]
    assert left.terminal is Terminal.DEAD_END
    assert left.closed
    assert left.children == []
    assert (left.visits, left.q_sum) == (1, -1.0)  # visited once, then passed over
    assert (right.visits, right.q_sum) == (3, 3.0)
    assert not tree.root.closed
    assert tree.drops["code_error"] == 3 * 2  # three attempts of two candidates


def test_a_second_attempt_may_save_a_node_and_has_its_own_seed(play, settings):
    def propose(request):
        if request.steps:
            return answers_what_was_printed(request)
        return ["no tag", "no tag"] if request.seed == 1 else [final(5), "no tag"]

    played = play(settings(num_proposals=2), propose)
    assert [request.seed for request in played.of(Propose)] == [1, 2, 3]
    assert next(played.tree.answers()).correct is True
    assert played.tree.drops["no_end_tag"] == 3


def test_closing_a_last_open_child_closes_the_parents_and_ends_the_search(play, settings):
    def propose(request):
        if not request.steps:
            return [code("# go left"), code("# go right")]
        if len(request.steps) == 1 and request.steps[0] == A:
            return [code("# further left"), "no tag"]
        return ["no tag", "no tag"]

    tree = play(settings(num_rollouts=8), propose).tree
    assert [node.closed for node in tree.nodes] == [True, True, True, True]
    assert [node.terminal for node in tree.nodes] == [None, None, Terminal.DEAD_END, Terminal.DEAD_END]
    assert tree.num_rollouts == 2
    assert [(node.visits, node.q_sum) for node in tree.nodes] == [(2, -2.0), (1, -1.0), (1, -1.0), (1, -1.0)]


def test_a_root_without_children_ends_the_search_after_one_rollout(play, settings):
    played = play(settings(num_rollouts=8), lambda _: ["no tag", "nor here"])
    tree = played.tree
    assert (tree.root.terminal, tree.root.closed) == (Terminal.DEAD_END, True)
    assert (tree.num_rollouts, tree.root.visits, tree.root.q_sum) == (1, 1, -1.0)
    assert played.of(Execute) == []


def test_a_path_without_an_answer_ends_at_the_depth_limit_and_loses(play, settings):
    tree = play(
        settings(num_candidates=1, max_depth=3, num_rollouts=2), lambda r: [code(f"# {len(r.steps)}")]
    ).tree
    assert [node.depth for node in tree.nodes] == [0, 1, 2, 3]
    last = tree.nodes[-1]
    assert last.terminal is Terminal.DEPTH_LIMIT
    assert not last.expanded
    assert [(node.visits, node.q_sum) for node in tree.nodes] == [(2, -2.0)] * 4


def test_an_answer_at_the_depth_limit_is_still_an_answer(play, settings):
    tree = play(settings(max_depth=2), one_step_then(5, 7)).tree
    assert [node.terminal for node in tree.nodes if node.visits] == [None, None, Terminal.ANSWER]
    assert tree.root.q_sum == 1.0


def test_backup_adds_the_value_and_a_visit_along_the_path_only():
    tree = Tree()
    left = tree.add(tree.root, Step(StepKind.CODE, "a"), 0.5)
    right = tree.add(tree.root, Step(StepKind.CODE, "b"), -0.5)
    leaf = tree.add(left, Step(StepKind.CODE, "c"), 0.0)
    for value in (1.0, 1.0, -1.0, 1.0):
        backup(tree, leaf.index, value)
    assert [(n.visits, n.q_sum) for n in (tree.root, left, leaf)] == [(4, 2.0), (4, 2.5), (4, 2.0)]
    assert leaf.q == 0.5
    assert (right.visits, right.q_sum, right.q) == (0, -0.5, -0.5)
    assert tree.num_rollouts == 4


def replies_that_break_the_protocol():
    good = Completion(final(5), 1, finished=True)
    verdict_like = Execution(ExecutionStatus.OK, "5\n", "", 0.0)
    return [
        ("texts for completions", [("one", "two")]),
        ("executions for completions", [(verdict_like, verdict_like)]),
        ("too few executions", [(good, good), ()]),
        ("completions for executions", [(good, good), (good,)]),
        (
            "too few verdicts",
            [(good, good), (verdict_like,), (Completion(boxed(5), 1, finished=True),) * 2, ()],
        ),
    ]


@pytest.mark.parametrize(
    "replies", [pytest.param(replies, id=name) for name, replies in replies_that_break_the_protocol()]
)
def test_a_reply_of_the_wrong_shape_is_refused(settings, replies):
    searching = search("How many?", "5", settings(), random.Random(0))
    next(searching)
    for reply in replies[:-1]:
        searching.send(reply)
    with pytest.raises(SearchError, match="were asked for"):
        searching.send(replies[-1])


def test_a_score_that_is_no_float_is_refused(play, settings):
    with pytest.raises(SearchError, match="2 of float were asked for"):
        play(settings(annotation="ppm"), one_step_then(5, 7), score=lambda _: "high")


def test_a_score_that_is_no_number_is_refused(play, settings):
    with pytest.raises(SearchError):
        play(settings(annotation="ppm", num_rollouts=6), left_and_right, score=lambda _: math.nan)


def test_the_same_seed_gives_the_same_tree_and_another_seed_another(world, settings):
    config = settings(num_candidates=3, num_rollouts=8)

    def grow(seed):
        played = world().play(config, seed=seed)
        return played.tree, played.requests

    assert grow(1) == grow(1)
    assert grow(1) != grow(2)
