r"""Takes the unit off an answer: words behind a number, in \text{} or plain.

What multiplies the number (million, dozen) is no unit and stays.
"""

from __future__ import annotations

import re
from typing import Final

MULTIPLIERS: Final = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_TEXT_COMMAND: Final = r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|operatorname)"
QUOTED: Final = re.compile(rf"{_TEXT_COMMAND}\s*\{{([^{{}}]*)\}}")
_POWER: Final = r"(\^\{?[23]\}?)?"
_IN_TEXT: Final = re.compile(rf"(.*?[0-9}}])\s*{_TEXT_COMMAND}\s*\{{([^{{}}]*)\}}{_POWER}")
_PLAIN: Final = re.compile(rf"(.*?[0-9}}])\s+((?:[A-Za-z]+\.?)(?:[ /-][A-Za-z]+\.?)*){_POWER}")
_DEGREES: Final = re.compile(r"\^?(?:\{\\circ\}|\\circ|°)$|\\degree$")
# Shorter words may be products of variables, except these.
_SHORTEST_PLAIN: Final = 4
_SHORT: Final = frozenset(
    "cm mm km ft in lb lbs oz kg mg ml yd mi mph kph km h am pm hr hrs min sec sq cu per day usd eur".split()  # noqa: SIM905
)
_NO_UNITS: Final = frozenset(
    """
    sqrt sinh cosh tanh times plus minus over half halves third thirds quarter quarters modulo choose or and
    """.split()  # noqa: SIM905
)
_SYNONYMS: Final = {
    "cm": "centimeter", "mm": "millimeter", "km": "kilometer", "m": "meter", "metre": "meter", "ft": "foot",
    "feet": "foot", "in": "inch", "inche": "inch", "yd": "yard", "mi": "mile", "mph": "mile per hour",
    "lb": "pound", "oz": "ounce", "kg": "kilogram", "g": "gram", "mg": "milligram", "ml": "milliliter",
    "l": "liter", "hr": "hour", "h": "hour", "min": "minute", "sec": "second", "s": "second", "sq": "square",
    "cu": "cubic", "usd": "dollar", "eur": "euro", "penny": "cent", "pennie": "cent",
}  # fmt: skip


def take_unit(text: str) -> tuple[str, str]:
    """The answer without its unit, and the unit: lower case, singular, in full; empty if there is none."""
    bare = _DEGREES.sub("", text)
    if bare != text and bare:
        return bare.strip(), "degree"
    match = _IN_TEXT.fullmatch(text)
    if match is None:
        match = _PLAIN.fullmatch(text)
        if match is None or not all(_is_plain_unit(word) for word in _words(match[2])):
            return text, ""
    words = _words(match[2])
    if not words:
        return text, ""
    number = match[1].strip()
    if words[0] in MULTIPLIERS:
        number, words = f"{number} {words[0]}", words[1:]
    if not words:
        return number, ""
    named = (
        _SYNONYMS.get(word, _SYNONYMS.get(word.removesuffix("s"), word.removesuffix("s"))) for word in words
    )
    return number, " ".join(named) + (match[3] or "").strip("{}^")


def _words(text: str) -> list[str]:
    return re.sub(r"[^a-z ]", " ", text.lower()).split()


def _in_full(word: str) -> str:
    single = word if word == "s" else word.removesuffix("s")
    return _SYNONYMS.get(single, single)


def _is_plain_unit(word: str) -> bool:
    if word in MULTIPLIERS or word in _SHORT:
        return True
    return len(word) >= _SHORTEST_PLAIN and word not in _NO_UNITS
