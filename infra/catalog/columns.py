"""From a row's dataclass to columns: SQL types, Arrow frames in, typed rows out.

Everything that depends on the mapping between Python and DuckDB types lives here; no statement is run here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from infra.catalog.rows import Row

R = TypeVar("R", bound="Row")

_SCALARS: dict[Any, tuple[str, Any]] = {
    int: ("BIGINT", pa.int64()),
    float: ("DOUBLE", pa.float64()),
    str: ("VARCHAR", pa.string()),
    bool: ("BOOLEAN", pa.bool_()),
    datetime: ("TIMESTAMPTZ", pa.timestamp("us", "UTC")),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: Column name, also the dataclass field's.
        sql_type: DuckDB type.
        arrow_type: The same type in Arrow.
        nullable: Whether None is allowed.
        comment: Meaning and unit.
        is_list: A LIST in the table, a tuple in the row.
        is_json: JSON in the table, a dict in the row.
    """

    name: str
    sql_type: str
    arrow_type: Any
    nullable: bool
    comment: str
    is_list: bool
    is_json: bool

    def array(self, rows: Sequence[Row]) -> pa.Array:
        """The column of these rows; Arrow reads a tuple as a list and a StrEnum as its text."""
        values: Iterable[Any] = map(attrgetter(self.name), rows)
        if self.is_json:
            values = map(_json, values)
        return pa.array(list(values), type=self.arrow_type)

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
        sql_type, arrow_type = _SCALARS[get_args(kind)[0]]
        return Column(name, f"{sql_type}[]", pa.list_(arrow_type), nullable, comment, True, False)
    if origin is dict:
        return Column(name, "JSON", pa.string(), nullable, comment, False, True)
    sql_type, arrow_type = _SCALARS[kind]
    return Column(name, sql_type, arrow_type, nullable, comment, False, False)


def columns_of(row_type: type[Row]) -> tuple[Column, ...]:
    """Columns of a row type in table order."""
    columns: tuple[Column, ...] = _columns_of(row_type)  # type: ignore[arg-type]  # types are hashable
    return columns


@cache
def _columns_of(row_type: type[Row]) -> tuple[Column, ...]:
    hints = get_type_hints(row_type, include_extras=True)
    return tuple(_column(field.name, hints[field.name]) for field in fields(row_type))


def table_of(row_type: type[R], rows: Sequence[R]) -> pa.Table:
    """The rows as one Arrow table, which DuckDB reads in bulk."""
    columns = columns_of(row_type)
    return pa.table({column.name: column.array(rows) for column in columns})


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)


def rows_of(row_type: type[R], records: Sequence[tuple[Any, ...]]) -> list[R]:
    """Typed rows from fetched records whose values stand in column order."""
    columns = columns_of(row_type)
    make = cast("Callable[..., R]", row_type)
    return [
        make(*(column.decode(value) for column, value in zip(columns, record, strict=True)))
        for record in records
    ]
