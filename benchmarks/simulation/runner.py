"""A simulated pool of code runners: first come, first served, each program as long as its text says."""

from __future__ import annotations

import asyncio
import heapq
import re
from typing import TYPE_CHECKING

from rstar_core.types import Execution, ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstar_core.requests import Execute

_RUN = re.compile(r"run\(([0-9.]+)\)")
_PRINT = re.compile(r"print\((\w+)\)")


class SimulatedRunner:
    """Implements `rstar_core.protocols.CodeRunner`.

    In a candidate, `run(0.005)` keeps a worker for 5 ms and `print(1)` prints 1, both as literals.
    A program's time is known when it arrives and none overtakes another, so its end is known as well: all
    that is kept is when each worker will be free.
    """

    def __init__(self, num_workers: int = 12) -> None:
        self._free_at = [0.0] * num_workers

    async def run(self, seconds: Iterable[float]) -> None:
        """Run one program of each duration; returns when the last has ended."""
        last = now = asyncio.get_running_loop().time()
        for each in seconds:
            end = max(now, self._free_at[0]) + each
            heapq.heapreplace(self._free_at, end)
            last = max(last, end)
        await asyncio.sleep(last - now)

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """One successful execution a candidate, when the last of them has ended."""
        seconds = [float(_RUN.findall(code)[0]) for code in request.candidates]
        await self.run(seconds)
        return tuple(
            Execution(ExecutionStatus.OK, "\n".join(_PRINT.findall(code)), "", each)
            for code, each in zip(request.candidates, seconds, strict=True)
        )
