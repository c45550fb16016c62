"""Reads a number exactly: integer, decimal, power of ten, fraction, mixed number, millions, any base."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from infra.grading.units import MULTIPLIERS

_MAX_DIGITS: Final = 4000  # beyond this an answer is not a plain number but a trap
_MAX_EXPONENT: Final = 400

_INTEGER: Final = r"\d+"
_UNSIGNED: Final = r"(?:\d+\.?\d*|\.\d+)"
_DECIMAL: Final = re.compile(rf"({_UNSIGNED})(?:[eE]([+-]?\d{{1,4}}))?")
_POWER_OF_TEN: Final = re.compile(
    rf"({_UNSIGNED})(?:\\times|\\cdot|\*) ?10(?:\^|\*\*)(?:\{{([+-]?\d{{1,4}})\}}|(\d))"
)
_RATIO: Final = re.compile(rf"({_UNSIGNED})/({_UNSIGNED})")
_LATEX_RATIO: Final = re.compile(rf"\\frac\{{([+-]?{_UNSIGNED})\}}\{{([+-]?{_UNSIGNED})\}}")
_MIXED: Final = re.compile(
    rf"({_INTEGER})(?: ({_INTEGER})/({_INTEGER})|\\frac\{{({_INTEGER})\}}\{{({_INTEGER})\}})"
)
_MULTIPLIED: Final = re.compile(rf"({_UNSIGNED}) ?({'|'.join(MULTIPLIERS)})")
_BASED: Final = re.compile(r"([0-9a-z]+)_\{?(\d{1,2})\}?", re.IGNORECASE)
_MAX_BASE: Final = 36


@dataclass(frozen=True, slots=True)
class Based:
    """Digits, lower case and without leading zeros, and the base that they are in."""

    digits: str
    base: int

    @property
    def value(self) -> int:
        """The number."""
        return int(self.digits, self.base)


def parse_based(text: str) -> Based | None:
    """The number that names its base in an index, like 101_2, or None if the text is anything else."""
    match = _BASED.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None or not 2 <= int(match[2]) <= _MAX_BASE:
        return None
    number = Based(match[1].lower().lstrip("0") or "0", int(match[2]))
    highest = max(int(digit, _MAX_BASE) for digit in number.digits)
    return number if highest < number.base else None


def parse(text: str) -> Fraction | None:
    """The number that a normalised text is, or None if it is anything else."""
    if len(text) > _MAX_DIGITS:
        return None
    sign = 1
    while text[:1] in {"-", "+"}:
        sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip()
    in_brackets = text.startswith("(") and text.endswith(")")
    value = parse(text[1:-1]) if in_brackets else _unsigned(text)
    return None if value is None else sign * value


def _unsigned(text: str) -> Fraction | None:
    if match := _DECIMAL.fullmatch(text):
        return _scaled(match[1], match[2])
    if match := _POWER_OF_TEN.fullmatch(text):
        return _scaled(match[1], match[2] or match[3])
    if match := _RATIO.fullmatch(text) or _LATEX_RATIO.fullmatch(text):
        return _ratio(Fraction(match[1]), Fraction(match[2]))
    if match := _MULTIPLIED.fullmatch(text):
        return Fraction(match[1]) * MULTIPLIERS[match[2]]
    if match := _MIXED.fullmatch(text):
        part = _ratio(Fraction(match[2] or match[4]), Fraction(match[3] or match[5]))
        return Fraction(match[1]) + part if part is not None and part < 1 else None
    return None


def _scaled(digits: str, exponent: str | None) -> Fraction | None:
    power = int(exponent or 0)
    return Fraction(digits) * Fraction(10) ** power if abs(power) <= _MAX_EXPONENT else None


def _ratio(numerator: Fraction, denominator: Fraction) -> Fraction | None:
    return numerator / denominator if denominator else None
