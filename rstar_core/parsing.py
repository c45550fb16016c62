"""From a completion to a step: every completion is a `Step` or is `Malformed` with its reason.

This file decides form only. Whether code runs is the sandbox's word, whether an answer is right the answer
check's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rstar_core.tags import (
    ANSWER_START,
    CODE_START,
    END_OF_ANSWER,
    END_OF_CODE,
    END_OF_OUTPUT,
    END_OF_STEP,
    STOP_TAGS,
    extract_boxed,
)
from rstar_core.types import Completion, Step, StepKind

_STOP = re.compile("|".join(STOP_TAGS))
_FORGED = re.compile(f"{END_OF_OUTPUT}|{ANSWER_START}|{CODE_START}")
_FORGED_IN_ANSWER = re.compile(f"{END_OF_OUTPUT}|{CODE_START}")
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
_STEP_ENDS = re.compile(f"(?<={END_OF_STEP}\n)|(?<={END_OF_OUTPUT}\n)")


class Defect(StrEnum):
    """Why a candidate is no step. Counted in the catalog's `drops`."""

    NO_END_TAG = "no_end_tag"
    NO_TEXT = "no_text"
    TOO_LONG = "too_long"
    EMPTY_STEP = "empty_step"
    FORGED_BLOCK = "forged_block"
    ANSWER_BEFORE_CODE = "answer_before_code"
    CODE_AFTER_OUTPUT = "code_after_output"
    NO_BOXED_ANSWER = "no_boxed_answer"


@dataclass(frozen=True, slots=True)
class Malformed:
    """A completion that is no step, and why."""

    defect: Defect


def parse_step(completion: Completion, parent: StepKind | None) -> Step | Malformed:
    """Read one completion as the step after a step of kind `parent` (None at the root).

    Text after the first stop tag is ignored: an engine that does not stop at tags loses nothing by it. Code
    that runs into an `<output>` block without its end tag counts as final: the executor writes the block.
    Line ends become those that Python reads. Lone surrogates and NUL are refused: neither can be sent to
    every server and stored in every table.
    """
    stop = _STOP.search(completion.text)
    if stop is None:
        return Malformed(Defect.NO_END_TAG if completion.finished else Defect.TOO_LONG)
    tag = stop[0]
    body = completion.text[: stop.start()]
    if "\r" in body:
        body = body.replace("\r\n", "\n").replace("\r", "\n")
    body = body.strip("\n").rstrip()
    if (not body.isascii() or "\0" in body) and _NO_TEXT.search(body):
        return Malformed(Defect.NO_TEXT)
    if tag == END_OF_ANSWER:
        return _parse_answer(body) if parent is StepKind.FINAL_CODE else Malformed(Defect.ANSWER_BEFORE_CODE)
    if parent is StepKind.FINAL_CODE:
        return Malformed(Defect.CODE_AFTER_OUTPUT)
    if parent is None and body.startswith(CODE_START):
        body = body.removeprefix(CODE_START).strip("\n")
    return _parse_code(body, tag)


def split_steps(text: str) -> tuple[str, ...]:
    """Cut a solution's text back into the texts of its steps; joined, they are the text again."""
    return tuple(piece for piece in _STEP_ENDS.split(text) if piece)


def _parse_code(body: str, tag: str) -> Step | Malformed:
    if not body.strip():
        return Malformed(Defect.EMPTY_STEP)
    if _FORGED.search(body):
        return Malformed(Defect.FORGED_BLOCK)
    if tag == END_OF_STEP:
        return Step(StepKind.CODE, f"{body}\n{END_OF_STEP}\n")
    return Step(StepKind.FINAL_CODE, f"{body}\n{END_OF_CODE}\n")


def _parse_answer(body: str) -> Step | Malformed:
    if not extract_boxed(body):
        return Malformed(Defect.NO_BOXED_ANSWER)
    if _FORGED_IN_ANSWER.search(body):
        return Malformed(Defect.FORGED_BLOCK)
    return Step(StepKind.ANSWER, f"{body}{END_OF_ANSWER}")
