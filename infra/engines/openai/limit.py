"""How many requests one server gets at a time: more while it copes, fewer when it says that it does not."""

from __future__ import annotations

_CUT = 0.7
"""Gentler than TCP's half: the work is long, and what was cut comes back by one request a round trip."""


class AdaptiveLimit:
    """Additive increase, multiplicative decrease, between 1 and `most`.

    Not thread-safe: its owner holds a lock.

    Args:
        most: Upper bound, and where it starts.
    """

    def __init__(self, most: int) -> None:
        self._most = self._value = float(most)
        self._last_cut = float("-inf")

    @property
    def value(self) -> int:
        """Requests that may be in flight now."""
        return int(self._value)

    def went_well(self, in_flight: int) -> None:
        """A request was answered while `in_flight` were on their way, itself included."""
        if in_flight >= self.value:  # a limit that nobody reaches tells nothing about the server
            self._value = min(self._most, self._value + 1 / self._value)

    def was_too_much(self, sent_at: float, now: float) -> None:
        """A request that was sent at `sent_at` was too much for the server (both in seconds of one clock).

        What was sent before the last cut says nothing about the limit since then.
        """
        if sent_at >= self._last_cut:
            self._value = max(1.0, self._value * _CUT)
            self._last_cut = now
