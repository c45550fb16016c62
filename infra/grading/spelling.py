r"""Python's spelling of mathematics, as programs print it, in the LaTeX that math-verify reads.

Only whole words and operators are replaced: `**`, `pi`, `oo`, `exp`, `log` with a bracket, `I` next to a `*`,
and rows of a matrix. LaTeX passes unchanged.
"""

from __future__ import annotations

import re
from typing import Final

_POWER_OF_GROUP: Final = re.compile(r"\*\*\(([^()]*)\)")
_WORDS: Final = (
    (re.compile(r"\*\*\s*(-?[0-9a-zA-Z.]+)"), r"^{\1}"),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![\\A-Za-z])oo(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(?<![\\A-Za-z])exp\("), r"\\exp("),
    (re.compile(r"(?<![\\A-Za-z])log\("), r"\\ln("),
    (re.compile(r"\*I(?![A-Za-z])"), "i"),
    (re.compile(r"(?<![\\A-Za-z])I\*"), "i "),
)
_MATRIX: Final = re.compile(r"(?:Matrix\()?\[(\[[^\[\]]*\](?:, ?\[[^\[\]]*\])*)\]\)?")


def to_latex(text: str) -> str:
    """Rewrite what only Python writes that way."""
    text = _MATRIX.sub(_matrix, text)
    text = _POWER_OF_GROUP.sub(r"^{\1}", text)
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    return text


def _matrix(match: re.Match[str]) -> str:
    rows = match[1][1:-1].replace("], [", "],[").split("],[")
    return "\\begin{pmatrix}" + "\\\\".join(row.replace(",", "&") for row in rows) + "\\end{pmatrix}"
