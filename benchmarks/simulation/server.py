"""A simulated inference server with continuous batching.

All running sequences gain one token a step, and a step lasts longer the more of them there are. Sequences
enter in the order they came, at the boundary between two steps, as soon as there is a slot. Between two
events (a sequence ends, one enters) all steps are alike, so the server wakes at events only.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rstar_core.requests import Propose
    from rstar_core.types import Completion

_ROUNDING = 1e-6
"""Part of a step by which a time may miss a boundary and still count as on it."""


@dataclass(slots=True)
class _Request:
    num_unfinished: int
    done: asyncio.Future[None]


class BatchServer:
    """Decodes sequences of known lengths; lives on one event loop and takes its time from it.

    Args:
        step_seconds: Fixed part of a decode step.
        step_seconds_per_sequence: What each running sequence adds to it.
        num_slots: Sequences that can run at a time.

    Attributes:
        num_tokens: Tokens of the sequences taken in so far.
        num_sequences: Sequences taken in so far.
        slot_seconds: Running sequences, summed over time.
        most_running: The most sequences that ran at a time.
    """

    def __init__(
        self, *, step_seconds: float = 0.008, step_seconds_per_sequence: float = 5e-5, num_slots: int = 256
    ) -> None:
        self._fixed, self._per_sequence, self._num_slots = step_seconds, step_seconds_per_sequence, num_slots
        self._waiting: deque[tuple[int, _Request]] = deque()
        self._running: list[tuple[int, int, _Request]] = []  # heap of (step it ends at, tie-break, request)
        self._arrivals = count()
        self._step, self._time = 0, 0.0  # the boundary of the last event: its number and when it was
        self._planned_step = 0
        self._wake_up: asyncio.TimerHandle | None = None
        self.num_tokens = self.num_sequences = self.most_running = 0
        self.slot_seconds = 0.0

    def token_bound(self) -> float:
        """Seconds that no schedule can beat: all tokens so far, decoded in full batches."""
        return self.num_tokens * self._step_seconds(self._num_slots) / self._num_slots

    def busy_share(self, seconds: float) -> float:
        """Share of `seconds` times all slots in which a sequence was running."""
        return self.slot_seconds / (seconds * self._num_slots)

    async def generate(self, lengths: Sequence[int]) -> None:
        """Decode one sequence of each length, in tokens of 1 or more; returns when the last has ended."""
        if not lengths:
            return
        request = _Request(len(lengths), asyncio.get_running_loop().create_future())
        self._waiting.extend((length, request) for length in lengths)
        self.num_sequences += len(lengths)
        self.num_tokens += sum(lengths)
        self._notice_arrival()
        await request.done

    def _step_seconds(self, num_running: int) -> float:
        return self._fixed + self._per_sequence * num_running

    def _notice_arrival(self) -> None:
        """Wake at the next boundary, if there is a free slot to fill then."""
        num_running = len(self._running)
        if num_running >= self._num_slots:
            return
        now = asyncio.get_running_loop().time()
        if num_running == 0:
            if self._wake_up is None:
                self._time = now
                self._plan(self._step)
            return
        steps = math.ceil((now - self._time) / self._step_seconds(num_running) - _ROUNDING)
        boundary = self._step + max(steps, 0)
        if boundary < self._planned_step:
            self._plan(boundary)

    def _plan(self, step: int) -> None:
        if self._wake_up is not None:
            self._wake_up.cancel()
        self._planned_step = step
        when = self._time + (step - self._step) * self._step_seconds(len(self._running))
        self._wake_up = asyncio.get_running_loop().call_at(when, self._on_event)

    def _on_event(self) -> None:
        """At a boundary: release the sequences that end here, fill the free slots, plan the next event."""
        self._wake_up = None
        running = self._running
        elapsed = (self._planned_step - self._step) * self._step_seconds(len(running))
        self.slot_seconds += elapsed * len(running)
        self._time += elapsed
        self._step = self._planned_step
        while running and running[0][0] <= self._step:
            request = heapq.heappop(running)[2]
            request.num_unfinished -= 1
            if request.num_unfinished == 0 and not request.done.done():
                request.done.set_result(None)
        while self._waiting and len(running) < self._num_slots:
            length, request = self._waiting.popleft()
            heapq.heappush(running, (self._step + length, next(self._arrivals), request))
        self.most_running = max(self.most_running, len(running))
        if running:
            self._plan(running[0][0])


class SimulatedPolicy:
    """Implements `rstar_core.protocols.Policy`: what a script writes, after the time the server takes.

    Args:
        server: Decodes each candidate as one sequence.
        script: The completions of a request; their `num_tokens` are the lengths.
    """

    def __init__(self, server: BatchServer, script: Callable[[Propose], tuple[Completion, ...]]) -> None:
        self._server, self._script = server, script

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """The script's completions, when the last of them is written."""
        completions = self._script(request)
        await self._server.generate([each.num_tokens for each in completions])
        return completions
