"""DuckDB connections to a catalog: extensions from wheels, the attachment, and its guard for reading.

Nothing is downloaded: the extensions are files of the `duckdb-extension-*` wheels.
"""

from __future__ import annotations

import contextlib
from importlib.resources import files
from typing import TYPE_CHECKING

import duckdb

from infra.catalog.complaints import interruptible, translated
from infra.catalog.quoting import quoted
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.location import CatalogLocation


@interruptible()
def connect(
    location: CatalogLocation, *, read_only: bool, create: bool = False, at: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection of its own with the catalog, or its version `at`, attached as `lake` and in use.

    A read-only connection can neither write the catalog nor touch any other file, and its settings are
    locked, so that SQL typed by a person can be run on it.

    Raises:
        CatalogError: The extensions are missing or the catalog cannot be attached.
    """
    # Checking the signatures of 70 MB of extensions costs 0.4 CPU-seconds each time. They came with the
    # environment like DuckDB itself, and are loaded by their full path, so there is nothing to be gained.
    connection = duckdb.connect(
        config={
            "allow_unsigned_extensions": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    if not read_only:
        # DuckLake's metadata queries are tiny: one thread halves the CPU time of a commit (29 to 15 ms).
        connection.execute("SET threads = 1")
    try:
        connection.execute("SET enable_progress_bar = false")  # it writes to standard output
        for statement in opening_statements(location, read_only=read_only, create=create, at=at):
            _execute(connection, location, statement)
        connection.execute("USE lake")
        if read_only:
            connection.execute(f"SET allowed_directories = [{quoted(location.data_path)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise translated(error, f"The catalog {location.root} cannot be opened") from error
    except BaseException:
        connection.close()
        raise
    return connection


def opening_statements(
    location: CatalogLocation, *, read_only: bool, create: bool = False, at: int | None = None
) -> list[str]:
    """The SQL that attaches the catalog as `lake` to a DuckDB; it may hold credentials.

    Raises:
        CatalogError: An extension or the credentials are missing.
    """
    statements = [f"LOAD {quoted(_extension_file(name))}" for name in location.extensions()]
    secret = location.files.secret_statement()
    if secret is not None:
        # The store's own "try later" answers are repeated below DuckDB's file system.
        retries = ("http_retries = 6", "http_retry_wait_ms = 200", "http_retry_backoff = 2")
        statements += [*(f"SET {setting}" for setting in retries), secret]
    return [
        *statements,
        "SET TimeZone = 'UTC'",
        # DuckLake would repeat only its own commit after a conflict; whole transactions are repeated instead
        # (infra.catalog.transactions), because what they read may have changed.
        "SET ducklake_max_retry_count = 0",
        location.attach_statement(read_only=read_only, create=create, at=at),
    ]


def _execute(connection: duckdb.DuckDBPyConnection, location: CatalogLocation, statement: str) -> None:
    """Run one of them; no error may show the credentials."""
    try:
        connection.execute(statement)
    except duckdb.Error:
        if not statement.startswith("CREATE OR REPLACE SECRET"):
            raise
        raise CatalogError(
            f"DuckDB does not take the credentials or the address of the store {location.data_path}; "
            f"look at the AWS_… variables."
        ) from None


def _extension_file(name: str) -> str:
    """Path of an extension in its wheel.

    Raises:
        CatalogError: The wheel is not installed or was made for another DuckDB.
    """
    with contextlib.suppress(ModuleNotFoundError):
        path = files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        file = path / f"{name}.duckdb_extension"
        if file.is_file():
            return str(file)
    wheel = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
    raise CatalogError(f"The DuckDB extension {name} is not installed; run `pip install {wheel}`.")
