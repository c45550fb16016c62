"""What a program's text tells without being parsed: parsing it would put model-written text at a parser here.

Both answers are one-sided: in doubt a comment stays, and a program gets the full image.
"""

from __future__ import annotations

import re
from typing import Final

from rstar_core.prompts import PREAMBLE

# A line of nothing but a comment. Without what `_INTRICATE` finds it can be nothing else, for example part of
# a string, and an empty comment in its place leaves every line its number, the last one too.
_COMMENT_LINE: Final = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_INTRICATE: Final = re.compile("'''|\"\"\"|\\\\\n|[\r\0\f\ud800-\udfff]")

# Modules in C, which hold no other modules, and single names of others.
_LIGHT_IMPORT: Final = re.compile(
    r"^[ \t]*(?:import (?:math|cmath|itertools)(?: as \w+)?"
    r"|from (?:math|cmath|itertools) import (?:\*|\w+(?:, ?\w+)*)"
    r"|from fractions import Fraction"
    r"|from decimal import Decimal"
    r"|from functools import (?:reduce|lru_cache|cache)"
    r"|from collections import (?:Counter|defaultdict|deque)(?:, ?(?:Counter|defaultdict|deque))*)[ \t]*$",
    re.MULTILINE,
)
_WORD: Final = re.compile(r"\w+")
# By these a program could reach a module that it did not import, or a name that it puts together.
_REACHING: Final = frozenset(
    """
    sympy import eval exec compile globals locals vars dir getattr setattr delattr hasattr open help
    breakpoint format format_map type object super
    """.split()  # noqa: SIM905 - names read better as words
)
_REACHING_PARTS: Final = ("_", "gi_", "cr_", "ag_", "tb_", "f_", "co_")  # dunders, helpers, frames and code


def without_comments(source: str) -> str:
    """The program with lines that are comments cut to the `#`; it behaves the same to the line number.

    A source in which such a line may be part of something else comes back unchanged.
    """
    return source if _INTRICATE.search(source) else _COMMENT_LINE.sub("#", source)


def is_light(program: str) -> bool:
    """Whether a program that starts with the preamble cannot tell that sympy and numpy were never loaded.

    It may import only what both images hold alike, and may not mention `sympy` after the preamble or anything
    by which a name can be made up while it runs. Every name of an ASCII program stands in its text as it is.
    """
    if not program.startswith(PREAMBLE):
        return False
    return is_light_part(program[len(PREAMBLE) :])


def is_light_part(part: str) -> bool:
    """Whether text that is added to a light program leaves it light."""
    text = _LIGHT_IMPORT.sub("", without_comments(part))
    if not text.isascii():
        return False
    words = set(_WORD.findall(text))
    return words.isdisjoint(_REACHING) and not any(
        word.startswith(_REACHING_PARTS) and word != "_" for word in words
    )
