"""From a row's dataclass to columns: SQL types, Arrow frames in, typed rows out.

Everything that depends on the mapping between Python and DuckDB types lives here; no statement is run here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from infra.catalog.rows import Row

R = TypeVar("R", bound="Row")

_SCALARS: dict[Any, tuple[str, Any]] = {
    int: ("BIGINT", pl.Int64()),
    float: ("DOUBLE", pl.Float64()),
    str: ("VARCHAR", pl.String()),
    bool: ("BOOLEAN", pl.Boolean()),
    datetime: ("TIMESTAMPTZ", pl.Datetime("us", "UTC")),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Column name, also the dataclass field's.
        sql_type: DuckDB type.
        polars_type: The same type for the Arrow frame.
        nullable: Whether None is allowed.
        comment: Meaning and unit.
        is_list: A LIST in the table, a tuple in the row.
        is_json: JSON in the table, a dict in the row.
    """

    name: str
    sql_type: str
    polars_type: Any
    nullable: bool
    comment: str
    is_list: bool
    is_json: bool

    def encode(self, value: Any) -> Any:  # noqa: ANN401 — any column's value
        """The value as the Arrow frame wants it."""
        if value is None:
            return None
        if self.is_json:
            return json.dumps(value, sort_keys=True, ensure_ascii=False)
        if self.is_list:
            return list(value)
        # A StrEnum is a str to Python but an Enum to polars.
        return str(value) if self.sql_type == "VARCHAR" else value

    def decode(self, value: Any) -> Any:  # noqa: ANN401 — any column's value
        """The value as the row wants it."""
        if value is None:
            return None
        if self.is_json:
            return json.loads(value)
        return tuple(value) if self.is_list else value


def _column(name: str, hint: Any) -> Column:  # noqa: ANN401 — a type hint has no static type
    if get_origin(hint) is not Annotated:
        raise TypeError(f"column {name} has no comment; annotate it as Annotated[type, 'meaning']")
    kind, comment = get_args(hint)
    nullable = isinstance(kind, UnionType)
    if nullable:
        kind = next(part for part in get_args(kind) if part is not type(None))
    origin = get_origin(kind)
    if origin is tuple:
        sql_type, polars_type = _SCALARS[get_args(kind)[0]]
        return Column(name, f"{sql_type}[]", pl.List(polars_type), nullable, comment, True, False)
    if origin is dict:
        return Column(name, "JSON", pl.String(), nullable, comment, False, True)
    sql_type, polars_type = _SCALARS[kind]
    return Column(name, sql_type, polars_type, nullable, comment, False, False)


def columns_of(row_type: type[Row]) -> tuple[Column, ...]:
    """Columns of a row type in table order."""
    hints = get_type_hints(row_type, include_extras=True)
    return tuple(_column(field.name, hints[field.name]) for field in fields(row_type))


def frame_of(row_type: type[R], rows: Iterable[R]) -> pl.DataFrame:
    """The rows as one typed frame, so that DuckDB reads them in bulk through Arrow."""
    kept = list(rows)
    columns = columns_of(row_type)
    data = {column.name: [column.encode(getattr(row, column.name)) for row in kept] for column in columns}
    return pl.DataFrame(data, schema={column.name: column.polars_type for column in columns})


def rows_of(row_type: type[R], records: Sequence[tuple[Any, ...]]) -> list[R]:
    """Typed rows from fetched records whose values stand in column order."""
    columns = columns_of(row_type)
    make = cast("Callable[..., R]", row_type)
    return [
        make(*(column.decode(value) for column, value in zip(columns, record, strict=True)))
        for record in records
    ]
