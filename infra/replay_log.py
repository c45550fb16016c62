"""The replay log of a shard: each reply as it came, tree by tree, so that a killed search goes on mid-tree.

One file a shard. Each line is a checksum and a JSON list; the first says what the log belongs to. A line that
a kill or a loss of power tore in the middle is forgotten; one that is damaged further up is named. When its
shard is committed the log of a search is compressed and stays beside the data: its trees can be grown again
from it. The log of an evaluation has then served its purpose.
"""

from __future__ import annotations

import gzip
import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

from infra.artifacts import AppendLog
from infra.closing import Closing
from rstar_core.errors import ReplayError
from rstar_core.replay import decode_reply, encode_reply, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rstar_core.requests import Reply, Request

FORMAT = 1
_CHECKSUM_DIGITS = 8
_REMOVE = "remove the file to search the shard again"

TreeKey = tuple[str, int]
"""Problem id and tree index."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a log belongs to. A log of something else is refused by the name of what differs.

    Attributes:
        round: Round of the shard.
        shard: Its id.
        policy: Model that proposes the steps, and its prompt style.
        ppm: Model that scores them; None where none does.
        search: The settings of the search.
        trees: Problem id, tree index and seed of each tree.
    """

    round: int
    shard: str
    policy: str
    ppm: str | None
    search: dict[str, Any]
    trees: list[list[Any]]

    def keys(self) -> list[TreeKey]:
        """The trees by problem and index."""
        return [(str(problem_id), int(index)) for problem_id, index, _ in self.trees]


class LoggedReplies:
    """What a log holds of one tree, given back reply by reply.

    Args:
        path: The log, to be named in errors.
        key: The tree.
    """

    def __init__(self, path: Path, key: TreeKey) -> None:
        self.path = path
        self.key = key
        self.logged: deque[tuple[int, list[Any]]] = deque()
        self.taken = 0

    def take(self, request: Request) -> Reply | None:
        """The logged reply to the next request; None where the log ends.

        Raises:
            ReplayError: The log holds the reply to another request.
        """
        if not self.logged:
            return None
        mark, values = self.logged.popleft()
        self.taken += 1
        if mark != fingerprint(request):
            raise self._misfit("answers another request")
        try:
            return decode_reply(request, values)
        except (ValueError, TypeError) as error:
            raise self._misfit("cannot be understood") from error

    def _misfit(self, what: str) -> ReplayError:
        problem_id, index = self.key
        return ReplayError(
            f"{self.path} does not fit: reply {self.taken} of tree {index} of problem {problem_id} "
            f"{what}, so another version of the code wrote it; {_REMOVE}"
        )


class TreeLog(LoggedReplies):
    """One tree's part of an open log: first gives back what is in it, then takes what is new."""

    def __init__(self, log: ShardLog, number: int) -> None:
        super().__init__(log.path, log.belonging.keys()[number])
        self._log = log
        self._number = number

    def append(self, request: Request, reply: Reply) -> None:
        """Write a reply down; it is safe from a kill when this returns."""
        self._log.append([self._number, fingerprint(request), encode_reply(reply)])


class ShardLog(Closing):
    """The log of one shard, open for going on.

    Args:
        path: Where it lies; made if it is missing.
        belonging: What it has to belong to.
        earlier: Logs of shards before it; trees that are in them start with what they hold.

    Raises:
        ReplayError: It belongs to something else, or a line of it is damaged.
    """

    def __init__(self, path: Path, belonging: Belonging, earlier: Iterable[Path] = ()) -> None:
        self.path = path
        self.belonging = belonging
        found, records, size = read_log(path) if path.exists() else (None, [], 0)
        if found is None:
            path.unlink(missing_ok=True)
            records = _records_of(belonging.keys(), earlier)
            self._file = AppendLog(path)
            self._file.append(b"".join(map(_line, [[FORMAT, _as_json(belonging)], *records])))
        else:
            _refuse_other(path, found, belonging)
            self._file = AppendLog(path)
            self._file.truncate(size)
        self.trees = [TreeLog(self, number) for number in range(len(belonging.trees))]
        for number, mark, values in records:
            self.trees[number].logged.append((mark, values))

    def append(self, record: list[Any]) -> None:
        """Add one line."""
        self._file.append(_line(record))

    def finish(self) -> None:
        """The shard is committed: keep the log in compressed form."""
        self.close()
        packed = packed_path(self.path)
        beside = packed.with_suffix(".partial")
        beside.write_bytes(gzip.compress(self.path.read_bytes(), compresslevel=6, mtime=0))
        beside.replace(packed)
        self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def packed_path(path: Path) -> Path:
    """Where a finished log lies."""
    return path.with_name(f"{path.name}.gz")


def log_exists(path: Path) -> bool:
    """Whether a log is there, packed or not."""
    return path.exists() or packed_path(path).exists()


def read_log(path: Path) -> tuple[Belonging | None, list[list[Any]], int]:
    """What a log belongs to, its records, and the length in bytes of what is whole; packed or not.

    Raises:
        ReplayError: It cannot be read, another version wrote it, or a line before the last is damaged.
    """
    packed = packed_path(path)
    try:
        data = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError) as error:
        raise ReplayError(f"the replay log {path} cannot be read: {error}") from error
    lines = data.split(b"\n")
    torn = lines.pop()
    records, size = [], len(data) - len(torn)
    for number, line in enumerate(lines, start=1):
        record = _parsed(line)
        if record is None and number == len(lines):
            size -= len(line) + 1
        elif record is None:
            raise ReplayError(f"line {number} of the replay log {path} is damaged; {_REMOVE}")
        else:
            records.append(record)
    if not records:
        return None, [], 0
    return _belonging(path, records[0]), records[1:], size


def replies_of(path: Path, key: TreeKey) -> LoggedReplies | None:
    """What a log holds of one tree, for reading only; None if there is no log or the tree is not in it.

    The log may belong to a shard that is still searching.

    Raises:
        ReplayError: The log cannot be read, or is damaged.
    """
    if not log_exists(path):
        return None
    belonging, records, _ = read_log(path)
    keys = [] if belonging is None else belonging.keys()
    if key not in keys:
        return None
    number = keys.index(key)
    replies = LoggedReplies(path, key)
    replies.logged.extend((mark, values) for tree, mark, values in records if tree == number)
    return replies


def _records_of(keys: Sequence[TreeKey], paths: Iterable[Path]) -> list[list[Any]]:
    """What these logs hold of these trees, the newest of each tree, numbered as the keys are."""
    numbers = {key: number for number, key in enumerate(keys)}
    newest: dict[int, list[list[Any]]] = {}
    for path in paths:
        if not log_exists(path):
            continue  # somebody removed it: its trees are grown again from their seeds
        belonging, records, _ = read_log(path)
        theirs = [] if belonging is None else belonging.keys()
        found: dict[int, list[list[Any]]] = {}
        for number, mark, values in records:
            ours = numbers.get(theirs[number])
            if ours is not None:
                found.setdefault(ours, []).append([ours, mark, values])
        newest |= found
    return [record for records in newest.values() for record in records]


def _line(record: list[Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %b\n" % (crc32(body), body)


def _parsed(line: bytes) -> list[Any] | None:
    """The record of a line, or None if it is damaged."""
    checksum, body = line[:_CHECKSUM_DIGITS], line[_CHECKSUM_DIGITS + 1 :]
    if checksum != b"%08x" % crc32(body):
        return None
    record: list[Any] = json.loads(body)
    return record


def _belonging(path: Path, record: list[Any]) -> Belonging:
    if record[0] != FORMAT:
        raise ReplayError(
            f"the replay log {path} has format {record[0]}, and this version reads {FORMAT}; {_REMOVE}"
        )
    return Belonging(**record[1])


def _as_json(belonging: Belonging) -> dict[str, Any]:
    return {name: getattr(belonging, name) for name in Belonging.__slots__}


def _refuse_other(path: Path, found: Belonging, wanted: Belonging) -> None:
    for name in Belonging.__slots__:
        if getattr(found, name) != getattr(wanted, name):
            difference = _difference(found, wanted, name)
            raise ReplayError(f"the replay log {path} belongs to another {name} ({difference}); {_REMOVE}")


def _difference(found: Belonging, wanted: Belonging, name: str) -> str:
    """The two values, or of long ones the parts that differ."""
    before, after = getattr(found, name), getattr(wanted, name)
    if isinstance(before, dict):
        key = min(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return f"{key} {before.get(key)!r}, not {after.get(key)!r}"
    if isinstance(before, list):
        odd: Sequence[Any] = next((one for one in before if one not in after), before[:1])
        return f"such as tree {odd[1]} of problem {odd[0]}" if odd else "none, where there are some"
    return f"{before!r}, not {after!r}"
