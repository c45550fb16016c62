"""Replay logs in the store of a team's data, so that another machine goes on in the middle of a search.

A log grows and an object cannot, so it is kept in pieces, each named by the place of its first byte; a piece
is sent every few seconds and once more when the shard's attempt ends. A finished log is one packed object.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from infra.replay_log import packed_path
from rstar_core.errors import ArtifactError, CatalogAwayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infra.artifacts import ArtifactStore

PUSH_SECONDS = 5.0
_DIGITS = 15
_LOGGER = logging.getLogger(__name__)


class LogMirror:
    """The store's side of the logs below one folder.

    Args:
        store: Where they are kept.
        folder: The folder on this machine; names in the store are relative to it.
    """

    def __init__(self, store: ArtifactStore, folder: Path) -> None:
        self._store, self._folder = store, folder

    def fetch(self, log: Path) -> None:
        """Bring a log here if the store has more of it than this machine.

        Raises:
            CatalogAwayError: The store does not answer; to search anew would pay twice.
        """
        with _patiently():
            self._fetch(log)

    def _fetch(self, log: Path) -> None:
        packed = packed_path(log)
        if packed.exists():
            return
        if self._store.exists(*self._parts(packed)):
            packed.parent.mkdir(parents=True, exist_ok=True)
            packed.write_bytes(self._store.read_bytes(*self._parts(packed)))
            log.unlink(missing_ok=True)
            return
        pieces, size = self._pieces(log)
        if size <= (log.stat().st_size if log.exists() else 0):
            return
        data = bytearray()
        for start in pieces:
            del data[start:]  # what was torn off is sent again from its place
            data += self._store.read_bytes(*self._piece(log, start))
        log.parent.mkdir(parents=True, exist_ok=True)
        beside = log.with_suffix(".fetched")
        beside.write_bytes(data)
        beside.replace(log)

    @contextlib.contextmanager
    def following(self, log: Path) -> Iterator[None]:
        """Send what is added to a log meanwhile; a store that is away later costs nothing but its copy.

        Raises:
            CatalogAwayError: The store does not answer at the beginning.
        """
        with _patiently():
            pieces, sent = self._pieces(log)
            if sent > log.stat().st_size:  # its torn end was cut off, or it was begun anew: one piece now
                sent = self._push(log, 0)
                for start in reversed(pieces[1:]):
                    self._store.remove(*self._piece(log, start))
        ended = threading.Event()
        arguments = (log, sent, ended)
        thread = threading.Thread(target=self._follow, args=arguments, name=f"log {log.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def seal(self, log: Path) -> None:
        """The log is finished and packed: keep that instead of its pieces.

        Raises:
            ArtifactError: The store does not answer.
        """
        self._store.write_bytes(packed_path(log).read_bytes(), *self._parts(packed_path(log)))
        self._store.remove(*self._parts(log))

    def remove(self, log: Path) -> None:
        """Forget an unfinished log.

        Raises:
            ArtifactError: The store does not answer.
        """
        self._store.remove(*self._parts(log))

    def _follow(self, log: Path, sent: int, ended: threading.Event) -> None:
        warned, over = False, False
        while not over:
            over = ended.wait(PUSH_SECONDS)
            try:
                sent = self._push(log, sent)
                warned = False
            except ArtifactError as error:
                if not warned:
                    logging.getLogger(__name__).warning(
                        "a replay log is kept on this machine alone: %s", error
                    )
                warned = True

    def _push(self, log: Path, sent: int) -> int:
        """Send what is new; returns how many bytes the store has now."""
        with log.open("rb") as file:
            file.seek(sent)
            data = file.read()
        if data:
            self._store.write_bytes(data, *self._piece(log, sent))
        return sent + len(data)

    def _pieces(self, log: Path) -> tuple[list[int], int]:
        """Places of the pieces in the store, in their order, and where the last one ends."""
        sizes = self._store.sizes(*self._parts(log))
        pieces = sorted(int(name) for name in sizes)
        return pieces, pieces[-1] + sizes[f"{pieces[-1]:0{_DIGITS}}"] if pieces else 0

    def _piece(self, log: Path, start: int) -> tuple[str, ...]:
        return (*self._parts(log), f"{start:0{_DIGITS}}")

    def _parts(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self._folder).parts


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    """Whatever is wrong with the store here is worth a retry of the shard."""
    try:
        yield
    except ArtifactError as error:
        raise CatalogAwayError(f"the store of the replay logs cannot be used now: {error}") from error
