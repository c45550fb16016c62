"""The process that all programs are forked from, run as `python -c "…; main(descriptor, project, …)"`.

The outer process only leaves the host's namespaces and waits, because the new process ids hold for its
children alone. The inner one warms the image, puts on the layers, and forks one worker for each socket it is
sent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Final, NoReturn

from infra import wire
from infra.sandbox import confinement, image, kernel, program
from infra.sandbox.worker import Worker
from infra.warm import fork_workers

_UNUSED_USERS: Final = 0x70000000  # above every range of users that systemd hands out
_USERS_A_ZYGOTE: Final = 256


def main(descriptor: int, project: str, *, light: bool, namespaces: bool) -> NoReturn:
    """Serve the control socket `descriptor` until its other side closes, with the light or the full image."""
    first_uid = _UNUSED_USERS + os.getpid() * _USERS_A_ZYGOTE
    left = confinement.unshare_namespaces(wanted=namespaces)
    inner = os.fork()
    if inner:
        os.close(descriptor)
        _, status = os.waitpid(inner, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    control = socket.socket(fileno=descriptor)
    try:
        os.chdir("/")
        sys.path[:] = [each for each in sys.path if each != project]  # an editable install names it again
        sys.argv[:] = [""]
        image.warm(light=light)
        size = confinement.image_bytes()
        own, layers = confinement.put_on(left, first_uid, size)
        _hide_project()
        wire.send(control, {"layers": layers})
        worker = Worker(own, size, program.open_output())
        fork_workers(control, lambda channel, number: _as_user(worker, number).serve(channel))
    except Exception as error:  # noqa: BLE001 - the other side turns it into a SandboxError
        with suppress(OSError):
            wire.send(control, {"fault": f"{type(error).__name__}: {error}"})
    os._exit(0)


def _hide_project() -> None:
    """Leave no module of the project for programs to import; what runs here has all it needs in hand."""
    for name in [each for each in sys.modules if each.partition(".")[0] in {"infra", "rstar_core"}]:
        del sys.modules[name]


def _as_user(worker: Worker, number: int) -> Worker:
    """The worker under a user of its own where there are some: processes are counted for each user."""
    own = worker.confinement
    if own.uid is None or own.uid == confinement.NOBODY:
        return worker
    return replace(worker, confinement=replace(own, uid=own.uid + number % _USERS_A_ZYGOTE))
