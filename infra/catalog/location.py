"""Where a catalog lives: its metadata, its data, and who may write now.

This is the seam for other stores. Today: SQLite metadata and Parquet data under one local folder. PostgreSQL
metadata and `s3://` data need another constructor here and another `writing()`, and nothing above changes.
"""

from __future__ import annotations

import fcntl
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rstar_core.errors import CatalogBusyError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK_TIMEOUT_SECONDS = 120.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class CatalogLocation:
    """Addresses of one catalog.

    Attributes:
        root: Folder of the catalog as the user named it, for messages.
        metadata: Path of the SQLite file that holds DuckLake's metadata.
        data_path: Folder of the Parquet files, with a slash at the end.
        lock: File whose lock a writer holds during a transaction.
    """

    root: str
    metadata: Path
    data_path: str
    lock: Path

    @classmethod
    def from_root(cls, root: Path | str) -> CatalogLocation:
        """The catalog under a local folder.

        Raises:
            CatalogError: The root is an address such as `s3://…`, which needs a metadata server.
        """
        if "://" in str(root):
            raise CatalogError(
                f"The catalog cannot live at {root} because its metadata is SQLite; use a folder as root."
            )
        folder = Path(root).expanduser().absolute()
        return cls(
            root=str(root),
            metadata=folder / "catalog.sqlite",
            data_path=f"{folder / 'lake'}/",
            lock=folder / "catalog.lock",
        )

    @property
    def exists(self) -> bool:
        """Whether there is a metadata file (it may still be without tables)."""
        return self.metadata.is_file()

    def missing(self) -> CatalogError:
        """The error that says there is no catalog here."""
        return CatalogError(
            f"There is no catalog at {self.root}; make one with `rstar run CONFIG` or `rstar demo`."
        )

    def make_folder(self) -> None:
        """Make the root folder.

        Raises:
            CatalogError: The folder cannot be made.
        """
        try:
            self.metadata.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(f"The catalog folder {self.root} cannot be made: {error.strerror}.") from error

    def attach_statement(self, *, read_only: bool, create: bool, at: int | None = None) -> str:
        """The ATTACH that opens this catalog, or its version `at`, as `lake`.

        OVERRIDE_DATA_PATH lets a moved or copied folder open: DuckLake stores file names relative to it.
        Inserts of up to 100 rows stay in SQLite: without that, the status changes of 60 shards alone leave
        180 small Parquet files, and the coverage query took 140 ms instead of 71.
        """
        options = [
            f"DATA_PATH {quoted(self.data_path)}",
            "OVERRIDE_DATA_PATH true",
            "DATA_INLINING_ROW_LIMIT 100",
            f"CREATE_IF_NOT_EXISTS {str(create).lower()}",
            "META_BUSY_TIMEOUT 20000",
            "READ_ONLY" if read_only else "META_JOURNAL_MODE 'WAL'",
        ]
        if at is not None:
            options.append(f"SNAPSHOT_VERSION {at}")
        return f"ATTACH {quoted(f'ducklake:sqlite:{self.metadata}')} AS lake ({', '.join(options)})"

    @contextmanager
    def writing(self, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
        """Hold the right to write. The kernel releases it when the holder dies.

        SQLite allows one writer, and DuckLake reports a second one as a conflict at commit, after its work is
        done. Waiting first cut the slowest of 100 commits by 4 writers from 17 s to 4 s.

        Raises:
            CatalogBusyError: Another process held it for the whole time-out.
            CatalogError: The lock file cannot be opened.
        """
        try:
            handle = self.lock.open("ab")
        except OSError as error:
            raise CatalogError(f"The catalog {self.root} cannot be written: {error.strerror}.") from error
        with handle:
            deadline = time.monotonic() + timeout_seconds
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise CatalogBusyError(
                            f"Another process has been writing the catalog {self.root} for more than "
                            f"{timeout_seconds:g} s; try again or look for a stuck process."
                        ) from None
                    time.sleep(random.uniform(0.2, 1.0) * _POLL_SECONDS)  # noqa: S311 — jitter, not secrets
            yield


def quoted(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
