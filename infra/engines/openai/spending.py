"""Counters of a policy on servers: requests, tokens, money, and the cap on the money."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from infra.engines.base import EngineStats
from rstar_core.errors import EngineStoppedError


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reply says that it took.

    Attributes:
        prompt_tokens: All tokens of the prompt.
        cached_tokens: Those of them that came from the server's prefix cache.
        generated_tokens: Tokens sampled, of all candidates together.
        is_told: Whether the reply counts tokens at all.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    is_told: bool = False


class Spending:
    """Counts for all threads, and stops before the next request once the cap is reached.

    Args:
        input_price: Price of a prompt token.
        output_price: Price of a generated token.
        cap: Most that may be spent; None sets no limit.
    """

    def __init__(
        self, *, input_price: float = 0.0, output_price: float = 0.0, cap: float | None = None
    ) -> None:
        self._input, self._output, self._cap = input_price, output_price, cap
        self._lock = threading.Lock()
        self._stats = EngineStats()
        self._in_flight = 0
        self._busy_since = 0.0

    @property
    def stats(self) -> EngineStats:
        """Counters since the start."""
        return self._stats

    def check(self) -> None:
        """Refuse to go on once the cap is reached.

        Raises:
            EngineStoppedError: It is; what is done so far stays, and a higher cap goes on from there.
        """
        cost = self._stats.cost
        if self._cap is not None and cost >= self._cap:
            raise EngineStoppedError(
                f"the policy server has cost {cost:.2f} in this run, and spending_cap is {self._cap:.2f}; "
                f"raise it and run the same command again to go on from here"
            )

    def begin(self, *, again: bool) -> None:
        """A request leaves; `again` if it is one that failed before."""
        with self._lock:
            if self._in_flight == 0:
                self._busy_since = time.perf_counter()
            self._in_flight += 1
            old = self._stats
            self._stats = replace(old, requests=old.requests + 1, retries=old.retries + again)

    def end(self) -> None:
        """A request came back, or never will."""
        with self._lock:
            self._in_flight -= 1
            if self._in_flight == 0:
                busy = self._stats.busy_seconds + time.perf_counter() - self._busy_since
                self._stats = replace(self._stats, busy_seconds=busy)

    def add(self, usage: Usage, url: str) -> None:
        """Count what a reply took.

        Raises:
            EngineStoppedError: There is a cap, and the reply does not say what it took.
        """
        if self._cap is not None and not usage.is_told:
            raise EngineStoppedError(
                f"the server at {url} does not say how many tokens a reply took, so no spending_cap can be "
                f"kept; remove the setting or ask a server that counts"
            )
        cost = usage.prompt_tokens * self._input + usage.generated_tokens * self._output
        with self._lock:
            old = self._stats
            self._stats = replace(
                old,
                generated_tokens=old.generated_tokens + usage.generated_tokens,
                prompt_tokens=old.prompt_tokens + usage.prompt_tokens - usage.cached_tokens,
                reused_tokens=old.reused_tokens + usage.cached_tokens,
                cost=old.cost + cost,
            )
