"""When two problems are the same problem.

Everything that decides identity lives here: ids, duplicates and overlap with held-out sets all use it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SAME_MEANING = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00d7": "*", "\u2018": "'", "\u2019": "'"})
_SPACING_COMMANDS = re.compile(r"\\(?:(?:left|right|displaystyle|quad|qquad)(?![a-z])|[,;!:\[\]() ])")
_SAME_COMMANDS = ((re.compile(r"\\[dt]frac(?![a-z])"), r"\\frac"), (re.compile(r"\\ne(?![a-z])"), r"\\neq"))
_SINGLE_BRACES = re.compile(r"\{(\w)\}")
_NOISE_BETWEEN_DIGITS = re.compile(r"""(?<=\d)[\s$"'`~.,;:?\u201c\u201d]+(?=\d)""")
_NOISE = re.compile(r"""[\s$"'`~,;:?\u201c\u201d]+|\.(?!\d)""")
# Stand-ins for what separated two digits; control characters that are not white space.
_SEPARATOR, _COLON = "\x01", "\x02"


def normalise_question(text: str) -> str:
    """The question without what differs between copies of one problem.

    Case, white space, dollar signs, quotation marks, sentence punctuation and LaTeX spacing go; letters,
    digits, operators and brackets stay, and so does the fact that two numbers are apart (2.5, 2:5 and 25 are
    three questions; 2,5 and 2, 5 are one). The result is for comparing, not for reading.
    """
    text = unicodedata.normalize("NFC", text).translate(_SAME_MEANING).casefold()
    if "\\" in text:
        text = _SPACING_COMMANDS.sub("", text)
        for pattern, replacement in _SAME_COMMANDS:
            text = pattern.sub(replacement, text)
    text = _NOISE.sub("", _NOISE_BETWEEN_DIGITS.sub(_between_digits, text))
    return _SINGLE_BRACES.sub(r"\1", text)


def normalise_answer(text: str) -> str:
    """The answer with its white space collapsed; case matters in answers, so it stays."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def problem_id(question: str, answer: str) -> str:
    """Content hash of the normalised question and answer: 16 hex digits.

    The same question with another answer is another problem: one of the two references is wrong, and
    their trajectories must not be mixed.
    """
    content = f"{normalise_question(question)}\x1f{normalise_answer(answer)}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _between_digits(match: re.Match[str]) -> str:
    return {".": ".", ":": _COLON}.get(match[0], _SEPARATOR)
