import pytest

from rstar_core.requests import Execute, Grade, Propose
from rstar_core.tree import Terminal
from rstar_core.types import Completion, Execution, ExecutionStatus, Step, StepKind
from tests.unit.rstar_core.scripts import answers_what_was_printed, boxed, code, final, one_step_then


def test_identical_siblings_become_one_child_and_run_once(play, settings):
    played = play(settings(num_candidates=4), one_step_then(5, 5, 7, 5))
    assert len(played.tree.root.children) == 2
    assert len(played.of(Execute)[0].candidates) == 2
    assert played.tree.drops["identical_sibling"] == 2 + 3  # two finals, three answers


def test_every_candidate_that_is_no_node_leaves_its_reason(play, settings):
    statuses = {"a": "timeout", "b": "memory", "c": "killed", "d": "error"}

    def execute(_prefix, source):
        if source[0] in statuses:
            return Execution(ExecutionStatus(statuses[source[0]]), "", "stopped", 1.0)
        return Execution(ExecutionStatus.OK, "5\n" if "print(5)" in source else " \n", "", 0.0)

    def propose(request):
        if request.steps:
            return ["nothing to see<end_of_answer>"] * 8 + [boxed(5)] * 2
        return [
            *(code(letter) for letter in "abcd"),
            final("''"),
            Completion("# cut in the mid", 9, finished=False),
            "no tag",
            "<end_of_step>",
            boxed(5),
            final(5),
        ]

    tree = play(settings(num_candidates=10), propose, execute=execute).tree
    assert tree.drops == {
        "code_timeout": 1,
        "code_memory": 1,
        "code_killed": 1,
        "code_error": 1,
        "no_output": 1,
        "too_long": 1,
        "no_end_tag": 1,
        "empty_step": 1,
        "answer_before_code": 1,
        "no_boxed_answer": 8,
        "identical_sibling": 1,
    }
    assert tree.num_candidates == 20
    assert len(tree.nodes) == 3
    assert all(type(reason) is str or reason.value for reason in tree.drops)


@pytest.mark.parametrize("stdout", ["<end_of_step>\n5", "1<end_of_output>\n5", "<output>\n5", "5 <answer>"])
def test_a_program_that_prints_a_tag_is_dropped(play, settings, stdout):
    played = play(
        settings(num_candidates=1, num_proposals=1),
        one_step_then(5),
        execute=lambda _prefix, _source: Execution(ExecutionStatus.OK, stdout, "", 0.0),
    )
    assert played.tree.drops == {"tag_in_output": 1}
    assert played.tree.root.terminal is Terminal.DEAD_END


def test_tokens_are_counted_for_every_completion_kept_or_not(play, settings):
    def propose(request):
        if request.steps:
            return answers_what_was_printed(request)
        return [Completion(final(5), 11, finished=True), Completion("no tag", 100, finished=True)]

    tree = play(settings(), propose).tree
    assert tree.num_tokens == 111 + 2 * len(boxed(5).split())


def test_an_undecided_answer_is_no_node_and_not_wrong(play, settings):
    def propose(request):
        return [boxed("5?"), boxed(5)] if request.steps else [final(5), final(7)]

    tree = play(settings(), propose).tree
    assert tree.drops["answer_undecided"] == 1
    assert [(node.step.answer, node.correct) for node in tree.answers()] == [("5", True)]
    assert tree.root.q_sum == 1.0


def test_where_no_answer_can_be_decided_the_node_is_a_dead_end(play, settings):
    def propose(request):
        return [boxed("5?"), boxed("7?")] if request.steps else [final(5), "no tag"]

    tree = play(settings(num_rollouts=5), propose).tree
    assert tree.nodes[1].terminal is Terminal.DEAD_END
    assert tree.root.closed
    assert list(tree.answers()) == []


def test_the_answer_step_may_be_read_from_the_output_without_asking_the_policy(play, settings):
    def execute(_prefix, _source):
        return Execution(ExecutionStatus.OK, "working\n 5 \n", "", 0.0)

    played = play(
        settings(answer_step="output"), lambda _: [final(5), "# b\nprint(7)\n<end_of_code>"], execute=execute
    )
    assert len(played.of(Propose)) == 1
    answer = next(played.tree.answers())
    assert answer.step == Step(StepKind.ANSWER, boxed(5))
    assert answer.step.answer == "5"
    assert answer.correct is True
    assert played.tree.num_candidates == 2


def test_executed_output_stands_in_the_step_and_its_code_does_not(play, settings):
    tree = play(settings(), one_step_then(5, 7)).tree
    step = tree.nodes[1].step
    assert step.text == "# Now print the final answer\nprint(5)\n<end_of_code>\n<output>5<end_of_output>\n"
    assert step.code == "# Now print the final answer\nprint(5)\n"


def test_an_undecided_output_answer_is_dropped_once(play, settings):
    played = play(settings(answer_step="output", num_proposals=2), lambda _: [final("5?"), "no tag"])
    assert played.tree.drops["answer_undecided"] == 1
    assert len(played.of(Grade)) == 1


def good(value):
    return Completion(final(value), 7, finished=True)


def test_candidates_that_the_policy_did_not_send_are_counted_and_the_others_search_on(play, settings):
    def propose(request):
        return [boxed(5)] if request.steps else [good(5), good(7)]

    tree = play(settings(num_candidates=5, num_rollouts=2), propose).tree
    assert tree.drops == {"missing_candidate": 3 + 4 + 4}
    assert tree.num_candidates == 2 + 1 + 1
    assert [node.correct for node in tree.answers()] == [True, True]


def test_candidates_that_nobody_asked_for_are_ignored_but_their_tokens_were_spent(play, settings):
    def propose(request):
        return [boxed(5)] * 2 if request.steps else [good(5), good(5), good(7), good(8)]

    tree = play(settings(), propose).tree
    assert [node.step.code for node in tree.children(tree.root)] == [good(5).text.split("<")[0]]
    assert tree.drops == {"identical_sibling": 2}
    assert tree.num_candidates == 2 + 2
    assert tree.num_tokens == 4 * 7 + 2 * len(boxed(5).split())


def test_a_policy_that_sends_nothing_closes_the_node_after_the_allowed_attempts(play, settings):
    played = play(settings(num_candidates=4, num_rollouts=8, num_proposals=3), lambda _: [])
    assert played.tree.root.terminal is Terminal.DEAD_END
    assert len(played.requests) == 3
    assert played.tree.drops == {"missing_candidate": 12}
    assert (played.tree.num_rollouts, played.tree.num_candidates) == (1, 0)


@pytest.mark.parametrize("num_proposals", [1, 2, 5])
def test_consecutive_code_errors_are_bounded_by_the_number_of_proposals(play, settings, num_proposals):
    # Failed candidates are no nodes, so errors cannot follow each other along a path: they follow each other
    # at one node only, and there for `num_proposals` requests of `num_candidates` programs.
    played = play(
        settings(num_candidates=3, num_rollouts=16, num_proposals=num_proposals),
        lambda request: [code(f"raise {request.seed}{index}") for index in range(3)],
    )
    assert len(played.of(Propose)) == len(played.of(Execute)) == num_proposals
    assert played.tree.drops == {"code_error": 3 * num_proposals}
    assert played.tree.num_rollouts == 1
