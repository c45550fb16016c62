"""All or nothing: one write transaction, repeated as a whole while others are in the way."""

from __future__ import annotations

import contextlib
import random
import time
from typing import TYPE_CHECKING, TypeVar

import duckdb

from infra.catalog.connection import is_conflict, translated
from infra.catalog.location import quoted
from rstar_core.errors import CatalogBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.catalog.location import CatalogLocation

T = TypeVar("T")

MAX_ATTEMPTS = 8
"""Attempts before CatalogBusyError. With the writer's lock held, even one conflict is rare."""

_AUTHOR = "rstar"


def write(
    connection: duckdb.DuckDBPyConnection,
    location: CatalogLocation,
    message: str,
    work: Callable[[duckdb.DuckDBPyConnection], T],
) -> T:
    """Run `work` in one transaction and return what it returned; `message` is stored with the snapshot.

    Work may be run several times, each time on the newest state, so it must not change anything outside.

    Raises:
        CatalogBusyError: Others were writing at every attempt.
        CatalogError: The transaction failed for another reason; nothing of it was kept.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with location.writing(), transaction(connection, location, message):
                return work(connection)
        except CatalogBusyError:
            if attempt == MAX_ATTEMPTS:
                raise
        time.sleep(_backoff_seconds(attempt))
    raise AssertionError("unreachable")


def read(location: CatalogLocation, work: Callable[[], T], what: str | None = None) -> T:
    """Run a query, again if a writer was in its way; `what` begins the sentence if it fails.

    Raises:
        CatalogBusyError: Others were in the way at every attempt.
        CatalogError: The query is wrong or the catalog cannot be read.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return work()
        except duckdb.Error as error:
            if not is_conflict(error) or attempt == MAX_ATTEMPTS:
                raise translated(error, what or f"The catalog {location.root} could not be read") from error
        time.sleep(_backoff_seconds(attempt))
    raise AssertionError("unreachable")


@contextlib.contextmanager
def transaction(
    connection: duckdb.DuckDBPyConnection, location: CatalogLocation, message: str
) -> Iterator[None]:
    """One write transaction, once; the caller holds the writer's lock.

    Raises:
        CatalogBusyError: Somebody without the lock was writing; nothing was kept.
        CatalogError: The transaction failed for another reason; nothing was kept.
    """
    try:
        connection.execute("BEGIN")
        yield
        connection.execute(f"CALL lake.set_commit_message({quoted(_AUTHOR)}, {quoted(message)})")
        connection.execute("COMMIT")
    except BaseException as error:  # an interrupt too must not leave the transaction open
        with contextlib.suppress(duckdb.Error):  # a failed commit has already ended it
            connection.execute("ROLLBACK")
        if isinstance(error, duckdb.Error):
            raise translated(error, f"The catalog {location.root} could not be written") from error
        raise


def _backoff_seconds(attempt: int) -> float:
    """Full jitter: up to 0.1 s, then 0.2 s, 0.4 s … at most 3 s."""
    return random.uniform(0, min(3.0, 0.05 * 2**attempt))  # noqa: S311 — jitter, not secrets
