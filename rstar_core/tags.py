r"""The marks of a solution's text: tags of steps, blocks and answers, and the `\boxed{…}` of an answer."""

from __future__ import annotations

import re
from typing import Final

CODE_START: Final = "<code>"
END_OF_STEP: Final = "<end_of_step>"
END_OF_CODE: Final = "<end_of_code>"
OUTPUT_START: Final = "<output>"
END_OF_OUTPUT: Final = "<end_of_output>"
ANSWER_START: Final = "<answer>"
END_OF_ANSWER: Final = "<end_of_answer>"
ALL_TAGS: Final = (
    CODE_START,
    END_OF_STEP,
    END_OF_CODE,
    OUTPUT_START,
    END_OF_OUTPUT,
    ANSWER_START,
    END_OF_ANSWER,
)
STOP_TAGS: Final = (END_OF_STEP, END_OF_CODE, OUTPUT_START, END_OF_ANSWER)

_BOXED: Final = "\\boxed{"
_BRACE: Final = re.compile("[{}]")


def extract_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{…}` with balanced braces, or None if there is none."""
    start = text.rfind(_BOXED) + len(_BOXED)
    if start < len(_BOXED):
        return None
    end = text.find("}", start)
    if end < 0 or "{" in text[start:end]:
        start, end = _last_balanced_box(text)
    return None if end < 0 else text[start:end].strip()


def _last_balanced_box(text: str) -> tuple[int, int]:
    """Start and end of its content, (-1, -1) if there is none; in one pass, for models repeat themselves."""
    open_braces: list[int] = []
    found = (-1, -1)
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            open_braces.append(brace.end())
        elif open_braces:
            start = open_braces.pop()
            if start > found[0] and text.endswith(_BOXED, 0, start):
                found = start, brace.start()
    return found
