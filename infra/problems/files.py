"""Problems from files: the field mapping of a `FileSource` applied to rows."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from infra.problems.answers import read_answer
from infra.problems.drops import Drop, DropReason
from infra.problems.identity import problem_id
from infra.problems.rows import Row, read_rows
from rstar_core.errors import SourceError
from rstar_core.types import Problem, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rstar_core.config import FileSource

_OLYMPIAD_FROM = 6.0


def read_file(source: FileSource) -> Iterator[Problem | Drop]:
    """The problems of a file source in file order, with a `Drop` for every row that is none.

    `limit` counts rows, dropped ones included, over all files of a glob.

    Raises:
        SourceError: A file or row cannot be read, or a row lacks a field that the source names.
    """
    for row in islice(read_rows(source.path), source.limit):
        yield _problem_or_drop(row, source)


def _problem_or_drop(row: Row, source: FileSource) -> Problem | Drop:
    name = _source_name(row, source)
    question = _field(row, source.question)
    raw_answer = _field(row, source.answer)
    if question is not None and not isinstance(question, str):
        raise SourceError(
            f"{row.place}: field {source.question!r} is a {type(question).__name__}, not text; "
            f"set `question` of source {source.name} to the field that holds the question."
        )
    if not question or not question.strip():
        return Drop(name, row.place, DropReason.EMPTY_QUESTION, f"field {source.question!r} is empty")
    answer = read_answer(raw_answer, source.answer_format)
    if isinstance(answer, DropReason):
        return Drop(name, row.place, answer, f"field {source.answer!r} holds {_excerpt(raw_answer)}")
    return Problem(
        problem_id=problem_id(question, answer),
        question=question.strip(),
        answer=answer,
        tier=_tier(row, source),
        source=name,
        licence=source.licence,
        split=source.split,
        synthetic=source.synthetic,
    )


def _field(row: Row, name: str) -> Any:  # noqa: ANN401 - a cell may hold anything
    try:
        return row.fields[name]
    except KeyError:
        present = ", ".join(str(key) for key in row.fields) or "nothing"
        raise SourceError(f"{row.place} has no field {name!r}; it has {present}.") from None


def _source_name(row: Row, source: FileSource) -> str:
    """`name` or `name/topic`, the topic in lower case with underscores."""
    topic = _field(row, source.topic) if source.topic else None
    slug = re.sub(r"[^a-z0-9]+", "_", str(topic or "").lower()).strip("_")
    return f"{source.name}/{slug}" if slug else source.name


def _tier(row: Row, source: FileSource) -> Tier:
    """The source's tier, or the tier of the row's difficulty; GSM8K's format is a tier of its own."""
    if source.tier is not None:
        return source.tier
    if source.difficulty is None:
        return Tier.GSM if source.answer_format == "gsm8k" else Tier.OTHER
    difficulty = _field(row, source.difficulty)
    if difficulty is None:
        return Tier.OTHER
    try:
        return Tier.OLYMPIAD if float(difficulty) >= _OLYMPIAD_FROM else Tier.MATH
    except (TypeError, ValueError):
        raise SourceError(
            f"{row.place}: field {source.difficulty!r} holds {_excerpt(difficulty)}, not a number; "
            f"give source {source.name} a `tier` instead."
        ) from None


def _excerpt(value: object, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
