"""The limits of a shard: how long it may take, and how long nothing at all may come from its services."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from rstar_core.errors import ShardTimeoutError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Pulse:
    """Watches one attempt at a shard.

    Args:
        shard: Its id, for the error.
        timeout_seconds: Limit of the whole attempt.
        stall_seconds: Limit of the time between two replies.
    """

    def __init__(self, shard: str, *, timeout_seconds: float, stall_seconds: float) -> None:
        self._shard, self._timeout, self._stall = shard, timeout_seconds, stall_seconds
        self._started = self._last = time.monotonic()  # a clock that nobody sets

    def beat(self) -> None:
        """Something came back."""
        self._last = time.monotonic()

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work within the limits; beyond them it is cancelled.

        Raises:
            ShardTimeoutError: A limit was reached. The replies until then are in the shard's log.
        """
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                now = time.monotonic()
                left = min(self._started + self._timeout, self._last + self._stall) - now
                if left <= 0:
                    raise self._error(now)
                await asyncio.wait({task}, timeout=left)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _error(self, now: float) -> ShardTimeoutError:
        if now - self._last >= self._stall:
            return ShardTimeoutError(
                f"nothing came back to shard {self._shard} for {self._stall:g} s (shard_stall_seconds); "
                f"look whether the policy server and the sandbox still answer"
            )
        return ShardTimeoutError(
            f"shard {self._shard} took more than {self._timeout:g} s (shard_timeout_seconds); "
            f"a retry goes on from its log"
        )
