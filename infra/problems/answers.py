r"""From what a file holds as its answer to the reference answer, or to the reason why there is none.

Rules, decided once:
- a list of one answer is that answer; a list of several is joined with ", " in the file's order;
- numbers become text; a float without a fractional part loses its ".0", because tables turn 72 into 72.0;
- a control character in front of letters was a LaTeX command before somebody unescaped it (tab + "frac" is
  `\tfrac`) and becomes that command again; fused commands such as `\pmi` stay, the answer check knows them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from infra.problems.drops import DropReason

AnswerFormat = Literal["plain", "gsm8k", "boxed"]
_LOST_BACKSLASH = {"\t": r"\t", "\f": r"\f", "\b": r"\b", "\v": r"\v", "\r": r"\r", "\a": r"\a"}
_LOST_COMMAND = re.compile(r"[\t\f\b\v\r\a](?=[a-z]{2})")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_OPENERS = (r"\boxed{", r"\fbox{")


def read_answer(value: object, answer_format: AnswerFormat) -> str | DropReason:
    r"""The reference answer in a field's value.

    Args:
        value: What the field holds.
        answer_format: `plain`: the value is the answer; `gsm8k`: what follows the last `####`, without
            thousands separators; `boxed`: the content of the last `\boxed{}`.
    """
    text = _as_text(value)
    final = None if text is None else _final_part(text, answer_format)
    if text is None:
        return DropReason.UNSUPPORTED_ANSWER
    if final is None:
        return DropReason.NO_FINAL_ANSWER if text else DropReason.EMPTY_ANSWER
    return final or DropReason.EMPTY_ANSWER


def _final_part(text: str, answer_format: AnswerFormat) -> str | None:
    if answer_format == "gsm8k":
        _, marker, final = text.rpartition("####")
        return _THOUSANDS.sub("", final).strip() if marker else None
    return last_boxed(text) if answer_format == "boxed" else text


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{}` whose braces close; None if there is none."""
    start = max(text.rfind(opener) for opener in _OPENERS)
    while start >= 0:
        begin = text.index("{", start) + 1
        depth = 1
        for position in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            if depth == 0:
                return text[begin:position].strip()
        start = max(text.rfind(opener, 0, start) for opener in _OPENERS)
    return None


def _as_text(value: object) -> str | None:
    """The value as text, empty if it holds nothing; None if its type cannot be an answer."""
    text: str | None = None
    if value is None:
        text = ""
    elif isinstance(value, str):
        text = _LOST_COMMAND.sub(lambda lost: _LOST_BACKSLASH[lost[0]], value).strip()
    elif isinstance(value, list | tuple):
        parts = [_as_text(part) for part in value]
        if None not in parts:
            text = ", ".join(part for part in parts if part)
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        text = str(value)
    return text
