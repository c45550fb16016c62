"""All or nothing: one write transaction, repeated as a whole while others are in the way."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from typing import TYPE_CHECKING, TypeVar

import duckdb

from infra.catalog.complaints import interruptible, translated
from infra.catalog.merging import merge_if_due
from infra.catalog.quoting import quoted
from rstar_core.errors import CatalogAwayError, CatalogBusyError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.catalog.location import CatalogLocation

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long a transaction is tried again while others are in the way or a server is away."""

_AUTHOR = "rstar"
_MAX_WAIT_SECONDS = 3.0
_MAX_DOUBTS = 3


def write(
    connection: duckdb.DuckDBPyConnection,
    location: CatalogLocation,
    message: str,
    work: Callable[[duckdb.DuckDBPyConnection], T],
) -> T:
    """Run `work` in one transaction and return what it returned; `message` is stored with the snapshot.

    Work may be run several times, each time on the newest state, so it must not change anything outside. It
    may even have been committed before: a server that dies while it answers leaves that open.

    Raises:
        CatalogBusyError: Others were writing all the time.
        CatalogAwayError: The server or the store was away all the time.
        CatalogError: The transaction failed for another reason; nothing of it was kept.
    """

    def once() -> T:
        with location.writing():
            with transaction(connection, location, message):
                result = work(connection)
            merge_if_due(connection)
            return result

    return patiently(once, doubting=location.is_remote)


def read(location: CatalogLocation, work: Callable[[], T], what: str | None = None) -> T:
    """Run a query, again if a writer was in its way or a server away; `what` begins the sentence if it fails.

    Raises:
        CatalogBusyError: Others were in the way all the time.
        CatalogAwayError: The server or the store was away all the time.
        CatalogError: The query is wrong or the catalog cannot be read.
    """

    def once() -> T:
        try:
            return work()
        except duckdb.Error as error:
            raise translated(error, what or f"The catalog {location.root} could not be read") from error

    return patiently(once, doubting=location.is_remote)


def patiently(work: Callable[[], T], *, doubting: bool = False) -> T:
    """Do it again, at growing intervals, as long as what is in the way may pass by itself.

    Args:
        work: May be done several times.
        doubting: Believe an error of DuckDB that is not known as passing only when it comes again. When
            PostgreSQL restarts in the middle of a query, whatever step came next fails, in any words.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    doubted: list[str] = []
    for attempt in itertools.count(1):
        try:
            with interruptible():
                return work()
        except (CatalogBusyError, CatalogAwayError):
            if time.monotonic() > deadline:
                raise
        except CatalogError as error:
            known = not doubting or not isinstance(error.__cause__, duckdb.Error)
            if known or str(error) in doubted or len(doubted) == _MAX_DOUBTS:
                raise
            doubted.append(str(error))
        time.sleep(_backoff_seconds(attempt))
    raise AssertionError("unreachable")


@contextlib.contextmanager
def transaction(
    connection: duckdb.DuckDBPyConnection, location: CatalogLocation, message: str
) -> Iterator[None]:
    """One write transaction, once; the caller holds the writer's lock.

    Raises:
        CatalogBusyError: Somebody without the lock was writing; nothing was kept.
        CatalogAwayError: The server or the store did not answer; nearly always nothing was kept.
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
    return random.uniform(0, min(_MAX_WAIT_SECONDS, 0.05 * 2 ** min(attempt, 10)))  # noqa: S311 — jitter, not secrets
