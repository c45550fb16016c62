"""Files of a campaign: checkpoints, logs and reports under the catalog's root, a folder or `s3://`.

Whole files go through `ArtifactStore` and are replaced at once, so a reader never sees half of one. Replay
logs grow, so they are local `AppendLog`s. What the files contain is not known here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from infra.closing import Closing
from rstar_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator


class ArtifactStore:
    """Files under one root. Names are given as parts: `store.write_text("{}", "round-1", "report.json")`."""

    def __init__(self, root: Path | str) -> None:
        try:
            filesystem, path = fsspec.core.url_to_fs(str(root))
        except (ImportError, ValueError) as error:
            raise ArtifactError(f"The artifact root {root} cannot be used: {error}.") from error
        self.root = str(root)
        self._filesystem: Any = filesystem
        self._base = str(path)
        self.is_local = isinstance(filesystem, LocalFileSystem)

    def path(self, *parts: str) -> str:
        """Address of a file as other programs take it: an absolute path, or with `s3://` in front."""
        path = self._base_path(parts)
        return path if self.is_local else str(self._filesystem.unstrip_protocol(path))

    def local_path(self, *parts: str) -> Path:
        """Path of a local file, its folder made, for what other libraries write; ArtifactError if remote."""
        if not self.is_local:
            raise ArtifactError(f"{self.path(*parts)} must be a local file; use a local folder as root.")
        path = Path(self._base_path(parts))
        with _explained("made", str(path.parent)):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def exists(self, *parts: str) -> bool:
        """Whether there is a file or folder of this name."""
        with _explained("looked up", self.path(*parts)):
            self._filesystem.invalidate_cache()
            return bool(self._filesystem.exists(self._base_path(parts)))

    def sizes(self, *parts: str) -> dict[str, int]:
        """Names and sizes in bytes of the files directly in a folder; none if there is no folder."""
        path = self._base_path(parts)
        with _explained("listed", self.path(*parts)):
            self._filesystem.invalidate_cache(path)  # others write there too
            try:
                found = self._filesystem.ls(path, detail=True)
            except FileNotFoundError:
                return {}
        files = (each for each in found if each["type"] == "file" and each["name"].rstrip("/") != path)
        return {posixpath.basename(each["name"]): int(each["size"]) for each in files}

    def remove(self, *parts: str) -> None:
        """Remove a file, or a folder with all that is in it; that there is none is fine."""
        with _explained("removed", self.path(*parts)):
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm(self._base_path(parts), recursive=True)
            self._filesystem.invalidate_cache()

    def read_bytes(self, *parts: str) -> bytes:
        """The whole file; ArtifactError if it is missing or cannot be read."""
        with _explained("read", self.path(*parts)):
            return bytes(self._filesystem.cat_file(self._base_path(parts)))

    def read_text(self, *parts: str) -> str:
        """The whole file as text; ArtifactError if it is missing, cannot be read or is not UTF-8."""
        try:
            return self.read_bytes(*parts).decode()
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.path(*parts)} is not UTF-8 text (byte {error.start}).") from error

    def write_bytes(self, data: bytes, *parts: str) -> str:
        """Write the whole file, replacing an old one at once, and return its address.

        Raises:
            ArtifactError: It cannot be written; an old file is then still whole.
        """
        target = self.path(*parts)
        with _explained("written", target):
            if self.is_local:
                _replace_file(self.local_path(*parts), data)
            else:
                self._filesystem.pipe_file(
                    self._base_path(parts), data
                )  # an object appears whole or not at all
        return target

    def write_text(self, text: str, *parts: str) -> str:
        """Write the whole file as UTF-8; see `write_bytes`."""
        return self.write_bytes(text.encode(), *parts)

    def put_file(self, source: Path, *parts: str) -> str:
        """Copy a local file here, however large, and return its address.

        Raises:
            ArtifactError: It cannot be read or written.
        """
        target = self.path(*parts)
        with _explained("written", target):
            if self.is_local:
                local = self.local_path(*parts)
                beside = local.with_name(f".{local.name}.{uuid.uuid4().hex}")
                try:
                    shutil.copyfile(source, beside)
                    beside.replace(local)
                finally:
                    beside.unlink(missing_ok=True)
            else:
                self._filesystem.put_file(str(source), self._base_path(parts))
        return target

    def get_file(self, target: Path, *parts: str) -> None:
        """Copy a file from here to a local path, however large.

        Raises:
            ArtifactError: There is none, or it cannot be read or written.
        """
        with _explained("read", self.path(*parts)):
            self._filesystem.get_file(self._base_path(parts), str(target))

    def _base_path(self, parts: tuple[str, ...]) -> str:
        path = posixpath.normpath(posixpath.join(self._base, *parts))
        if path != self._base and not path.startswith(self._base.rstrip("/") + "/"):
            raise ArtifactError(f"The artifact name {'/'.join(parts)} leads out of {self.root}.")
        return path


class AppendLog(Closing):
    """A local file that only grows: a record is in it when `append` returns, even if we are then killed.

    Bytes in, bytes out: framing is the caller's business, and so is a torn last record, which a kill in the
    middle of a write or a loss of power can leave.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _explained("opened", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def append(self, record: bytes) -> None:
        """Add one record; if that fails (ArtifactError), none of it stays."""
        with _explained("written", str(self.path)):
            size = os.fstat(self._file.fileno()).st_size
            try:
                rest = memoryview(record)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(size)
                raise

    def truncate(self, size: int) -> None:
        """Forget everything after the first `size` bytes."""
        with _explained("written", str(self.path)):
            self._file.truncate(size)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()


def _replace_file(path: Path, data: bytes) -> None:
    """Write beside the file, then rename over it: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(verb: str, target: str) -> Iterator[None]:
    """Turn an operating system's error, ENOSPC above all, into one sentence that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise ArtifactError(f"{target} cannot be {verb}: it does not exist.") from error
    except OSError as error:
        full = "; free some space and run it again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise ArtifactError(f"{target} cannot be {verb}: {error.strerror or error}{full}.") from error
    except ArtifactError:
        raise
    except Exception as error:  # a store that is away: botocore's are no OSError, and costly to name
        raise ArtifactError(f"{target} cannot be {verb}: {str(error).rstrip('.')}.") from error
