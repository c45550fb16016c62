"""What DuckDB complains about, in our words: whether it passes by itself, and one sentence."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import duckdb

from rstar_core.errors import CatalogAwayError, CatalogBusyError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HINTS = ("Did you mean", "Candidate")
_CONFLICT_MARKS = ("database is locked", "conflict", "snapshot has been changed", "database schema is locked")
# The absence of PostgreSQL and S3 arrives in many forms, and not only as an IO error: a commit whose server
# is gone fails with the ROLLBACK that DuckDB tried afterwards.
_AWAY_MARKS = (
    "unable to connect to postgres",
    "connection refused",
    "connection reset",
    "connection to server",
    "server closed the connection",
    "terminating connection",
    "the database system is",
    "no connection to the server",
    "connection has been closed",
    "connection not open",
    "could not receive data",
    "could not send data",
    'failed to execute query "rollback"',
    'failed to execute query "commit"',
    'failed to execute query "begin',
    "failed to prepare copy",
    "current transaction is aborted",  # by a failure that DuckLake kept to itself: ours end at their first
    "could not establish connection",
    "could not connect",
    "couldn't connect",
    "failed to read connection",
    "timeout was reached",
    "slowdown",
    " error for http ",  # whatever kept the request from being answered
    "http 429",
    "http 500",
    "http 502",
    "http 503",
    "http 504",
    "service unavailable",
    "internal server error",
)


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction failed only because another one was writing."""
    return _may_pass(error) and _has(error, _CONFLICT_MARKS)


def is_away(error: BaseException) -> bool:
    """Whether PostgreSQL or the object store did not answer, or answered that it cannot now."""
    return _may_pass(error) and _has(error, _AWAY_MARKS)


def translated(error: duckdb.Error, what: str) -> CatalogError:
    """The error in our vocabulary and in one sentence that begins with `what`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # DuckDB prints the cause first, except at commit, where the cause is the last line.
    cause = lines[-1] if "commit" in lines[0].lower() else lines[0]
    if is_away(error):
        return CatalogAwayError(
            f"{what} because its server or store does not answer ({_cause_of_absence(lines)})."
        )
    if is_conflict(error):
        return CatalogBusyError(f"{what} because others are writing it ({cause}); try again.")
    if "no space left" in str(error).lower() or "disk is full" in str(error).lower():
        return CatalogError(f"{what} because the disk is full ({cause}); free some space and run it again.")
    hint = next((line.rstrip("?") for line in lines[1:] if line.startswith(_HINTS)), "")
    near = f" ({hint[0].lower()}{hint[1:]}{'?' if hint.startswith('Did') else ''})" if hint else ""
    return CatalogError(f"{what}: {cause.rstrip('.!')}{near}.")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C in the middle of a query stays what it is; DuckDB makes a RuntimeError of it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise


def _may_pass(error: BaseException) -> bool:
    # A faulty query's error quotes the query, which may contain any of the marks.
    return isinstance(error, duckdb.Error) and not isinstance(
        error, duckdb.ProgrammingError | duckdb.DataError
    )


def _has(error: BaseException, marks: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(mark in text for mark in marks)


def _cause_of_absence(lines: list[str]) -> str:
    """The line that names who was away; DuckDB puts the failed ROLLBACK before it."""
    named = [line for line in lines if "connect" in line.lower() or "http" in line.lower()]
    return (named or lines)[0].rstrip(".!:")
