r"""The marks of a solution's text: tags of steps, blocks and answers, and the `\boxed{…}` of an answer."""

from __future__ import annotations

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


def extract_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{…}` with balanced braces, or None if there is none."""
    start = text.rfind(_BOXED)
    while start >= 0:
        plain = text.find("}", start)
        if plain >= 0 and "{" not in text[start + len(_BOXED) : plain]:
            return text[start + len(_BOXED) : plain].strip()
        depth = 1
        for index in range(start + len(_BOXED), len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if depth == 0:
                return text[start + len(_BOXED) : index].strip()
        start = text.rfind(_BOXED, 0, start)
    return None
