"""Which stop tag ended a text: vLLM keeps it on request, others only name it, some do not even that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rstar_core.tags import ANSWER_START, END_OF_ANSWER, STOP_TAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.engines.openai.spending import Spending

_NAMES: Final = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang say what ended a text: the tag, the number of a token, or null at its own end."""
_MAX_UNTOLD: Final = 2
"""One text without a tag may be one that the model itself ended."""


def with_tag(choice: dict[str, Any]) -> str:
    """A choice's text with its stop tag, where the server names it or nothing else can have ended the text.

    That is so for an answer that has begun. Code may have ended in a step's tag or in that of all code.
    """
    text = str(choice["text"])
    named = next((choice[name] for name in _NAMES if isinstance(choice.get(name), str)), None)
    if named is not None:
        return text if text.endswith(named) else text + named
    if _is_untold(choice, text) and ANSWER_START in text:
        return text + END_OF_ANSWER
    return text


class StopTags:
    """Finds servers out that take the tags off: none of their texts is a step, and all of them are paid for.

    Args:
        spending: Stopped when there is one.
    """

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._keeping: set[str] = set()
        self._untold: dict[str, int] = {}

    def check(self, choices: Sequence[dict[str, Any]], texts: Sequence[str], where: str) -> None:
        """Look at the texts of one reply of the server at `where`, after `with_tag`.

        Raises:
            EngineStoppedError: It has never ended a text with a tag, nor said what did.
        """
        if where in self._keeping:
            return
        if any(_has_tag(str(choice["text"])) for choice in choices):
            self._keeping.add(where)
            return
        untold = sum(_is_untold(choice, text) for choice, text in zip(choices, texts, strict=True))
        self._untold[where] = self._untold.get(where, 0) + untold
        if self._untold[where] >= _MAX_UNTOLD:
            raise self._spending.stop(
                f"the server at {where} takes the stop tags off its texts and does not say which one it was, "
                f"so no step can be read; serve the model with vLLM or SGLang, or let what stands before "
                f"them pass include_stop_str_in_output and stop_reason on"
            )


def _is_untold(choice: dict[str, Any], text: str) -> bool:
    return (
        choice.get("finish_reason") == "stop"
        and not any(name in choice for name in _NAMES)
        and not _has_tag(text)
    )


def _has_tag(text: str) -> bool:
    return any(tag in text for tag in STOP_TAGS)
