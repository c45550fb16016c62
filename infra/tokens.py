"""From pieces of text to token ids, in one way for training, generation and scoring.

Each piece is tokenised on its own and without special tokens, so the ids of a longer prompt always start
with the ids of the shorter one, and the tokens that training sees are the tokens that serving sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rstar_core.errors import ModelError
from rstar_core.tags import ALL_TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@lru_cache(maxsize=16384)
def encode_piece(tokenizer: Any, piece: str) -> tuple[int, ...]:  # noqa: ANN401  # transformers is untyped
    """Ids of one piece; cached, for the question and the first steps of a tree come again and again."""
    return tuple(tokenizer.encode(piece, add_special_tokens=False))


def encode_pieces(tokenizer: Any, pieces: Iterable[str]) -> list[int]:  # noqa: ANN401
    """Ids of the pieces, one after the other."""
    return [token for piece in pieces for token in encode_piece(tokenizer, piece)]


def check_tags(tokenizer: Any, model_dir: Path) -> None:  # noqa: ANN401
    """Make sure that the tags of the step format come back as they were encoded.

    With a tokenizer that cannot spell one no step ever ends, and a search finds nothing without a word.

    Raises:
        ModelError: One does not.
    """
    lost = [tag for tag in ALL_TAGS if tag not in tokenizer.decode(encode_piece(tokenizer, tag))]
    if lost:
        raise ModelError(
            f"The tokenizer in {model_dir} cannot spell {', '.join(lost)}, which mark steps and answers; "
            "name a model whose tokenizer knows every character."
        )


def keep_newest(ids: Sequence[int], max_length: int) -> list[int]:
    """At most `max_length` ids: the front of the question goes, the newest step stays."""
    return list(ids[-max_length:])


def choose_pad_id(tokenizer: Any) -> int:  # noqa: ANN401
    """A padding id that no text contains, different from end-of-sequence if the vocabulary has such a one.

    A sequence classifier reads its score at the last id that is not padding, so padding with
    end-of-sequence would hide a real one.
    """
    for token_id in (tokenizer.pad_token_id, tokenizer.unk_token_id):
        if token_id is not None and token_id != tokenizer.eos_token_id:
            return int(token_id)
    other = tokenizer.get_vocab().get("<|endoftext|>")
    return int(tokenizer.eos_token_id if other is None else other)
