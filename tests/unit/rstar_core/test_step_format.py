"""Whatever a policy writes has a defined outcome: it becomes a step, or it is dropped for a stated reason."""

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rstar_core.parsing import Defect
from rstar_core.tags import ALL_TAGS, extract_boxed
from rstar_core.types import Completion, Execution, ExecutionStatus

END, LAST = "\n<end_of_step>", "\n<end_of_code>"
FINAL, GOOD = "print(5)\n<end_of_code>", "\\boxed{5}<end_of_answer>"
RTL = "# \u202eabc \u05e9\u05dc\u05d5\u05dd\nx = 1"


def compiles(_prefix, source):
    """Python's own word on whether it is a program; one that is prints 5 if it prints at all."""
    try:
        compile(source, "<step>", "exec")
    except (SyntaxError, ValueError) as error:
        return Execution(ExecutionStatus.ERROR, "", str(error), 0.0)
    return Execution(ExecutionStatus.OK, "5\n" if "print" in source else "", "", 0.0)


def played_with(play, settings, completion, *, as_answer=False):
    """The tree in which `completion` is the first of two candidates, for the first step or for the answer."""

    def propose(request):
        if as_answer != bool(request.steps):
            return [FINAL, "(" + END] if as_answer else [GOOD, "<answer>" + GOOD]
        return [completion, GOOD if as_answer else "print(5) # good\n<end_of_code>"]

    return play(settings(num_rollouts=2), propose, execute=compiles).tree


CODE_DROPS = {
    "nothing": ("", Defect.NO_END_TAG),
    "no tag": ("x = 1\n", Defect.NO_END_TAG),
    "prose without code or tag": ("The answer is clearly 5.", Defect.NO_END_TAG),
    "half a tag": ("x = 1\n<end_of_st", Defect.NO_END_TAG),
    "a tag in capitals": ("x = 1\n<END_OF_STEP>", Defect.NO_END_TAG),
    "a tag spelt with wide letters": ("x = 1\n\uff1cend_of_step\uff1e", Defect.NO_END_TAG),
    "surrogates without a tag": ("\udcff\ud800", Defect.NO_END_TAG),
    "cut by the limit": (Completion("x = 1\ny = " + "1 + " * 2000, 4096, finished=False), Defect.TOO_LONG),
    "cut before the first token": (Completion("", 0, finished=False), Defect.TOO_LONG),
    "an empty step": (" \n\t" + END, Defect.EMPTY_STEP),
    "an empty step between two tags": ("<end_of_step><end_of_step>", Defect.EMPTY_STEP),
    "an empty step of carriage returns": ("\r\n\r\n<end_of_step>", Defect.EMPTY_STEP),
    "only an output": ("<output>5<end_of_output>", Defect.EMPTY_STEP),
    "an answer without code": ("<answer>\\boxed{5}<end_of_answer>", Defect.ANSWER_BEFORE_CODE),
    "an answer among the code": ("x = 1\n<answer>5" + LAST, Defect.FORGED_BLOCK),
    "two blocks of code in one step": ("x = 1\n<code>\ny = 2" + END, Defect.FORGED_BLOCK),
    "an output that it wrote itself": ("x = 1\n5<end_of_output>" + END, Defect.FORGED_BLOCK),
    "a block's tag in a string": ("s = '<answer>'" + END, Defect.FORGED_BLOCK),
    "a lone surrogate": ("x = '\ud800'" + END, Defect.NO_TEXT),
    "a surrogate in a comment": ("# \udfff\nx = 1" + END, Defect.NO_TEXT),
    "a NUL": ("x = 1\x00" + END, Defect.NO_TEXT),
    "a step's end in a string": ("s = '<end_of_step>'\nprint(s)" + LAST, "code_error"),
    "code fences": ("```python\nx = 1\n```" + END, "code_error"),
    "prose before the code": ("First we set x to one.\nx = 1" + END, "code_error"),
    "prose after the code": ("x = 1\nSo x is one." + END, "code_error"),
    "tabs mixed with spaces": ("if 1:\n        x = 1\n\ty = 2" + END, "code_error"),
    "a zero-width space in a name": ("x\u200b = 1" + END, "code_error"),
    "a typographic quote": ("s = \u201ca\u201d" + END, "code_error"),
    "markup": ("<html><body>503</body></html>" + END, "code_error"),
    "a last step that prints nothing": ("x = 5" + LAST, "no_output"),
    "what its sibling says already": ("print(5) # good" + LAST, "identical_sibling"),
    "its sibling with other line ends": ("\r\nprint(5) # good\r\n<end_of_code>", "identical_sibling"),
}


@pytest.mark.parametrize("name", CODE_DROPS)
def test_a_malformed_step_is_dropped_for_its_reason_and_its_sibling_searches_on(play, settings, name):
    completion, reason = CODE_DROPS[name]
    tree = played_with(play, settings, completion)
    assert tree.drops[reason] == 1
    assert sum(tree.drops.values()) == 1
    assert len(tree.root.children) == 1
    assert [node.correct for node in tree.answers()] == [True, True]


CODE_STEPS = {
    "trailing prose": ("x = 1\n<end_of_step>\nNext I would add.", "x = 1"),
    "the same tag twice": ("x = 1\n<end_of_step>\n<end_of_step>", "x = 1"),
    "two steps at once": ("x = 1\n<end_of_step>\ny = 2\n<end_of_step>", "x = 1"),
    "two programs at once": ("x = 1\n<end_of_step>\n<code>\ny = 2\n<end_of_code>", "x = 1"),
    "a tag on the line of the code": ("x = 1 <end_of_step>", "x = 1"),
    "a step's end in a comment": ("x = 1  # ends with <end_of_step>\ny", "x = 1  # ends with"),
    "the start of the code again": ("<code>\nx = 1\n<end_of_step>", "x = 1"),
    "line ends of another system": ("x = 1\r\ny = 2\r\n<end_of_step>", "x = 1\ny = 2"),
    "line ends of an old system": ("# a\rx = 1\r<end_of_step>", "# a\nx = 1"),
    "tabs": ("if 1:\n\tx = 1\n<end_of_step>", "if 1:\n\tx = 1"),
    "letters of every script": (
        "# \u00e9 \u4e2d \U0001f600\nx = 1\n<end_of_step>",
        "# \u00e9 \u4e2d \U0001f600\nx = 1",
    ),
    "right to left": (RTL + END, RTL),
    "only a comment": ("# Let me think.\n<end_of_step>", "# Let me think."),
    "a tag that ends nothing": ("x = '<b>'\n<end_of_step>", "x = '<b>'"),
    "a tag before the limit's cut": (Completion("x = 1\n<end_of_step>\ny =", 256, finished=False), "x = 1"),
    "surrogates after the tag": ("x = 1\n<end_of_step>\ud800\x00", "x = 1"),
}


@pytest.mark.parametrize("name", CODE_STEPS)
def test_what_can_be_read_as_a_step_is_one_and_nothing_of_the_rest_is_kept(play, settings, name):
    completion, code = CODE_STEPS[name]
    tree = played_with(play, settings, completion)
    assert tree.nodes[1].step.text == f"{code}\n<end_of_step>\n"
    assert tree.nodes[1].step.code == f"{code}\n"


ANSWERS = {
    "no box": ("The answer is 5.<end_of_answer>", Defect.NO_BOXED_ANSWER),
    "an empty box": ("\\boxed{ }<end_of_answer>", Defect.NO_BOXED_ANSWER),
    "an open box": ("\\boxed{5<end_of_answer>", Defect.NO_BOXED_ANSWER),
    "boxes without end": ("\\boxed{" * 3000 + "<end_of_answer>", Defect.NO_BOXED_ANSWER),
    "code instead": ("print(5)\n<end_of_code>", Defect.CODE_AFTER_OUTPUT),
    "another output": ("<output>5<end_of_output>", Defect.CODE_AFTER_OUTPUT),
    "another output before it": ("5<end_of_output><answer>\\boxed{5}<end_of_answer>", Defect.FORGED_BLOCK),
    "a second solution": ("\\boxed{5} <code> x<end_of_answer>", Defect.FORGED_BLOCK),
    "a lone surrogate": ("\\boxed{\ud800}<end_of_answer>", Defect.NO_TEXT),
    "a NUL": ("\\boxed{5\x00}<end_of_answer>", Defect.NO_TEXT),
    "no tag": ("\\boxed{5}", Defect.NO_END_TAG),
    "cut by the limit": (Completion("\\boxed{5}, or " * 99, 4096, finished=False), Defect.TOO_LONG),
    "what its sibling says already": ("\\boxed{5}<end_of_answer> and more", "identical_sibling"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_malformed_answer_is_dropped_for_its_reason_and_its_sibling_counts(play, settings, name):
    completion, reason = ANSWERS[name]
    tree = played_with(play, settings, completion, as_answer=True)
    assert tree.drops[reason] == 1
    assert [node.correct for node in tree.answers()] == [True]


def test_the_last_box_is_found_in_one_pass_however_often_the_model_repeated_itself():
    assert extract_boxed("\\boxed{" * 20_000) is None
    assert extract_boxed("\\boxed{" * 20_000 + "5}") == "5"
    assert extract_boxed("\\boxed{7}" + "\\boxed{" * 20_000) == "7"
    assert extract_boxed("}}\\boxed{a{b}c} {\\boxed{") == "a{b}c"


few = effort(max_examples=60, deadline=None, derandomize=True, database=None)
SCRAPS = st.lists(
    st.one_of(
        st.text(
            st.sampled_from("ax1 =#(){}<>'\n\r\t\0\ud800\udfff\u202e\u200b\u2028\ufeff\u00e9\U0001f600"),
            max_size=6,
        ),
        st.sampled_from([*ALL_TAGS, "\\boxed{5}", "x = 1\n", "print(5)\n", "\r\n", "\t", "```", "\\boxed{"]),
    ),
    max_size=8,
).map("".join)


@few
@given(st.lists(SCRAPS, max_size=4), st.booleans())
def test_no_text_breaks_a_tree_and_every_candidate_is_a_node_or_counted(play, settings, texts, finished):
    completions = [Completion(text, 1, finished) for text in texts]
    tree = play(
        settings(num_candidates=3, num_rollouts=3, max_depth=3), lambda _: completions, execute=compiles
    ).tree
    asked = tree.num_candidates + tree.drops["missing_candidate"]
    assert asked % 3 == 0
    assert len(tree) - 1 + sum(tree.drops.values()) == asked
    for node in tree.nodes[1:]:
        assert "\r" not in node.step.text
        assert node.step.text.encode().decode() == node.step.text
