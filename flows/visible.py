"""Text of unknown origin made harmless to look at. Model output is hostile: it may hold terminal commands."""

from __future__ import annotations

import unicodedata

_PICTURES = {number: chr(0x2400 + number) for number in range(0x20)} | {0x7F: "\u2421"}
_LAYOUT = frozenset("\n\t")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """The text with everything that is not seen replaced by something that is; lines and tabs stay.

    Control characters, terminal escapes among them, become their pictures (ESC is ␛). Surrogates, characters
    that turn the direction of writing, and the like become the replacement character.
    """
    return "".join(map(_visible, text))


def first_line(text: str) -> str:
    """The first line that is not blank, made visible; empty if there is none."""
    return visible(next((line for line in text.split("\n") if line.strip()), "")).strip()


def _visible(character: str) -> str:
    if character in _LAYOUT or unicodedata.category(character) not in _UNSEEN:
        return character
    return _PICTURES.get(ord(character), _REPLACEMENT)
