r"""Brings an answer into one spelling without changing what it says.

Only the writing is touched: delimiters, spacing commands, \dfrac, \left and \right, thousands commas, a
dollar sign, a percent sign, a unit in words. A space between two digits stays, because 1 2 is not 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from infra.grading.repair import repair
from infra.grading.units import QUOTED, take_unit

_WRAPPERS: Final = (("\\boxed{", "}"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_DROPPED: Final = re.compile(
    r"\\(?:left|right|displaystyle|limits|bigl|bigr|big|Bigl|Bigr|Big)(?![a-zA-Z])|\\[!,;:]"
)
_SPACES: Final = re.compile(r"\\(?:quad|qquad)(?![a-zA-Z])|\\ |~|\s+")
_FRACTION_WORDS: Final = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_BARE_FRACTION: Final = re.compile(
    r"\\frac\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))"
)
_BARE_ROOT: Final = re.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_PERCENT: Final = re.compile(r"\s*(?:\\?%|(?:\\text\{)?\s*percent\}?)$")
_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?")
_LOOSE_SPACE: Final = re.compile(r"(?<![0-9a-zA-Z.]) | (?![0-9a-zA-Z.])")
_MATRIX: Final = re.compile(r"\\(begin|end)\{(?:b|v)matrix\}")
_BRACKETS: Final = {"(": ")]", "[": ")]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Normal:
    r"""An answer in one spelling.

    Attributes:
        text: What two equal answers have in common.
        unit: A unit in words, in lower case and singular; empty if there is none.
        percent: Whether a percent sign stood behind it.
        quoted: Whether all of it was words in \text{}.
    """

    text: str
    unit: str = ""
    percent: bool = False
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list: its items, and its brackets, which are empty for a bare one."""

    items: tuple[str, ...]
    brackets: str


def normalise(answer: str) -> Normal:
    """Bring an answer into one spelling."""
    text = repair(_unwrap(answer.strip()))
    text = _DROPPED.sub("", _FRACTION_WORDS.sub(r"\\frac", text))
    text = _SPACES.sub(" ", text).strip()
    text = text.removesuffix("\\").removesuffix(".").strip() if not text.endswith("..") else text
    percent = _PERCENT.search(text) is not None
    text, unit = take_unit(_PERCENT.sub("", text))
    if text.startswith(("$", "-$")):
        text, unit = text.replace("$", "", 1), unit or "dollar"
    quoted = QUOTED.fullmatch(text) is not None
    text = QUOTED.sub(r"\1", text) if quoted else text
    return Normal(_tighten(text), unit, percent, quoted)


def split_list(text: str) -> Items | None:
    """The items of a list at the top level, or None if it is none."""
    text = text.replace("\\{", "{").replace("\\}", "}")
    brackets, inner = "", text
    if text and text[-1] in _BRACKETS.get(text[0], ""):
        brackets, inner = text[0] + text[-1], text[1:-1]
    items: list[str] = [""]
    depth = 0
    for character in inner:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return None
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    if depth or len(items) == 1 or not all(item.strip() for item in items):
        return None
    return Items(tuple(items), brackets)


def _unwrap(text: str) -> str:
    for head, tail in _WRAPPERS:
        inner = text[len(head) : -len(tail)]
        if (
            len(text) > len(head + tail)
            and text.startswith(head)
            and text.endswith(tail)
            and _whole(inner, head)
        ):
            return _unwrap(inner.strip())
    return text


def _whole(inner: str, head: str) -> bool:
    """Whether a delimiter at the front is closed only by the one at the back."""
    if not head.endswith("{"):
        return head not in inner.replace("\\$", "")
    depth = 0
    for character in inner:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def _tighten(text: str) -> str:
    """Drop spaces that separate nothing, thousands commas, and braces that were left out."""
    text = _LOOSE_SPACE.sub("", _MATRIX.sub(r"\\\1{pmatrix}", text))
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", text)
    text = _BARE_FRACTION.sub(lambda m: f"\\frac{{{m[1] or m[2] or ''}}}{{{m[3] or m[4] or ''}}}", text)
    if _THOUSANDS.fullmatch(text):
        text = text.replace("{,}", "").replace(",", "")
    return text
