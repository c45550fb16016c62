r"""Mends what published references and models write in LaTeX that no reader understands.

Data sets that lost their spaces have \pmi for \pm i and \cosx for \cos x. Only one letter is split off:
longer tails are prose that lost its spaces too, and such a reference stays unreadable.
"""

from __future__ import annotations

import re
from typing import Final

_COMMAND: Final = re.compile(r"\\([A-Za-z]+)")
_FUSABLE: Final = frozenset(
    """
    pm mp cdot times div ln log sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh pi alpha beta
    gamma delta theta lambda omega sigma leq geq leqslant geqslant
    """.split()  # noqa: SIM905 - names read better as words
)
_COMMANDS: Final = frozenset("sinh cosh tanh coth cdots cdotp leqq geqq pmb".split())  # noqa: SIM905 - as above
_SYNONYMS: Final = (
    ("−", "-"),
    ("\\$", "$"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\cdotp", "\\cdot"),
    ("\\leqslant", "\\leq"),
    ("\\geqslant", "\\geq"),
    ("\\varnothing", "\\emptyset"),
    ("\\oslash", "\\emptyset"),
)


def repair(text: str) -> str:
    """The text with fused commands taken apart and synonyms in one spelling."""
    text = _COMMAND.sub(_unfuse, text)
    for written, wanted in _SYNONYMS:
        text = text.replace(written, wanted)
    return text


def _unfuse(command: re.Match[str]) -> str:
    name, tail = command[1][:-1], command[1][-1]
    return f"\\{name} {tail}" if name in _FUSABLE and command[1] not in _COMMANDS else command[0]
