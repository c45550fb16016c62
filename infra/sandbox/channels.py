"""The pipes between a worker and one child, and the bounded reading of them."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import select
import time
from dataclasses import dataclass, field
from typing import Final

from infra.sandbox import program

_FIRST_FREE: Final = 40  # above every descriptor that a child is given
_CHUNK: Final = 1 << 16  # the capacity of a pipe
_MAX_REPORT_BYTES: Final = 1 << 16
_MAX_DRAINS: Final = 4  # an ended program leaves at most one pipeful; a flood of others is not waited for
_CLOSED: Final = -1
_SEAL_BYTES: Final = 16


@dataclass(slots=True)
class Pipes:
    """Both ends of a child's pipes; after the fork each side closes the other's.

    Attributes:
        reading: The worker's ends: output, report, and where the prefix is shared, done.
        writing: The child's ends in the same order.
        command: Both ends of the pipe that says which candidate to start.
        seal: What a record begins with.
        confined: Whether the child said that it put on its layers.
    """

    reading: list[int]
    writing: list[int]
    command: tuple[int, int] | None
    seal: bytes
    _output: bytearray = field(default_factory=bytearray)
    _cut: bool = False
    _report: bytearray = field(default_factory=bytearray)
    confined: bool = False

    @property
    def done(self) -> int:
        """The descriptor on which a shared prefix answers."""
        return self.reading[2]

    def become_child(self) -> None:
        """Keep the child's ends at their agreed numbers and close everything else."""
        ends = [*self.writing, *(self.command[:1] if self.command else ())]
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, _FIRST_FREE) for end in ends]
        agreed = (program.STDOUT, program.REPORT, program.DONE, program.GO)
        for end, number in zip(high, agreed, strict=False):
            os.dup2(end, number)
        os.closerange(program.REPORT + len(high) - 1, 1 << 16)

    def become_parent(self) -> None:
        """Close the child's ends."""
        for end in [*self.writing, *(self.command[:1] if self.command else ())]:
            os.close(end)

    def close(self) -> None:
        """Close the worker's ends."""
        for end in [*(e for e in self.reading if e != _CLOSED), *(self.command[1:] if self.command else ())]:
            os.close(end)

    def go(self, index: int) -> None:
        """Tell a shared prefix to start a candidate."""
        assert self.command is not None  # noqa: S101 - only shared prefixes are told
        try:
            os.write(self.command[1], index.to_bytes(4, "little"))
        except BrokenPipeError:
            return  # it is gone; the watch will see it

    def answer(self) -> int | None:
        """The wait status that a shared prefix sent, None if it is gone."""
        data = os.read(self.done, 4)
        return int.from_bytes(data, "little") if len(data) == 4 else None

    def watch(self, life: int, deadline: float, limit: int) -> bool:
        """Read until `life` becomes readable (True) or the deadline passes (False)."""
        poller = select.poll()
        for end in (life, *self.reading[:2]):
            poller.register(end, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            ready = {end for end, _ in poller.poll(left * 1000 + 1)}
            for end in self.reading[:2]:
                if end in ready and not self._read(end, limit):
                    poller.unregister(end)
            if life in ready:
                break
        for end in self.reading[:2]:
            for _ in range(_MAX_DRAINS):
                if not self._read(end, limit):
                    break
        return left > 0

    def _read(self, end: int, limit: int) -> bool:
        """Take what is there; False if nothing is."""
        try:
            data = os.read(end, _CHUNK)
        except BlockingIOError:
            return False
        if end == self.reading[0]:
            self._cut = self._cut or len(self._output) + len(data) > limit
            self._output += data[: limit - len(self._output)]
        else:
            self._report += data[: _MAX_REPORT_BYTES - len(self._report)]
            if not self.confined and self._report.startswith(program.READY):
                self.confined = True
                del self._report[:1]
        return bool(data)

    def mark(self) -> tuple[int, bool]:
        """Remember the output so far: the prefix's."""
        self._report.clear()
        return len(self._output), self._cut

    def rewind(self, mark: tuple[int, bool]) -> None:
        """Forget what was written after the mark."""
        del self._output[mark[0] :]
        self._cut = mark[1]
        self._report.clear()

    def text(self) -> str:
        """The kept head of the output; a character that the cut went through is dropped."""
        return codecs.getincrementaldecoder("utf-8")("replace").decode(
            bytes(self._output), final=not self._cut
        )

    def record(self) -> program.Record | None:
        """The record of the end, None unless there is exactly one, under its seal and nothing besides."""
        if not self._report.startswith(self.seal):
            return None
        try:
            how, error = json.loads(self._report[len(self.seal) :])
        except (ValueError, TypeError):
            return None
        return (how, error) if isinstance(how, str) and isinstance(error, str) else None

    def fault(self) -> str:
        """What a child said that could not confine itself."""
        return self._report.decode("utf-8", "replace")[:500] or "it said nothing"


def open_pipes(*, shared: bool = False) -> Pipes:
    """Pipes for one child; `shared` adds those of a shared prefix."""
    pairs = [os.pipe() for _ in range(3 if shared else 2)]
    for reader, _ in pairs[:2]:
        os.set_blocking(reader, False)
    command = os.pipe() if shared else None
    return Pipes([r for r, _ in pairs], [w for _, w in pairs], command, os.urandom(_SEAL_BYTES))
