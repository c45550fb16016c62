"""Rows of a training set as token ids and labels. No torch here, so it is tested in milliseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from infra.tokens import encode_pieces, keep_newest
from rstar_core.errors import TrainingError
from rstar_core.tags import END_OF_OUTPUT, OUTPUT_START

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from infra.training.job import PairRow, SftRow

IGNORED = -100
"""Label of a token that the loss leaves out (the convention of torch's cross entropy)."""

Row = TypeVar("Row", bound=BaseModel)
OfProblem = TypeVar("OfProblem", "PairRow", "SftRow")


@dataclass(frozen=True, slots=True)
class SftExample:
    """Ids of prompt, solution and end-of-sequence; labels of what the policy has to write itself."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class PairExample:
    """Ids of the two sides of a pair, each with its prefix."""

    group: str
    positive_ids: list[int]
    negative_ids: list[int]
    weight: float


def read_rows(path: Path, row_type: type[Row]) -> list[Row]:
    """Rows of a JSONL or Parquet file, checked.

    Raises:
        TrainingError: The file or one of its rows cannot be read, or there is none.
    """
    number = 0
    rows = []
    try:
        for number, values in enumerate(_raw_rows(path), start=1):  # noqa: B007  # named in the error below
            rows.append(row_type.model_validate(values))
    except (OSError, ValueError) as error:
        detail = (
            f"row {number}: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else str(error)
        )
        raise TrainingError(f"The training set {path} cannot be read ({detail}).") from error
    if not rows:
        raise TrainingError(f"The training set {path} has no rows, so there is nothing to learn.")
    return rows


def _raw_rows(path: Path) -> Iterable[Any]:
    if path.suffix == ".parquet":
        import polars as pl  # noqa: PLC0415  # heavy, and only for this format

        yield from pl.read_parquet(path).iter_rows(named=True)
    else:
        with path.open() as lines:
            yield from (json.loads(line) for line in lines if line.strip())


def encode_sft(tokenizer: Any, row: SftRow) -> SftExample:  # noqa: ANN401  # transformers is untyped
    """The whole example; prompt and executor's output have no label, for the model never writes them."""
    prompt = encode_pieces(tokenizer, row.pieces)
    ids, labels = list(prompt), [IGNORED] * len(prompt)
    for piece in row.completion_pieces:
        piece_ids = encode_pieces(tokenizer, (piece,))
        ids += piece_ids
        labels += _completion_labels(tokenizer, piece, piece_ids)
    return SftExample([*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id])


def _completion_labels(tokenizer: Any, piece: str, ids: Sequence[int]) -> list[int]:  # noqa: ANN401
    start = piece.find(OUTPUT_START)
    if start < 0:
        return list(ids)
    end = piece.rfind(END_OF_OUTPUT) + len(END_OF_OUTPUT)
    end += piece[end : end + 1] == "\n"
    encoding = tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
    if encoding["input_ids"] != list(ids):
        raise TrainingError("The tokenizer gives one text two encodings; only fast tokenizers are supported.")
    return [
        IGNORED if start <= first < end else token
        for token, (first, _) in zip(ids, encoding["offset_mapping"], strict=True)
    ]


def encode_pair(tokenizer: Any, row: PairRow, max_length: int) -> PairExample:  # noqa: ANN401
    """Both sides in full; what is too long loses the front of the question."""
    positive, negative = (
        keep_newest(encode_pieces(tokenizer, (*row.prefix_pieces, *side)), max_length)
        for side in (row.positive_pieces, row.negative_pieces)
    )
    return PairExample(row.group, positive, negative, row.weight)


def is_held_out(problem_id: str, fraction: float) -> bool:
    """Whether a problem measures models instead of training them; the same for both, in every round."""
    digest = blake2b(f"ppm-eval {problem_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def split_by_problem(rows: Sequence[OfProblem], fraction: float) -> tuple[list[OfProblem], list[OfProblem]]:
    """Training and evaluation rows; no problem is in both, and a set too small to split is all training.

    Raises:
        TrainingError: Something is to be held out, and all rows are of one problem.
    """
    if fraction and len({row.problem_id for row in rows}) == 1:
        raise TrainingError(
            f"All {len(rows)} rows are of one problem, so none can be held out to tell what training them "
            "brings; search more problems, or set eval_fraction = 0."
        )
    train = [row for row in rows if not is_held_out(row.problem_id, fraction)]
    held_out = [row for row in rows if is_held_out(row.problem_id, fraction)]
    return (train, held_out) if train else (list(rows), [])
