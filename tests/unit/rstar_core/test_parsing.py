import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rstar_core.parsing import Defect, Malformed, parse_step, split_steps
from rstar_core.prompts import answer_step, output_block
from rstar_core.tags import extract_boxed
from rstar_core.types import Completion, Step, StepKind

CODE, FINAL = StepKind.CODE, StepKind.FINAL_CODE


def parse(text, parent=None, *, finished=True):
    return parse_step(Completion(text, 1, finished), parent)


def test_a_step_ends_with_its_tag_on_a_line_of_its_own():
    expected = Step(CODE, "# add\nx = 1\n<end_of_step>\n")
    assert parse("\n# add\nx = 1\n<end_of_step>") == expected
    assert parse("# add\nx = 1  <end_of_step>", CODE) == expected


def test_the_last_code_step_ends_with_the_end_of_code():
    assert parse("# Now print\nprint(x)\n<end_of_code>", CODE) == Step(
        FINAL, "# Now print\nprint(x)\n<end_of_code>\n"
    )


def test_code_that_runs_into_its_output_counts_as_final():
    assert parse("print(x)\n<output>12<end_of_output>", CODE) == parse("print(x)\n<end_of_code>", CODE)


def test_what_follows_the_first_tag_is_ignored():
    text = "x = 1\n<end_of_step>"
    assert parse(text + "\ny = 2\n<end_of_code>\n<output>3<end_of_output>", CODE) == parse(text, CODE)


def test_an_answer_is_the_content_of_its_last_box():
    step = parse("<answer>First \\boxed{1}, no: \\boxed{2}.<end_of_answer> ignored", FINAL)
    text = "<answer>First \\boxed{1}, no: \\boxed{2}.<end_of_answer>"
    assert step == Step(StepKind.ANSWER, text)
    assert (step.code, step.answer) == ("", "2")


def test_the_first_step_may_repeat_the_start_of_the_code():
    assert parse("<code>\nx = 1\n<end_of_step>") == parse("x = 1\n<end_of_step>")


def test_indentation_of_the_first_line_is_kept():
    assert parse("\n    x = 1\n<end_of_step>").code == "    x = 1\n"


@pytest.mark.parametrize(
    ("defect", "text", "parent", "finished"),
    [
        (Defect.NO_END_TAG, "x = 1\n", CODE, True),
        (Defect.NO_END_TAG, "", None, True),
        (Defect.TOO_LONG, "x = 1\n", CODE, False),
        (Defect.EMPTY_STEP, " \n<end_of_step>", CODE, True),
        (Defect.EMPTY_STEP, "<code>\n<end_of_code>", None, True),
        (Defect.EMPTY_STEP, "<output>5<end_of_output>", CODE, True),
        (Defect.FORGED_BLOCK, "x = 1\n5<end_of_output>\n<end_of_step>", CODE, True),
        (Defect.FORGED_BLOCK, "<answer>5\n<end_of_code>", CODE, True),
        (Defect.FORGED_BLOCK, "<code>\nx = 1\n<end_of_step>", CODE, True),
        (Defect.FORGED_BLOCK, "x = 1\n<code>\n<end_of_step>", None, True),
        (Defect.FORGED_BLOCK, "5<end_of_output>\\boxed{5}<end_of_answer>", FINAL, True),
        (Defect.ANSWER_BEFORE_CODE, "\\boxed{5}<end_of_answer>", None, True),
        (Defect.ANSWER_BEFORE_CODE, "\\boxed{5}<end_of_answer>", CODE, True),
        (Defect.CODE_AFTER_OUTPUT, "x = 1\n<end_of_step>", FINAL, True),
        (Defect.CODE_AFTER_OUTPUT, "print(x)\n<end_of_code>", FINAL, True),
        (Defect.CODE_AFTER_OUTPUT, "<output>5<end_of_output>", FINAL, True),
        (Defect.NO_BOXED_ANSWER, "It is 5.<end_of_answer>", FINAL, True),
        (Defect.NO_BOXED_ANSWER, "\\boxed{ }<end_of_answer>", FINAL, True),
        (Defect.NO_BOXED_ANSWER, "\\boxed{5<end_of_answer>", FINAL, True),
    ],
)
def test_every_defect_has_its_reason(defect, text, parent, finished):
    assert parse(text, parent, finished=finished) == Malformed(defect)


def test_a_tag_counts_even_where_the_length_limit_cut_the_text():
    assert isinstance(parse("x = 1\n<end_of_step>\ny =", CODE, finished=False), Step)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{12}", "12"),
        ("\\boxed{\\frac{1}{2}} and more", "\\frac{1}{2}"),
        ("\\boxed{1}, then \\boxed{2}", "2"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{ 7 }", "7"),
        ("\\boxed{}", ""),
        ("\\boxed{1} and the open \\boxed{2", "1"),
        ("\\boxed{2", None),
        ("12", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_is_the_answer(text, content):
    assert extract_boxed(text) == content


def test_a_solution_is_cut_back_into_its_steps():
    steps = (
        "x = 1\n<end_of_step>\n",
        "# two\ny = 2\n<end_of_step>\n",
        "print(x)\n<end_of_code>\n" + output_block("1\n2\n"),
        answer_step("1"),
    )
    assert split_steps("".join(steps)) == steps
    assert split_steps(steps[0]) == steps[:1]
    assert split_steps("") == ()


LINES = st.text(st.sampled_from("ab01 +=#(){}<>\\\n"), min_size=1, max_size=30)
few = effort(max_examples=40, deadline=None, derandomize=True, database=None)


@few
@given(st.lists(LINES, max_size=4), LINES, st.text("0123456789", min_size=1, max_size=4))
def test_steps_that_were_parsed_are_found_again_in_their_text(lines, last, stdout):
    steps = [parse(f"{line}\n<end_of_step>", CODE) for line in lines]
    steps.append(parse(f"{last}\n<end_of_code>", CODE))
    texts = [step.text for step in steps if isinstance(step, Step)]
    if isinstance(steps[-1], Step):
        texts[-1] += output_block(stdout)
        texts.append(answer_step(stdout))
    assert split_steps("".join(texts)) == tuple(texts)


@few
@given(
    st.lists(
        st.sampled_from(
            (
                "x = 1\n",
                "}",
                "\\boxed{1}",
                "\\boxed{",
                "<code>\n",
                "<output>",
                "<answer>",
                "<end_of_step>",
                "<end_of_step>\n",
                "<end_of_code>\n",
                "<end_of_output>\n",
                "<end_of_answer>",
            )
        ),
        max_size=8,
    ),
    st.sampled_from([None, CODE, FINAL]),
)
def test_any_text_is_a_step_or_has_a_defect_and_its_pieces_join_to_it_again(pieces, parent):
    text = "".join(pieces)
    assert "".join(split_steps(text)) == text
    step = parse(text, parent)
    if isinstance(step, Malformed):
        assert step.defect in Defect
    else:
        assert (step.kind is StepKind.ANSWER) == (parent is FINAL) == (step.answer is not None)
        assert bool(step.code) == (step.kind is not StepKind.ANSWER)
        assert step.text.count("<end_of_") == 1
