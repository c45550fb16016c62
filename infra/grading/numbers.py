"""Reads a number exactly: an integer, a decimal, a power of ten, a fraction or a mixed number."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

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
    if match := _MIXED.fullmatch(text):
        part = _ratio(Fraction(match[2] or match[4]), Fraction(match[3] or match[5]))
        return Fraction(match[1]) + part if part is not None and part < 1 else None
    return None


def _scaled(digits: str, exponent: str | None) -> Fraction | None:
    power = int(exponent or 0)
    return Fraction(digits) * Fraction(10) ** power if abs(power) <= _MAX_EXPONENT else None


def _ratio(numerator: Fraction, denominator: Fraction) -> Fraction | None:
    return numerator / denominator if denominator else None
