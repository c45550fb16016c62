"""One warm math-verify worker, seen from the side that may kill it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from infra import wire
from rstar_core.errors import GradingError

if TYPE_CHECKING:
    from infra.nursery import Nursery

_START_SECONDS: Final = 60.0
_MAX_COMPARISONS: Final = 1000  # then a fresh one follows, because sympy's caches only grow


class MathVerifyWorker:
    """A fork of the warm process; one thread at a time. Raises: GradingError if it does not start."""

    def __init__(self, nursery: Nursery) -> None:
        self._channel = nursery.new_worker()
        self._channel.settimeout(_START_SECONDS)
        self._comparisons = 0
        try:
            hello = wire.receive(self._channel)
            if hello is None:
                raise ConnectionResetError("it ended at once")
            self._life = os.pidfd_open(hello["process_id"])
        except OSError as error:
            self._channel.close()
            raise GradingError(f"A worker of the answer check does not start: {error}.") from error

    @property
    def is_worn(self) -> bool:
        """Whether it should give way to a fresh one."""
        return self._comparisons >= _MAX_COMPARISONS

    def compare(self, prediction: str, reference: str, *, timeout_seconds: float) -> bool | None:
        """Whether the two are equal; None if the reference cannot be read.

        Raises: TimeoutError at the deadline, OSError if the worker died; it is useless after both.
        """
        self._comparisons += 1
        self._channel.settimeout(timeout_seconds)
        wire.send(self._channel, {"prediction": prediction, "reference": reference})
        answer = wire.receive(self._channel)
        if answer is None:
            raise ConnectionResetError("the worker died")
        correct: bool | None = answer["correct"]
        return correct

    def close(self) -> None:
        """End the worker at once, whatever it is doing."""
        self._channel.close()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._life, signal.SIGKILL)
        os.close(self._life)
