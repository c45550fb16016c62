import pytest

from rstar_core.parsing import parse_step
from rstar_core.prompts import (
    PREAMBLE,
    answer_step,
    bootstrap_prefix,
    last_output_line,
    output_block,
    question_piece,
    render,
)
from rstar_core.tags import extract_boxed
from rstar_core.types import Completion, StepKind


@pytest.mark.parametrize("style", ["bootstrap", "finetuned"])
def test_a_childs_pieces_extend_its_parents(style):
    steps = ("a\n<end_of_step>\n", "b\n<end_of_step>\n", "c\n<end_of_code>\n")
    for depth in range(len(steps)):
        parent, child = (render("How many?", steps[:n], style) for n in (depth, depth + 1))
        assert child[: len(parent)] == parent
        assert child[len(parent) :] == (steps[depth],)


def test_a_finetuned_policy_reads_the_question_alone():
    assert render(" How many?\n", ("a",), "finetuned") == (question_piece("How many?"), "a")
    assert question_piece("How many?") == f"Question: How many?\nSolution:\n<code>\n{PREAMBLE}"


def test_a_bootstrap_policy_reads_the_same_instructions_before_any_question():
    first, second = (render(question, (), "bootstrap") for question in ("How many?", "How much?"))
    assert first[0] == second[0] == bootstrap_prefix()
    assert first[1:] == render("How many?", (), "finetuned")


def test_the_worked_examples_are_solutions_in_the_form_that_is_asked_for():
    shots = bootstrap_prefix().split("Question: ")[1:]
    assert len(shots) >= 2
    for shot in shots:
        rest = shot.split(PREAMBLE)[1]
        parent = None
        while parent is not StepKind.FINAL_CODE:
            step = parse_step(Completion(rest, 1, finished=True), parent)
            assert rest.startswith(step.text)
            rest, parent = rest.removeprefix(step.text), step.kind
        printed = last_output_line(rest)
        assert rest.removeprefix(output_block(printed)) == answer_step(printed) + "\n\n"


def test_the_output_block_drops_only_the_space_at_the_end():
    assert output_block("  1\n2 \n\n") == "<output>  1\n2<end_of_output>\n"


@pytest.mark.parametrize(
    ("stdout", "line"), [("5\n", "5"), ("working\n 5 \n", "5"), ("5", "5"), ("a = 1 b", "a = 1 b")]
)
def test_the_last_printed_line_is_found_in_a_steps_text(stdout, line):
    assert last_output_line("print(1)\n<end_of_code>\n" + output_block(stdout)) == line


def test_the_canonical_answer_step_carries_its_answer():
    assert extract_boxed(answer_step("\\frac{1}{2}")) == "\\frac{1}{2}"
    step = parse_step(Completion(answer_step("7"), 1, finished=True), StepKind.FINAL_CODE)
    assert (step.text, step.answer) == (answer_step("7"), "7")
