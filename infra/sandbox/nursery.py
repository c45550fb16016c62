"""Starts the zygote, asks it for workers, and starts it again if it dies."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.sandbox import wire
from rstar_core.errors import SandboxError

Layer = tuple[str, bool, str]
"""Name, whether it is active, and how or why not."""

_PROJECT: Final = str(Path(__file__).resolve().parents[2])
_START_SECONDS: Final = 120.0
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
_NEEDED: Final = {
    "none": (),
    "rlimits": ("rlimits",),
    "seccomp": ("rlimits", "no_new_privs", "seccomp"),
    "namespaces": ("rlimits", "no_new_privs", "seccomp", "landlock", "namespaces"),
}


def check_isolation(layers: tuple[Layer, ...], minimum: str) -> None:
    """Refuse a host that isolates less than `minimum`. Raises: SandboxError."""
    state = {name: (active, detail) for name, active, detail in layers}
    for name in _NEEDED[minimum]:
        active, detail = state.get(name, (False, "unknown"))
        if not active:
            raise SandboxError(
                f"This host cannot isolate programs as minimum_isolation = {minimum!r} asks, because {name} "
                f"does not work ({detail}); use a host that allows it or lower the setting."
            )


class Nursery:
    """Keeps one zygote alive; safe to use from any thread.

    Args:
        light: Whether it holds the light image.
        namespaces: Whether to use namespaces where the host allows them.
    """

    def __init__(self, *, light: bool = False, namespaces: bool = True) -> None:
        self._light = light
        self._namespaces = namespaces
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._layers: tuple[Layer, ...] = ()
        self._closed = False

    def layers(self) -> tuple[Layer, ...]:
        """The layers that are active on this host. Raises: SandboxError."""
        with self._lock:
            self._alive()
            return self._layers

    def new_worker(self) -> socket.socket:
        """A channel to a worker that was just forked. Raises: SandboxError."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            try:
                socket.send_fds(self._alive(), [b"w"], [theirs.fileno()])
            except OSError:
                self._stop()
                socket.send_fds(self._alive(), [b"w"], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the zygote and with it every worker and program."""
        with self._lock:
            self._closed = True
            self._stop()

    def _alive(self) -> socket.socket:
        """The zygote's control socket; starts one if there is none. Call with the lock held."""
        if self._closed:
            raise SandboxError("The sandbox is closed; make a new one to run programs.")
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._stop()
        if not sys.platform.startswith("linux"):
            raise SandboxError(
                f"The sandbox needs Linux, and this is {sys.platform}; run the factory in a container."
            )
        ours, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path.insert(0, {_PROJECT!r}); from infra.sandbox.zygote import main; "
            f"main({theirs.fileno()}, {_PROJECT!r}, light={self._light}, "
            f"namespaces={self._namespaces})"
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
        self._control = ours
        ours.settimeout(_START_SECONDS)
        try:
            greeting = wire.receive(ours)
        except OSError:
            greeting = None
        if greeting is None or "layers" not in greeting:
            fault = (greeting or {}).get("fault", "it ended or said nothing in time")
            self._stop()
            raise SandboxError(f"The sandbox's zygote did not start under {sys.executable}: {fault}.")
        self._layers = tuple((name, active, detail) for name, active, detail in greeting["layers"])
        return ours

    def _stop(self) -> None:
        """End the zygote if there is one. Call with the lock held."""
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
