"""An asyncio event loop whose time is virtual: it jumps to the next timer instead of sleeping.

Hours of simulated waiting cost only the work done in them, and a run gives the same times on every machine.
The loop watches no sockets, threads or processes: a coroutine may wait for timers and for other coroutines.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class StalledError(Exception):
    """Every coroutine waits and no timer is set, so nothing can ever happen again."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at time 0 and never sleeps."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._clock.now


def run_virtual(main: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Run `main` on a virtual clock of its own.

    Returns:
        Its result, and the virtual seconds that it took.

    Raises:
        StalledError: It waits for something that no timer will bring about.
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        result = runner.run(main)
        return result, runner.get_loop().time()


class _JumpingSelector(selectors.SelectSelector):
    """The loop asks its selector to sleep until the next timer is due; this one moves the clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StalledError("every coroutine waits and no timer is set")
        self.now += max(timeout, 0.0)
        return []
