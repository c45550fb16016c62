"""DuckDB connections to a catalog: extensions from wheels, the attachment, and its guard for reading.

Nothing is downloaded: the extensions are files of the `duckdb-extension-*` wheels.
"""

from __future__ import annotations

import contextlib
from importlib.resources import files
from typing import TYPE_CHECKING

import duckdb

from infra.catalog.location import quoted
from rstar_core.errors import CatalogBusyError, CatalogError

if TYPE_CHECKING:
    from infra.catalog.location import CatalogLocation

_EXTENSIONS = ("ducklake", "sqlite_scanner")
_HINTS = ("Did you mean", "Candidate")
_CONFLICT_MARKS = ("database is locked", "conflict", "snapshot has been changed", "database schema is locked")


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
        for name in _EXTENSIONS:
            connection.execute(f"LOAD {quoted(_extension_file(name))}")
        connection.execute("SET TimeZone = 'UTC'")
        # DuckLake would repeat only its own commit after a conflict; whole transactions are repeated instead
        # (infra.catalog.transactions), because what they read may have changed.
        connection.execute("SET ducklake_max_retry_count = 0")
        connection.execute(location.attach_statement(read_only=read_only, create=create, at=at))
        connection.execute("USE lake")
        if read_only:
            connection.execute(f"SET allowed_directories = [{quoted(location.data_path)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise translated(error, f"The catalog {location.root} cannot be opened") from error
    except CatalogError:
        connection.close()
        raise
    return connection


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


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction failed only because another one was writing."""
    # A faulty query's error quotes the query, which may contain any of the marks.
    if not isinstance(error, duckdb.Error) or isinstance(error, duckdb.ProgrammingError | duckdb.DataError):
        return False
    text = str(error).lower()
    return any(mark in text for mark in _CONFLICT_MARKS)


def translated(error: duckdb.Error, what: str) -> CatalogError:
    """The error in our vocabulary and in one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # DuckDB prints the cause first, except at commit, where the cause is the last line.
    cause = lines[-1] if "commit" in lines[0].lower() else lines[0]
    if is_conflict(error):
        return CatalogBusyError(f"{what} because others are writing it ({cause}); try again.")
    if "no space left" in str(error).lower() or "disk is full" in str(error).lower():
        return CatalogError(f"{what} because the disk is full ({cause}); free some space and run it again.")
    hint = next((line.rstrip("?") for line in lines[1:] if line.startswith(_HINTS)), "")
    near = f" ({hint[0].lower()}{hint[1:]}{'?' if hint.startswith('Did') else ''})" if hint else ""
    return CatalogError(f"{what}: {cause.rstrip('.!')}{near}.")
