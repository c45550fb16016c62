"""DuckLake's metadata in PostgreSQL: one schema a catalog; its advisory locks say who may write.

DuckDB and psycopg both connect through libpq, so a password comes from PGPASSWORD, PGPASSFILE or a service
file and is never part of an address.
"""

from __future__ import annotations

import contextlib
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from infra.catalog.metadata import Metadata, claimed, myself
from infra.catalog.quoting import quoted
from rstar_core.errors import CatalogAwayError, CatalogBusyError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# A claim is held for days by a connection on which nothing is said.
_OPTIONS = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
_TRIES, _TRY_SECONDS = 10, 0.1
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "pg_hba.conf",
)


@dataclass(frozen=True, slots=True)
class PostgresMetadata(Metadata):
    """A schema of a PostgreSQL database.

    Attributes:
        address: `postgresql://[user@]host[:port]/database`, without password and schema.
        name: The schema.
    """

    EXTENSION: ClassVar[str] = "postgres_scanner"
    IS_REMOTE: ClassVar[bool] = True
    address: str
    name: str

    @classmethod
    def from_address(cls, address: str, *, schema: str | None = None) -> PostgresMetadata:
        """The schema that `?schema=` of the address names, or this one.

        Raises:
            CatalogError: The address is none, holds a password, or names no schema and none is given.
        """
        parts = urlsplit(address)
        if not parts.path.strip("/"):
            raise CatalogError(
                f"{_safe(address)} names no database; write postgresql://host/database?schema=name."
            )
        if parts.password is not None:
            raise CatalogError(
                f"The address {_safe(address)} holds a password; put it into PGPASSWORD or a password file."
            )
        query = dict(parse_qsl(parts.query))
        if "password" in query:
            raise CatalogError("The address holds a password; put it into PGPASSWORD or a password file.")
        name = query.pop("schema", schema)
        if name is None:
            raise CatalogError(f"{address} names no schema; add ?schema=NAME, the name of the campaign.")
        if not _SCHEMA.fullmatch(name):
            raise CatalogError(f"{name!r} is no schema of a catalog; use small letters, digits and _.")
        return cls(urlunsplit(parts._replace(query=urlencode(query))), name)

    @property
    def full_address(self) -> str:
        """The address with the schema in it."""
        return f"{self.address}{'&' if '?' in self.address else '?'}schema={self.name}"

    @property
    def schema(self) -> str:  # noqa: D102 - as in the base
        return self.name

    def exists(self) -> bool:  # noqa: D102 - as in the base
        with self._connected() as connection:
            query = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
            return connection.execute(query, (self.name,)).fetchone() is not None

    def prepare(self) -> None:  # noqa: D102 - as in the base
        with self._connected() as connection:
            try:
                connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self.name)))
            except psycopg.errors.UniqueViolation:
                pass  # somebody made it at the same moment
            except psycopg.errors.InsufficientPrivilege as error:
                raise CatalogError(
                    f"The schema {self.name} of {self.address} may not be made by this user."
                ) from error

    def data_path(self) -> str | None:
        """Where the catalog says that its files are; None if there is no catalog yet."""
        query = SQL("SELECT value FROM {}.ducklake_metadata WHERE key = 'data_path'").format(
            Identifier(self.name)
        )
        with self._connected() as connection:
            try:
                row = connection.execute(query).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return None
        return None if row is None else str(row[0])

    def attach_target(self) -> str:  # noqa: D102 - as in the base
        return f"postgres:{self.address}"

    def attach_options(self, *, read_only: bool) -> list[str]:  # noqa: ARG002, D102 - as in the base
        return [f"META_SCHEMA {quoted(self.name)}"]

    @contextmanager
    def writing(self, root: str, timeout_seconds: float) -> Iterator[None]:
        """Hold the right to write; the server gives it back when the connection ends.

        PostgreSQL lets several write, but DuckLake finds out at commit that two did, after the work is done.
        """
        with self._connected() as connection:
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false)", (f"{round(1000 * timeout_seconds)}ms",)
            )
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (self._key("write"),))
            except psycopg.errors.LockNotAvailable as error:
                raise CatalogBusyError(
                    f"Another process has been writing the catalog {root} for more than "
                    f"{timeout_seconds:g} s; try again or look for a stuck process."
                ) from error
            yield

    @contextmanager
    def claim(self, root: str, work: str) -> Iterator[None]:
        """Be the only one who does this work, as long as the connection lives."""
        key = self._key(work)
        with self._connected(myself()) as connection:
            for attempt in range(_TRIES):
                (mine,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone() or (False,)
                if mine:
                    break
                if attempt == _TRIES - 1:
                    raise claimed(root, work, _holder(connection, key))
                time.sleep(_TRY_SECONDS)  # the server may not have noticed yet that a process was killed
            try:
                yield
            finally:
                with contextlib.suppress(psycopg.Error):  # an ended connection has given it back
                    connection.execute("SELECT pg_advisory_unlock(%s)", (key,))

    def _key(self, work: str) -> int:
        """Advisory locks have numbers; they are the database's, so the schema is part of it."""
        digest = blake2b(f"{self.name}/{work}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    @contextmanager
    def _connected(self, name: str = "rstar") -> Iterator[psycopg.Connection]:
        """A connection for a moment.

        Raises:
            CatalogAwayError: The server does not answer.
            CatalogError: It refuses us.
        """
        try:
            connection = psycopg.connect(
                make_conninfo(self.address, **_OPTIONS, application_name=name), autocommit=True
            )
        except psycopg.Error as error:
            raise self._translated(error) from error
        try:
            yield connection
        except psycopg.OperationalError as error:
            raise self._translated(error) from error
        finally:
            connection.close()

    def _translated(self, error: psycopg.Error) -> CatalogError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = (lines[0] if lines else type(error).__name__).rstrip(".")
        if any(mark in str(error) for mark in _REFUSALS):
            return CatalogError(f"PostgreSQL at {self.address} refuses the connection: {cause}.")
        return CatalogAwayError(
            f"PostgreSQL at {self.address} does not answer ({cause}); start it and try again."
        )


def _holder(connection: psycopg.Connection, key: int) -> str:
    """Who holds an advisory lock, in the words it left."""
    query = """
        SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = %s"""
    row = connection.execute(query, (key,)).fetchone()
    return "" if row is None else str(row[0])


def _safe(address: str) -> str:
    """The address without the password that it may hold."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host, query=""))
