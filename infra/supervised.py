"""A process that ends with us, together with everything that it has started; and the program that sees to it.

Between us and the process stands a supervisor: this file, run as a program of its own. It ends the process
when the pipe from us closes, which it does however we end, by `kill -9` too. It is where orphans go, so that
none escapes by a session of its own, as the workers of torch's launcher have. And it ends as the process did.

Only the standard library is imported: the supervisor sees no other, and is there in a tenth of a second.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECONDS = 0.01
_PARENT = 1  # among the fields of /proc/*/stat after the name, which may hold anything


def supervised(command: list[str], *, grace_seconds: float) -> list[str]:
    """The command under a supervisor.

    Start it with `stdin=PIPE` and `start_new_session=True`: Ctrl-C in a terminal is for us to pass on.

    Args:
        command: What to run; it reads nothing.
        grace_seconds: From SIGTERM to SIGKILL, once it has to end; 0 kills at once.
    """
    return [sys.executable, "-I", "-S", __file__, str(grace_seconds), *command]


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a supervised process and everything that it has started; returns when all are gone."""
    if process.stdin is not None and not process.stdin.closed:
        # Closing is not enough: a process that we have forked meanwhile may hold the pipe open.
        with suppress(OSError):
            os.write(process.stdin.fileno(), b"\n")
        process.stdin.close()
    process.wait()


def _supervise(grace_seconds: float, command: list[str]) -> int:
    """Run the command until it ends or the pipe at our standard input closes; returns how it ended."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - no threads here
    )
    ended = os.pidfd_open(process.pid)
    if ended not in select.select([ended, 0], [], [])[0]:
        if grace_seconds:
            process.terminate()
            select.select([ended], [], [], grace_seconds)
        process.kill()
    returncode = process.wait()
    _kill_orphans()
    return returncode


def _kill_orphans() -> None:
    """Kill whatever the process has left behind. Whoever loses its parent becomes our child, and is next."""
    with suppress(ChildProcessError):  # there is none left
        while True:
            for child in _children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(_PAUSE_SECONDS)


def _children() -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (each / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[_PARENT]) == os.getpid():
                found.append(int(each.name))
    return found


def _end_likewise(returncode: int) -> None:
    """Exit with its code, or by the signal that ended it; the core that it left, if any, is enough."""
    if returncode < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # nothing is set for SIGKILL
            signal.signal(-returncode, signal.SIG_DFL)
        os.kill(os.getpid(), -returncode)
    sys.exit(returncode)


if __name__ == "__main__":
    _end_likewise(_supervise(float(sys.argv[1]), sys.argv[2:]))
