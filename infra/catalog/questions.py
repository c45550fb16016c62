"""SQL that a person typed: questions that can touch nothing but the catalog, and statements that may write.

A connection for reading refuses other files and every write by itself. What it does not refuse are functions
of the extensions that open files or servers on their own, and the catalog's metadata, whose server may hold
more than this catalog; those are refused here, by name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import duckdb

from infra.catalog.complaints import translated
from infra.catalog.statements import ask
from infra.catalog.transactions import read, write
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.location import CatalogLocation

_REFUSED_CALL = re.compile(
    r"(sqlite|postgres|pg|read|parquet|sniff|load|mysql|ducklake|pragma|enable|disable)_.*"
    r"|glob|query|query_table|getenv|set_option|which_secret|duckdb_secrets|force_checkpoint|checkpoint"
    r"|json_execute_serialized_sql|json_deserialize_sql|from_substrait.*|arrow_scan.*|pandas_scan|seq_scan"
)
_HARMLESS_CALL = re.compile(r"ducklake_(snapshots|table_changes|current_snapshot)|pg_typeof")
_METADATA = "__ducklake_metadata"
# A question may use whatever somebody else has put into the catalog.
_LEFT_THERE = """
    SELECT sql FROM duckdb_views() WHERE database_name = 'lake'
    UNION ALL
    SELECT macro_definition FROM duckdb_functions()
    WHERE database_name = 'lake' AND macro_definition IS NOT NULL"""
_ALLOWED = "Only questions are allowed here: SELECT, FROM, WITH, PIVOT, DESCRIBE or SHOW."


def answer(
    connection: duckdb.DuckDBPyConnection, location: CatalogLocation, query: str
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a question, asked of a connection for reading.

    Raises:
        CatalogError: The query is wrong, no question, or about something else than the catalog.
    """
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise translated(error, "The query cannot be understood") from error
    # PIVOT is a CREATE of a temporary type before a SELECT; the connection refuses every other CREATE.
    kinds = [statement.type for statement in statements]
    select_type, create_type = duckdb.StatementType.SELECT, duckdb.StatementType.CREATE
    if not kinds or kinds[-1] != select_type or not {*kinds} <= {select_type, create_type}:
        raise CatalogError(f"{_ALLOWED} `rstar sql --allow-write` takes the others.")
    _refuse_other_places(query)
    left_there = read(location, lambda: ask(connection, _LEFT_THERE), "The catalog cannot be read")[1]
    for (definition,) in left_there:
        _refuse_other_places(definition)
    return read(location, lambda: ask(connection, query), "The query cannot be answered")


def change(connection: duckdb.DuckDBPyConnection, location: CatalogLocation, query: str) -> int:
    """Run statements that may write, all in one transaction or none; returns the number of rows changed.

    They may read any file, for whoever asks for this could do so anyway.

    Raises:
        CatalogError: A statement is wrong or ends the transaction; nothing was changed.
    """
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise translated(error, "The statements cannot be understood") from error
    if any(each.type == duckdb.StatementType.TRANSACTION for each in statements):
        raise CatalogError("BEGIN, COMMIT and ROLLBACK are not allowed here: all is one transaction already.")
    counting = {duckdb.StatementType.INSERT, duckdb.StatementType.UPDATE, duckdb.StatementType.DELETE}

    def work(inside: duckdb.DuckDBPyConnection) -> int:
        changed = 0
        for statement in statements:
            rows = inside.execute(statement).fetchall()
            changed += int(rows[0][0]) if statement.type in counting and rows else 0
        return changed

    return write(connection, location, "typed by hand", work)


def _refuse_other_places(query: str) -> None:
    """Refuse what reaches beyond the catalog."""
    data = query.encode()  # the tokens' places are counted in bytes
    places = [start for start, _ in duckdb.tokenize(query)]
    words = [
        data[start:end].decode(errors="replace").strip()
        for start, end in zip(places, [*places[1:], len(data)], strict=True)
    ]
    if _METADATA in query.lower() or 'u&"' in query.lower():
        raise CatalogError(
            "The catalog's own metadata cannot be asked here; `FROM lake.snapshots()` lists its versions."
        )
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name = _uncommented(word).strip('"').lower()
        if not following.startswith("("):
            continue
        if _REFUSED_CALL.fullmatch(name) and not _HARMLESS_CALL.fullmatch(name):
            raise CatalogError(f"The function {name} reaches beyond the catalog, which questions may not.")


def _uncommented(word: str) -> str:
    """A word without the comment that stands behind it."""
    return re.split(r"--|/\*", word, maxsplit=1)[0].strip()
