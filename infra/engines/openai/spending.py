"""Counters of a policy on servers: requests, tokens, money, and the cap on the money.

What a request may cost at most is set aside before it is sent, so what is in flight exceeds no cap.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from infra.engines.base import EngineStats
from rstar_core.errors import EngineStoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reply says that it took.

    Attributes:
        prompt_tokens: All tokens of the prompt.
        cached_tokens: Those of them that came from the server's prefix cache.
        generated_tokens: Tokens sampled, of all candidates together.
        is_told: Whether the reply counts prompt and generated tokens at all.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    is_told: bool = False

    @classmethod
    def of(cls, content: Any) -> Usage:  # noqa: ANN401 - any JSON
        """What the body of a reply says, `UNKNOWN` if that cannot be read."""
        try:
            told = content["usage"]
            details = told.get("prompt_tokens_details") or {}
            return cls(
                prompt_tokens=max(0, int(told.get("prompt_tokens") or 0)),
                cached_tokens=max(0, int(details.get("cached_tokens") or 0)),
                generated_tokens=max(0, int(told.get("completion_tokens") or 0)),
                is_told={"prompt_tokens", "completion_tokens"} <= told.keys(),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return UNKNOWN


UNKNOWN: Final = Usage()
"""Of a request that a server may have worked on without our hearing how much."""
NOTHING: Final = Usage(is_told=True)
"""Of a request that no server has worked on."""


class Spending:
    """Counts for all threads, and sends nothing more once the cap leaves no room for another request.

    Args:
        input_price: Price of a prompt token.
        output_price: Price of a generated token.
        cap: Most that may be spent; None sets no limit.
        spent: What counts towards the cap from before.
    """

    def __init__(
        self,
        *,
        input_price: float = 0.0,
        output_price: float = 0.0,
        cap: float | None = None,
        spent: float = 0.0,
    ) -> None:
        self._input, self._output, self._cap, self._spent = input_price, output_price, cap, spent
        self._lock = threading.Lock()
        self._stats = EngineStats()
        self._reserved, self._num_reserved = 0.0, 0
        self._stopped: str | None = None
        self._in_flight = 0
        self._busy_since = 0.0

    @property
    def stats(self) -> EngineStats:
        """Counters since the start."""
        return self._stats

    def price(self, prompt_tokens: int, generated_tokens: int) -> float:
        """Price of so many tokens."""
        return prompt_tokens * self._input + generated_tokens * self._output

    def reserve(self, amount: float) -> bool:
        """Set aside what a request may cost; False if that has to wait for what others leave of theirs.

        Raises:
            EngineStoppedError: The cap has no room for it and nobody holds anything back. From then on it is
                raised for every request; what is done stays, and a higher cap goes on from there.
        """
        with self._lock:
            if self._stopped is None:
                spent = self._spent + self._stats.cost
                if self._cap is None or spent + self._reserved + amount <= self._cap:
                    self._reserved += amount
                    self._num_reserved += 1
                    return True
                if self._num_reserved:
                    return False
                self._stopped = (
                    f"the campaign has cost {_money(spent)}, another request may cost {_money(amount)}, "
                    f"and spending_cap is {_money(self._cap)}; raise it and run the same "
                    f"command again to go on from here"
                )
            raise EngineStoppedError(self._stopped)

    def settle(self, reserved: float, usage: Usage) -> None:
        """A request has ended: what it took is counted, or all that was set aside where nobody knows."""
        with self._lock:
            self._num_reserved -= 1
            self._reserved = self._reserved - reserved if self._num_reserved else 0.0
            old = self._stats
            self._stats = replace(
                old,
                generated_tokens=old.generated_tokens + usage.generated_tokens,
                prompt_tokens=old.prompt_tokens + usage.prompt_tokens - usage.cached_tokens,
                reused_tokens=old.reused_tokens + usage.cached_tokens,
                cost=old.cost
                + (self.price(usage.prompt_tokens, usage.generated_tokens) if usage.is_told else reserved),
            )

    def stop(self, reason: str) -> EngineStoppedError:
        """Send no more requests for this reason, one sentence; returns the error for the one at hand."""
        with self._lock:
            self._stopped = self._stopped or reason
            return EngineStoppedError(reason)

    def check_told(self, usage: Usage, where: str) -> None:
        """Make sure that a cap can be kept; `where` is the server.

        Raises:
            EngineStoppedError: There is a cap, and the reply does not say what it took.
        """
        if self._cap is not None and not usage.is_told:
            raise self.stop(
                f"the server at {where} does not say how many tokens a reply took, so no spending_cap can be "
                f"kept; remove the setting or ask a server that counts"
            )

    @contextmanager
    def in_flight(self, *, again: bool) -> Iterator[None]:
        """A request is on its way meanwhile; `again` if it is one that failed before."""
        with self._lock:
            if self._in_flight == 0:
                self._busy_since = time.perf_counter()
            self._in_flight += 1
            old = self._stats
            self._stats = replace(old, requests=old.requests + 1, retries=old.retries + again)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                if self._in_flight == 0:
                    busy = self._stats.busy_seconds + time.perf_counter() - self._busy_since
                    self._stats = replace(self._stats, busy_seconds=busy)


def _money(amount: float) -> str:
    """Two decimals, or as many as a small amount needs to be seen."""
    return f"{amount:.2f}" if amount >= 0.1 or amount == 0 else f"{amount:.2g}"
