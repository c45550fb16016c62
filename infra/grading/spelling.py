r"""Python's spelling of mathematics, as programs print it, in the LaTeX that math-verify reads.

Only whole words and operators are replaced: `**`, `pi`, `oo`, and `I` next to a `*`. LaTeX passes unchanged.
"""

from __future__ import annotations

import re
from typing import Final

_POWER_OF_GROUP: Final = re.compile(r"\*\*\(([^()]*)\)")
_WORDS: Final = (
    (re.compile(r"\*\*\s*(-?[0-9a-zA-Z.]+)"), r"^{\1}"),
    (re.compile(r"(?<![\\A-Za-z])pi(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![\\A-Za-z])oo(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\*I(?![A-Za-z])"), "i"),
    (re.compile(r"(?<![\\A-Za-z])I\*"), "i "),
)


def to_latex(text: str) -> str:
    """Rewrite what only Python writes that way."""
    text = _POWER_OF_GROUP.sub(r"^{\1}", text)
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    return text
