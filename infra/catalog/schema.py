"""The tables and views: made once, and checked for their version at every opening."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import duckdb

from infra.catalog import history_rows, round_rows, rows
from infra.catalog.columns import columns_of
from infra.catalog.connection import connect
from infra.catalog.outcomes import FILL_FROM_FACTS
from infra.catalog.quoting import quoted
from infra.catalog.statements import insert, select
from infra.catalog.transactions import read, transaction
from infra.catalog.views import VIEWS
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.location import CatalogLocation
    from infra.catalog.rows import Row

SCHEMA_VERSION = 4
"""To be raised with every change of a table or view. New columns of old tables must allow null."""

_FIRST_WITH_OUTCOMES = 3

TABLES: tuple[type[Row], ...] = (
    rows.SchemaRow,
    rows.ProblemRow,
    rows.RoundRow,
    rows.ShardRow,
    rows.TreeRow,
    rows.NodeRow,
    rows.TrajectoryRow,
    rows.OutcomeChangeRow,
    rows.DropRow,
    round_rows.StepPairRow,
    round_rows.SftExampleRow,
    round_rows.ModelRow,
    round_rows.TrainingCurveRow,
    round_rows.EvaluationRow,
    round_rows.StageRow,
    round_rows.LineageRow,
    history_rows.VersionRow,
    history_rows.DecisionRow,
    history_rows.DataFileRow,
)


def has_column(row_type: type[Row], name: str) -> bool:
    """Whether the table has a column of this name."""
    return any(column.name == name for column in columns_of(row_type))


SHARD_TABLES: tuple[type[Row], ...] = tuple(
    table
    for table in TABLES
    if has_column(table, "shard_id") and table not in {rows.ShardRow, rows.OutcomeChangeRow}
)
"""Tables whose rows belong to a shard: a commit of the shard replaces them all together."""


def open_or_create(location: CatalogLocation) -> duckdb.DuckDBPyConnection:
    """A connection to the catalog, which is made where it is missing; several processes may try at once.

    Raises:
        CatalogError: The folder or the catalog cannot be made.
    """
    location.prepare()
    with location.writing():
        connection = connect(location, read_only=False, create=True)
        try:
            if _version(connection, location) is None:
                with transaction(connection, location, f"create the catalog, schema {SCHEMA_VERSION}"):
                    connection.execute(";\n".join(_schema_statements()))
                    insert(connection, rows.SchemaRow, [rows.SchemaRow(SCHEMA_VERSION)])
        except BaseException:  # whatever happened, the connection is not handed out
            connection.close()
            raise
    return connection


def upgrade(connection: duckdb.DuckDBPyConnection, location: CatalogLocation) -> None:
    """Bring the catalog of older code to this version: tables and columns that are missing, and all views.

    Raises:
        CatalogError: It cannot be written.
    """
    version = _version(connection, location)
    if version is None or version >= SCHEMA_VERSION:
        return
    with location.writing(), transaction(connection, location, f"upgrade the catalog to {SCHEMA_VERSION}"):
        if (_version(connection, location) or 0) < SCHEMA_VERSION:  # nobody was faster
            connection.execute(";\n".join(_upgrade_statements(connection)))
            if version < _FIRST_WITH_OUTCOMES:
                connection.execute(FILL_FROM_FACTS)


def check_version(
    connection: duckdb.DuckDBPyConnection, location: CatalogLocation, *, old_is_fine: bool = False
) -> None:
    """Refuse what this code cannot use.

    Raises:
        CatalogError: The tables are missing, or newer code made them, or older code and nobody upgraded them.
    """
    version = _version(connection, location)
    if version is None:
        raise location.missing()
    if version < SCHEMA_VERSION and not old_is_fine:
        raise CatalogError(
            f"The catalog {location.root} has schema {version} of older code; "
            f"`rstar catalog upgrade -c {location.root}` brings it to {SCHEMA_VERSION}, and so does any run."
        )
    if version > SCHEMA_VERSION:
        raise CatalogError(
            f"The catalog {location.root} has schema {version}, but this code knows only {SCHEMA_VERSION}; "
            f"update rstar."
        )


def _version(connection: duckdb.DuckDBPyConnection, location: CatalogLocation) -> int | None:
    """The catalog's schema version; None if nobody has made its tables yet."""

    def work() -> int | None:
        try:
            return select(connection, rows.SchemaRow)[0].version
        except duckdb.CatalogException:
            return None

    return read(location, work)


def _table_statements(row_type: type[Row]) -> list[str]:
    """CREATE TABLE with its comments."""
    table, columns = row_type.TABLE, columns_of(row_type)
    body = ", ".join(
        f"{column.name} {column.sql_type}{'' if column.nullable else ' NOT NULL'}" for column in columns
    )
    purpose = inspect.cleandoc(row_type.__doc__ or "")
    return [
        f"CREATE TABLE {table} ({body})",
        f"COMMENT ON TABLE {table} IS {quoted(purpose)}",
        *(f"COMMENT ON COLUMN {table}.{column.name} IS {quoted(column.comment)}" for column in columns),
    ]


def _schema_statements() -> list[str]:
    """Everything that makes an empty database a catalog of the current version."""
    return [statement for table in TABLES for statement in _table_statements(table)] + _view_statements()


def _upgrade_statements(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """What the tables of an older version lack, and the views anew."""
    known: dict[str, set[str]] = {}
    strict: set[tuple[str, str]] = set()
    query = "SELECT table_name, column_name, is_nullable FROM duckdb_columns() WHERE database_name = 'lake'"
    for table, column, nullable in connection.execute(query).fetchall():
        known.setdefault(table, set()).add(column)
        if not nullable:
            strict.add((table, column))
    query = "SELECT view_name FROM duckdb_views() WHERE database_name = 'lake'"
    statements = [f"DROP VIEW {name}" for (name,) in connection.execute(query).fetchall()]
    for table in TABLES:
        if table.TABLE not in known:
            statements += _table_statements(table)
            continue
        for column in columns_of(table):
            if column.name not in known[table.TABLE]:
                name = f"{table.TABLE}.{column.name}"
                statements.append(f"ALTER TABLE {table.TABLE} ADD COLUMN {column.name} {column.sql_type}")
                statements.append(f"COMMENT ON COLUMN {name} IS {quoted(column.comment)}")
            elif column.nullable and (table.TABLE, column.name) in strict:
                statements.append(f"ALTER TABLE {table.TABLE} ALTER COLUMN {column.name} DROP NOT NULL")
    statements += _view_statements()
    return [*statements, f"UPDATE {rows.SchemaRow.TABLE} SET version = {SCHEMA_VERSION}"]  # noqa: S608


def _view_statements() -> list[str]:
    statements = []
    for view in VIEWS:
        statements.append(f"CREATE VIEW {view.name} AS {view.query}")
        statements.append(f"COMMENT ON VIEW {view.name} IS {quoted(view.comment)}")
    return statements
