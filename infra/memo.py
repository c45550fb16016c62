"""The same program or pair is never judged twice: a bounded memory in front of the sandbox and answer check.

This is sound because both are pure: a program sees nothing but its own text (no input, nobody's files,
fixed seeds and hashes, a fresh state), and the answer check compares two texts. What depends on how busy the
machine is, a time-out or a process that died, is never kept. A program that asks the clock gets an answer
that it could have got. The memory lives in this process, where no program can reach it.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from infra.sandbox.source import without_comments
from rstar_core.protocols import CodeRunner, Grader
from rstar_core.requests import Execute, Grade
from rstar_core.types import Execution, ExecutionStatus, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ReplyT = TypeVar("ReplyT")
Key = bytes

_ENTRY_BYTES: Final = 500  # of a reply and its place, besides its texts
_KEPT: Final = (ExecutionStatus.OK, ExecutionStatus.ERROR)


class Memo(Generic[ReplyT]):
    """Replies by key, the least recently used forgotten first; equal requests in flight share one run.

    For any thread and any event loop.

    Args:
        max_bytes: Roughly what the replies may take.
        is_lasting: Whether a reply would be the same next time.
        num_chars: Length of a reply's texts.

    Attributes:
        num_asked: Replies given or being found out.
        num_run: Those of them that were run.
    """

    def __init__(
        self, max_bytes: int, is_lasting: Callable[[ReplyT], bool], num_chars: Callable[[ReplyT], int]
    ) -> None:
        self._max_bytes = max_bytes
        self._is_lasting = is_lasting
        self._num_chars = num_chars
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, ReplyT] = OrderedDict()
        self._bytes = 0
        self._in_flight: dict[Key, Future[ReplyT | None]] = {}
        self.num_asked = 0
        self.num_run = 0

    @property
    def share_remembered(self) -> float:
        """Share of what was asked that needed no run; 0 before anything was asked."""
        return 1 - self.num_run / self.num_asked if self.num_asked else 0.0

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(
        self, keys: Sequence[Key], run: Callable[[list[int]], Awaitable[Sequence[ReplyT]]]
    ) -> tuple[ReplyT, ...]:
        """The reply to each key; `run` is given the positions that nobody knows or is finding out.

        Raises: whatever `run` raises. Those who waited for a run that failed or was cancelled run themselves.
        """
        replies: dict[int, ReplyT] = {}
        self.num_asked += len(keys)
        open_ = list(range(len(keys)))
        while open_:
            ours, theirs = self._claim(keys, open_, replies)
            if ours:
                await self._run(keys, ours, run, replies)
            for position, future in theirs.items():
                reply = await asyncio.shield(asyncio.wrap_future(future))
                if reply is not None:
                    replies[position] = reply
            open_ = [position for position in open_ if position not in replies]
        return tuple(replies[position] for position in range(len(keys)))

    def _claim(
        self, keys: Sequence[Key], positions: list[int], replies: dict[int, ReplyT]
    ) -> tuple[list[int], dict[int, Future[ReplyT | None]]]:
        """Fill in what is known; the positions that are ours to run, and what others are running."""
        ours: list[int] = []
        theirs: dict[int, Future[ReplyT | None]] = {}
        with self._lock:
            for position in positions:
                key = keys[position]
                kept = self._kept.get(key)
                if kept is not None:
                    self._kept.move_to_end(key)
                    replies[position] = kept
                elif key in self._in_flight:
                    theirs[position] = self._in_flight[key]
                else:
                    self._in_flight[key] = Future()
                    ours.append(position)
        return ours, theirs

    async def _run(
        self,
        keys: Sequence[Key],
        positions: list[int],
        run: Callable[[list[int]], Awaitable[Sequence[ReplyT]]],
        replies: dict[int, ReplyT],
    ) -> None:
        found: dict[int, ReplyT] = {}
        self.num_run += len(positions)
        try:
            found = dict(zip(positions, await run(positions), strict=True))
        finally:
            with self._lock:
                futures = [self._in_flight.pop(keys[position]) for position in positions]
                for position, reply in found.items():
                    if self._is_lasting(reply):
                        self._keep(keys[position], reply)
            for position, future in zip(positions, futures, strict=True):
                future.set_result(found.get(position))
        replies.update(found)

    def _keep(self, key: Key, reply: ReplyT) -> None:
        self._kept[key] = reply
        self._bytes += self._num_bytes(reply)
        while self._bytes > self._max_bytes:
            _, forgotten = self._kept.popitem(last=False)
            self._bytes -= self._num_bytes(forgotten)

    def _num_bytes(self, reply: ReplyT) -> int:
        return _ENTRY_BYTES + self._num_chars(reply)


class ClosableRunner(CodeRunner, Protocol):
    """A code runner that holds processes."""

    def close(self) -> None:
        """End them."""


class ClosableGrader(Grader, Protocol):
    """An answer check that holds processes."""

    def close(self) -> None:
        """End them."""


class RememberingRunner:
    """Implements `rstar_core.protocols.CodeRunner` by another one, which runs only what is new.

    Programs that differ in comment lines alone count as one. A remembered execution carries the seconds of
    the run that it comes from.

    Args:
        runner: Runs what is new, always under the same limits; closed with this one.
        max_bytes: Roughly what remembered executions may take.
    """

    def __init__(self, runner: ClosableRunner, *, max_bytes: int = 64 << 20) -> None:
        self._runner = runner
        self.memo: Memo[Execution] = Memo(
            max_bytes,
            is_lasting=lambda execution: execution.status in _KEPT,
            num_chars=lambda execution: len(execution.stdout) + len(execution.error),
        )

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """Run each candidate after the prefix, or remember what came of it. Raises: SandboxError."""

        def run(positions: list[int]) -> Awaitable[tuple[Execution, ...]]:
            candidates = tuple(request.candidates[position] for position in positions)
            return self._runner.execute(Execute(request.prefix, candidates))

        prefix = without_comments(request.prefix)
        return await self.memo.answer(
            [_key(prefix, without_comments(candidate)) for candidate in request.candidates], run
        )

    def close(self) -> None:
        """End every process of the runner."""
        self._runner.close()


class RememberingGrader:
    """Implements `rstar_core.protocols.Grader` by another one, which compares only new pairs.

    Args:
        grader: Compares what is new; closed with this one.
        max_bytes: Roughly what remembered verdicts may take.
    """

    def __init__(self, grader: ClosableGrader, *, max_bytes: int = 16 << 20) -> None:
        self._grader = grader
        self.memo: Memo[Verdict] = Memo(
            max_bytes,
            is_lasting=lambda verdict: verdict.correct is not None,
            num_chars=lambda verdict: len(verdict.method),
        )

    async def grade(self, request: Grade) -> tuple[Verdict, ...]:
        """Compare each prediction with the reference, or remember what came of it. Raises: GradingError."""

        def run(positions: list[int]) -> Awaitable[tuple[Verdict, ...]]:
            predictions = tuple(request.predictions[position] for position in positions)
            return self._grader.grade(Grade(predictions, request.reference))

        return await self.memo.answer(
            [_key(request.reference, prediction) for prediction in request.predictions], run
        )

    def close(self) -> None:
        """End every process of the answer check."""
        self._grader.close()


def _key(first: str, second: str) -> Key:
    head = first.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(len(head).to_bytes(8, "big") + head)
    digest.update(second.encode("utf-8", "surrogatepass"))
    return digest.digest()
