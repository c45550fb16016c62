"""The cheap, exact rungs of the answer check. Pure: no process, no clock, no floating point.

The rules and their reasons are in docs/answer_check.md; each is pinned by a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infra.grading import numbers
from infra.grading.normal import Items, Normal, normalise, split_list

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rung of the ladder decided, and which one."""

    correct: bool
    method: str


_SHORTEST_WORD: Final = 4  # odd and ddo are words, xy and yx are products: below this nobody can tell


def decide(prediction: str, reference: str) -> Decision | None:
    """Compare two answers; None if it takes algebra to say."""
    if not prediction.strip():
        return Decision(correct=False, method="empty")
    left, right = normalise(prediction), normalise(reference)
    if left.unit and right.unit and left.unit != right.unit:
        return Decision(correct=False, method="unit")
    if left.text == right.text:
        return Decision(correct=True, method="exact")
    rungs = (_decide_numbers, _decide_bases, _decide_words, _decide_lists)
    return next((decision for rung in rungs if (decision := rung(left, right))), None)


def pairs_to_compare(prediction: str, reference: str) -> list[tuple[str, str]]:
    """What is left to compare where `decide` gave up: the open items of like lists, or the whole answers."""
    mine, theirs = split_list(normalise(prediction).text), split_list(normalise(reference).text)
    if mine is None or theirs is None or theirs.brackets == "{}" or not _brackets_fit(mine, theirs):
        return [(prediction, reference)]
    pairs = zip(mine.items, theirs.items, strict=True)  # `decide` refuses other lengths
    return [(one, other) for one, other in pairs if decide(one, other) is None]


def _decide_numbers(left: Normal, right: Normal) -> Decision | None:
    mine, theirs = numbers.parse(left.text), numbers.parse(right.text)
    if mine is None or theirs is None:
        return None
    if left.percent != right.percent and _is_share(mine, left, theirs):
        return None
    return Decision(correct=mine == theirs, method="number")


def _is_share(mine: Fraction, left: Normal, theirs: Fraction) -> bool:
    """Whether the percent sign makes the two equal, as in 50% and 0.5."""
    return mine / 100 == theirs if left.percent else theirs / 100 == mine


def _decide_bases(left: Normal, right: Normal) -> Decision | None:
    """Compare numbers of which one names its base: digits as they are asked for, or else values."""
    mine, theirs = numbers.parse_based(left.text), numbers.parse_based(right.text)
    if theirs is not None:
        bare = numbers.Based(left.text.lower().lstrip("0") or "0", theirs.base)
        return Decision(correct=theirs in {mine, bare}, method="base")
    value = None if mine is None else numbers.parse(right.text)
    return None if mine is None or value is None else Decision(correct=mine.value == value, method="base")


def _decide_words(left: Normal, right: Normal) -> Decision | None:
    one, other = left.text, right.text
    if not all(re.fullmatch(r"[A-Za-z]+(?:[ -][A-Za-z]+)*", text) for text in (one, other)):
        return None
    if left.quoted or right.quoted or min(len(one), len(other)) >= _SHORTEST_WORD:
        same = len(one) > 1 and one.casefold() == other.casefold()
        return Decision(correct=same, method="word")
    if one[1:] == other[1:] and len(one) > 2 and one[0].casefold() == other[0].casefold():  # Yes and yes
        return Decision(correct=True, method="word")
    return Decision(correct=False, method="word") if len(one) == len(other) == 1 else None


def _brackets_fit(mine: Items, theirs: Items) -> bool:
    """Whether a predicted list may be compared item by item with the reference."""
    return mine.brackets == theirs.brackets or (not theirs.brackets and mine.brackets in {"()", "[]", "{}"})


def _decide_lists(left: Normal, right: Normal) -> Decision | None:
    """Compare lists item by item as far as items can be decided exactly."""
    mine, theirs = split_list(left.text), split_list(right.text)
    if theirs is not None and theirs.brackets == "{}":
        return None  # a set has no order, which takes more than looking at the items in turn
    if mine is None or theirs is None:
        single = right if mine else left
        is_other = (mine or theirs) and numbers.parse(single.text) is not None
        return Decision(correct=False, method="list") if is_other else None
    if not mine.brackets and theirs.brackets:
        return None
    if not _brackets_fit(mine, theirs) or len(mine.items) != len(theirs.items):
        return Decision(correct=False, method="list")
    verdicts = [decide(one, other) for one, other in zip(mine.items, theirs.items, strict=True)]
    if any(verdict is not None and not verdict.correct for verdict in verdicts):
        return Decision(correct=False, method="list")
    return None if None in verdicts else Decision(correct=True, method="list")
