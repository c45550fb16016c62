"""Rows of JSON, JSONL and Parquet files, local or remote, with the place of each row.

This file knows formats and addresses; it does not know what a problem is.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fsspec

from rstar_core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One record and where it stands (`file:line`, or `file row N`; both count from 1)."""

    place: str
    fields: dict[str, Any]


def read_rows(address: str) -> Iterator[Row]:
    """Every row of a file or of all files a glob matches, in the order of their names.

    JSONL is read line by line, JSON and Parquet file by file.

    Raises:
        SourceError: Nothing is there, a variable is unset, a format is unknown or a row cannot be read.
    """
    address = expand_variables(address)
    try:
        filesystem, pattern = fsspec.core.url_to_fs(address)
        found = sorted(filesystem.glob(pattern)) if _is_glob(pattern) else [pattern]
        found = [path for path in found if filesystem.isfile(path)]
    except Exception as error:  # every storage backend has exceptions of its own
        raise SourceError(
            f"Cannot look up {address}: {_short(error)}; check the address and credentials."
        ) from error
    if not found:
        raise SourceError(f"There is no file at {address}; check the path.")
    for path in found:
        yield from _read_file(filesystem, path)


def expand_variables(address: str) -> str:
    """The address with `$NAME` and `${NAME}` replaced from the environment.

    Raises:
        SourceError: A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise SourceError(f"The path {address} needs ${name}, which is not set; export it first.")
        return os.environ[name]

    return _VARIABLE.sub(value, address)


def _is_glob(pattern: str) -> bool:
    return any(mark in pattern for mark in "*?[")


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _read_file(filesystem: Any, path: str) -> Iterator[Row]:  # noqa: ANN401 - fsspec has no types
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - the path may be a key in a bucket
    if suffix not in _SUFFIXES:
        raise SourceError(f"Cannot read {path}: its format is not one of {', '.join(_SUFFIXES)}; convert it.")
    reader = {".parquet": _parquet, ".json": _json}.get(suffix, _jsonl)
    try:
        with filesystem.open(path, "rb") as handle:
            yield from reader(handle, path)
    except OSError as error:
        raise SourceError(f"Cannot read {path}: {_short(error)}; check that it is readable.") from error


def _jsonl(handle: Any, path: str) -> Iterator[Row]:  # noqa: ANN401 - fsspec has no types
    for number, line in enumerate(handle, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            fields = json.loads(line.decode("utf-8-sig"))
        except ValueError as error:
            raise SourceError(f"Cannot read {place}: {_short(error)}; repair or remove that line.") from error
        yield _row(fields, place)


def _json(handle: Any, path: str) -> Iterator[Row]:  # noqa: ANN401 - fsspec has no types
    try:
        records = json.loads(handle.read().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise SourceError(
            f"Cannot read {path}:{error.lineno}: {error.msg}; "
            f"repair it, or name it .jsonl if it has one object a line."
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"Cannot read {path}: {_short(error)}; save it as UTF-8.") from error
    if not isinstance(records, list):
        raise SourceError(
            f"{path} holds a {type(records).__name__}, not a list of objects; wrap its rows in a list."
        )
    for number, fields in enumerate(records, start=1):
        yield _row(fields, f"{path} row {number}")


def _parquet(handle: Any, path: str) -> Iterator[Row]:  # noqa: ANN401 - fsspec has no types
    import polars as pl  # noqa: PLC0415 - a tenth of a second that other formats need not pay

    try:
        frame = pl.read_parquet(handle)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"Cannot read {path}: {_short(error)}; check that it is a Parquet file.") from error
    for number, fields in enumerate(frame.iter_rows(named=True), start=1):
        yield _row(fields, f"{path} row {number}")


def _row(fields: object, place: str) -> Row:
    if not isinstance(fields, dict):
        raise SourceError(
            f"Cannot read {place}: it is a {type(fields).__name__}, not an object; give its fields names."
        )
    return Row(place, fields)
