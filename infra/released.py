"""The two formats of the released rStar-Math data, read row by row; docs/released_data.md has the mapping."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.problems.identity import problem_id
from rstar_core.parsing import split_steps
from rstar_core.tags import CODE_START, END_OF_ANSWER, extract_boxed

if TYPE_CHECKING:
    from collections.abc import Mapping

_USER = "<|user|>:"
_ASSISTANT = re.compile(r"\s*<\|assistant\|>:[^<]*" + re.escape(CODE_START))
_PROGRAM_REQUEST = "Let's write a program."


class NotUnderstoodError(ValueError):
    """A row cannot be understood; the message is its short reason."""


@dataclass(frozen=True, slots=True)
class ReleasedProblem:
    """A question with the answer that came with it.

    Attributes:
        problem_id: Content hash.
        question: The question alone.
        answer: Answer of the (right) solution; empty if the row holds none.
    """

    problem_id: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class ReleasedExample:
    """A solution to train the policy with: its problem and the texts of its steps."""

    problem: ReleasedProblem
    step_texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReleasedPair:
    """A preference to train the PPM with.

    Attributes:
        problem: Its problem.
        prefix: Text of the steps that both sides share; empty for whole solutions.
        positive: The better continuation.
        negative: The worse one.
        num_pairs: Pairs of its group, as the row says.
    """

    problem: ReleasedProblem
    prefix: str
    positive: str
    negative: str
    num_pairs: int


def example_of(row: Mapping[str, Any]) -> ReleasedExample:
    """A row {query, response}.

    Raises:
        NotUnderstoodError: It has another shape, or the response no code or no answer.
    """
    question, response = _text(row, "query"), _text(row, "response")
    _, start, solution = response.partition(CODE_START)
    if not start:
        raise NotUnderstoodError("no_code")
    answer = extract_boxed(solution)
    if not answer:
        raise NotUnderstoodError("no_answer")
    return ReleasedExample(_problem(question, answer), split_steps(_solution(solution)))


def pair_of(row: Mapping[str, Any]) -> ReleasedPair:
    """A row {prompt, pos, neg, pos_count, neg_count}.

    Raises:
        NotUnderstoodError: It has another shape, or both sides are the same.
    """
    prompt, positive, negative = (_text(row, name) for name in ("prompt", "pos", "neg"))
    if positive == negative:
        raise NotUnderstoodError("same_sides")
    counts = [row.get(name, 1) for name in ("pos_count", "neg_count")]
    if not all(isinstance(each, int) and each > 0 for each in counts):
        raise NotUnderstoodError("no_counts")
    head, *shared = _ASSISTANT.split(prompt, maxsplit=1)
    question = head.strip().removeprefix(_USER).strip().removesuffix(_PROGRAM_REQUEST).strip()
    if not question:
        raise NotUnderstoodError("no_question")
    prefix = _steps(shared[0]) if shared else ""
    better, worse = (_steps(_ASSISTANT.sub("", each, count=1)) for each in (positive, negative))
    answer = extract_boxed(positive) if END_OF_ANSWER in positive else None
    return ReleasedPair(_problem(question, answer or ""), prefix, better, worse, counts[0] * counts[1])


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise NotUnderstoodError(f"no_{name}")
    if "\0" in value or (not value.isprintable() and any("\ud800" <= each <= "\udfff" for each in value)):
        raise NotUnderstoodError("no_text")
    return value


def _problem(question: str, answer: str) -> ReleasedProblem:
    return ReleasedProblem(problem_id(question, answer), question.strip(), answer)


def _solution(text: str) -> str:
    """A solution as ours are written: no blank lines in front, one line end after each tag."""
    return _steps(text.strip())


def _steps(text: str) -> str:
    lines = re.sub(r"(<end_of_step>|<end_of_code>|<end_of_output>)\s*", r"\1\n", text.strip("\n"))
    return re.sub(r"\s+(<end_of_answer>)", r"\1", lines)
