"""The few statements that every read and write is made of. They run inside somebody else's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from infra.catalog.columns import columns_of, rows_of, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb
    import pyarrow as pa

    from infra.catalog.rows import Row

R = TypeVar("R", bound="Row")

# Table and column names come from the row classes, never from a user, so they may stand in the text (S608).


def insert(connection: duckdb.DuckDBPyConnection, row_type: type[Row], rows: Sequence[Row]) -> None:
    """Add the rows in bulk."""
    if rows:
        insert_table(connection, row_type, table_of(row_type, rows))


def insert_table(connection: duckdb.DuckDBPyConnection, row_type: type[Row], table: pa.Table) -> None:
    """Add rows that are columns already: making these takes half of a large insert's time."""
    connection.register("incoming", table)
    try:
        connection.execute(f"INSERT INTO {row_type.TABLE} BY NAME FROM incoming")
    finally:
        connection.unregister("incoming")


def delete(connection: duckdb.DuckDBPyConnection, row_type: type[Row], scope: Mapping[str, object]) -> None:
    """Delete the rows whose columns have these values; None matches NULL, a list any of its texts."""

    def condition(value: object) -> str:
        if value is None:
            return "IS NULL"
        return "IN (SELECT unnest(?::VARCHAR[]))" if isinstance(value, list) else "= ?"

    where = " AND ".join(f"{name} {condition(value)}" for name, value in scope.items())
    given = [value for value in scope.values() if value is not None]
    connection.execute(f"DELETE FROM {row_type.TABLE} WHERE {where}", given)  # noqa: S608 — see above


def select(
    connection: duckdb.DuckDBPyConnection,
    row_type: type[R],
    where: str = "",
    params: Sequence[object] = (),
    order_by: str = "",
) -> list[R]:
    """Typed rows of a table."""
    names = ", ".join(column.name for column in columns_of(row_type))
    query = f"SELECT {names} FROM {row_type.TABLE}"  # noqa: S608 — see above
    if where:
        query += f" WHERE {where}"
    if order_by:
        query += f" ORDER BY {order_by}"
    return rows_of(row_type, connection.execute(query, params).fetchall())


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, params: Sequence[object] = ()
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a question."""
    cursor = connection.execute(query, params) if params else connection.execute(query)
    return [column[0] for column in cursor.description], cursor.fetchall()
