"""A row that did not become a problem, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DropReason(StrEnum):
    """Why a row was dropped. Reasons are counted in the catalog, so they are few and stable."""

    EMPTY_QUESTION = "empty_question"
    EMPTY_ANSWER = "empty_answer"
    NO_FINAL_ANSWER = "no_final_answer"
    UNSUPPORTED_ANSWER = "unsupported_answer"
    DUPLICATE = "duplicate"
    CONFLICTING_ANSWER = "conflicting_answer"
    HELDOUT_OVERLAP = "heldout_overlap"


@dataclass(frozen=True, slots=True)
class Drop:
    """What was dropped and why.

    Attributes:
        source: Name of the source, as in `Problem.source`.
        row: Where it stood: `file:line` for JSONL, `file row N` for other files (both from 1), and the
            problem id for a problem that was read but is not wanted.
        reason: The rule that dropped it.
        detail: What a person needs to check the decision.
    """

    source: str
    row: str
    reason: DropReason
    detail: str
