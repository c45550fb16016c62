"""DuckLake's metadata, and the locks that go with it: the interface, and SQLite in a folder."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from rstar_core.errors import CatalogBusyError, CatalogClaimedError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import IO

_POLL_SECONDS = 0.02


class Metadata(ABC):
    """Where DuckLake's metadata is; see `CatalogLocation` for what the methods promise."""

    EXTENSION: ClassVar[str]
    """DuckDB's extension that opens it."""
    IS_REMOTE: ClassVar[bool]
    """Whether it may go away and come back."""

    @property
    @abstractmethod
    def schema(self) -> str:
        """Schema that DuckLake's own tables stand in."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is metadata; it may still be without tables."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what has to be there first."""

    @abstractmethod
    def attach_target(self) -> str:
        """What stands after `ducklake:` in ATTACH."""

    @abstractmethod
    def attach_options(self, *, read_only: bool) -> list[str]:
        """ATTACH options of this kind."""

    @abstractmethod
    def writing(self, root: str, timeout_seconds: float) -> AbstractContextManager[None]:
        """Hold the right to write."""

    @abstractmethod
    def claim(self, root: str, work: str) -> AbstractContextManager[None]:
        """Be the only one who does this work."""


@dataclass(frozen=True, slots=True)
class SqliteMetadata(Metadata):
    """SQLite under a local folder; the locks are files that the kernel unlocks when their holder dies.

    Attributes:
        folder: The catalog's folder.
    """

    EXTENSION: ClassVar[str] = "sqlite_scanner"
    IS_REMOTE: ClassVar[bool] = False
    folder: Path

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / "catalog.sqlite"

    @property
    def schema(self) -> str:  # noqa: D102 - as in the base
        return "main"

    def exists(self) -> bool:  # noqa: D102 - as in the base
        return self.file.is_file()

    def prepare(self) -> None:  # noqa: D102 - as in the base
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(
                f"The catalog folder {self.folder} cannot be made: {error.strerror}."
            ) from error

    def attach_target(self) -> str:  # noqa: D102 - as in the base
        return f"sqlite:{self.file}"

    def attach_options(self, *, read_only: bool) -> list[str]:  # noqa: D102 - as in the base
        return ["META_BUSY_TIMEOUT 20000", *([] if read_only else ["META_JOURNAL_MODE 'WAL'"])]

    @contextmanager
    def writing(self, root: str, timeout_seconds: float) -> Iterator[None]:
        """Hold the right to write.

        SQLite allows one writer, and DuckLake reports a second one as a conflict at commit, after its work is
        done. Waiting first cut the slowest of 100 commits by 4 writers from 17 s to 4 s.
        """
        try:
            handle = (self.folder / "catalog.lock").open("ab")
        except OSError as error:
            raise CatalogError(f"The catalog {root} cannot be written: {error.strerror}.") from error
        with handle:
            deadline = time.monotonic() + timeout_seconds
            while not _locked(handle):
                if time.monotonic() > deadline:
                    raise CatalogBusyError(
                        f"Another process has been writing the catalog {root} for more than "
                        f"{timeout_seconds:g} s; try again or look for a stuck process."
                    )
                time.sleep(random.uniform(0.2, 1.0) * _POLL_SECONDS)  # noqa: S311 - jitter, not secrets
            yield

    @contextmanager
    def claim(self, root: str, work: str) -> Iterator[None]:
        """Be the only one who does this work; the file says who that is."""
        path = self.folder / "claims" / f"{work}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+b")
        except OSError as error:
            raise CatalogError(f"{path} cannot be made: {error.strerror}.") from error
        with handle:
            if not _locked(handle):
                handle.seek(0)
                raise claimed(root, work, handle.read().decode(errors="replace"))
            handle.truncate(0)
            handle.write(myself().encode())
            handle.flush()
            yield


def myself() -> str:
    """This process in words, for whoever finds its work claimed."""
    return f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def claimed(root: str, work: str, holder: str) -> CatalogClaimedError:
    """The error that says who does this work now."""
    return CatalogClaimedError(
        f"{work} of {root} is being run by {holder or 'another process'}; wait for it, or stop it first."
    )


def _locked(handle: IO[bytes]) -> bool:
    """Take the file's lock if it is free."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
