"""A warm process that workers are forked from: started when first needed, and again if it dies.

What is slow to import is imported once; a worker then costs a fork, so it can be thrown away whenever it is
in doubt. The warm process imports this project's function `main(descriptor, project, **options)`, greets on
the control socket `descriptor`, and forks one worker for each socket that it is sent.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra import wire

if TYPE_CHECKING:
    from rstar_core.errors import RstarError

_PROJECT: Final = str(Path(__file__).resolve().parents[1])
_START_SECONDS: Final = 120.0
_STARTS: Final = 3
_STOP_SECONDS: Final = 5.0
_ENVIRONMENT: Final = {
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Nursery:
    """Keeps one warm process alive; safe to use from any thread.

    Args:
        module: Where its `main` is.
        name: What it is called in messages, for example "the sandbox".
        error: Raised if it does not start.
        options: Keyword arguments of `main`.
    """

    def __init__(self, module: str, name: str, error: type[RstarError], **options: object) -> None:
        self._module, self._name, self._error, self._options = module, name, error, options
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._greeting: dict[str, Any] = {}
        self._closed = False

    @property
    def process_id(self) -> int | None:
        """Process id of the warm process, None while there is none."""
        return None if self._process is None else self._process.pid

    def greeting(self) -> dict[str, Any]:
        """What the warm process said about itself. Raises: the error of this nursery."""
        with self._lock:
            self._alive()
            return self._greeting

    def new_worker(self) -> socket.socket:
        """A channel to a worker that was just forked. Raises: the error of this nursery."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            try:
                socket.send_fds(self._alive(), [b"w"], [theirs.fileno()])
            except OSError:
                self._stop()
                socket.send_fds(self._alive(), [b"w"], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the warm process and with it every worker."""
        with self._lock:
            self._closed = True
            self._stop()

    def _alive(self) -> socket.socket:
        """The control socket; starts a process if there is none. Call with the lock held."""
        if self._closed:
            raise self._error(f"{self._name.capitalize()} is closed; make a new one.")
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._stop()
        if not sys.platform.startswith("linux"):
            raise self._error(
                f"{self._name.capitalize()} needs Linux, and this is {sys.platform}; use a container."
            )
        for _ in range(_STARTS):
            ours, greeting = self._begin()
            if greeting is not None or self._process is None or self._process.poll() is None:
                break  # it has something to say, or says nothing for too long
            self._stop()  # somebody killed it
        if greeting is None or "fault" in greeting:
            fault = (greeting or {}).get("fault", "it ended or said nothing in time")
            self._stop()
            raise self._error(f"{self._name.capitalize()} does not start under {sys.executable}: {fault}.")
        self._greeting = greeting
        return ours

    def _begin(self) -> tuple[socket.socket, dict[str, Any] | None]:
        """Start a process; its control socket, and what it says of itself, or None if it says nothing."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._start(theirs.fileno())
        self._control = ours
        ours.settimeout(_START_SECONDS)
        try:
            return ours, wire.receive(ours)
        except OSError:
            return ours, None

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        options = "".join(f", {name}={value!r}" for name, value in self._options.items())
        code = (
            f"import sys; sys.path.insert(0, {_PROJECT!r}); from {self._module} import main; "
            f"main({descriptor}, {_PROJECT!r}{options})"
        )
        return subprocess.Popen(
            [sys.executable, "-s", "-P", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            pass_fds=[descriptor],
            start_new_session=True,
        )

    def _stop(self) -> None:
        """End the process if there is one. Call with the lock held."""
        if self._control is not None:
            self._control.close()  # its end of file is the order to stop
            self._control = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
            if self._process.returncode is None:
                self._process.kill()
                self._process.wait()
            self._process = None
