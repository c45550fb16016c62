"""One warm math-verify process, seen from the side that may kill it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from infra.sandbox import wire
from rstar_core.errors import GradingError

_PROJECT: Final = str(Path(__file__).resolve().parents[2])
_START_SECONDS: Final = 120.0
_ENVIRONMENT: Final = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
}


class MathVerifyProcess:
    """Starts when made; one thread at a time. Raises: GradingError if it does not start."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path.insert(0, {_PROJECT!r}); from infra.grading.worker import main; "
            f"main({theirs.fileno()}, {_PROJECT!r})"
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._channel.settimeout(_START_SECONDS)
        try:
            ready = wire.receive(self._channel)
        except OSError:
            ready = None
        if ready is None:
            self.close()
            raise GradingError(
                f"The answer check's process does not start under {sys.executable}; "
                f"see whether `{sys.executable} -c 'import math_verify'` works."
            )

    def compare(self, prediction: str, reference: str, *, timeout_seconds: float) -> bool | None:
        """Whether the two are equal; None if the reference cannot be read.

        Raises: TimeoutError at the deadline, OSError if the process died; it is useless after both.
        """
        self._channel.settimeout(timeout_seconds)
        wire.send(self._channel, {"prediction": prediction, "reference": reference})
        answer = wire.receive(self._channel)
        if answer is None:
            raise ConnectionResetError("the process died")
        correct: bool | None = answer["correct"]
        return correct

    def close(self) -> None:
        """End the process at once."""
        self._channel.close()
        self._process.kill()
        self._process.wait()
