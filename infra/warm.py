"""The inside of a nursery's warm process: forks one worker for each socket that it is sent."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

from infra.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Callable


def fork_workers(control: socket.socket, serve: Callable[[socket.socket, int], None]) -> None:
    """Call `serve(channel, number)` in a fork for each descriptor, until the other side closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers and orphans are reaped by the kernel
    number = 0
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            return
        number += 1
        if kernel.fork() == 0:  # os.fork would have each worker begin with other random numbers
            control.close()
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            serve(socket.socket(fileno=descriptors[0]), number)
            os._exit(0)
        os.close(descriptors[0])
