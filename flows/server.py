"""Prefect's own temporary server: started where no other is set, and gone when this process is gone."""

from __future__ import annotations

import signal
import subprocess
import sys

from rstar_core.errors import ConfigError

_START_SECONDS = 120  # 8 on a quiet machine; Prefect's own limit of 20 is too short for a loaded one

# Waits until the server ends or the pipe from the process that started it closes, which it does however that
# process ends. A handle of the server, unlike its number, never means another process.
_END_WITH_PIPE = """
import os, select, signal, sys
server = os.pidfd_open(int(sys.argv[1]))
ready, _, _ = select.select([server, 0], [], [])
if server not in ready:
    signal.pidfd_send_signal(server, signal.SIGKILL)
"""


def start_temporary_server() -> None:
    """Start Prefect's own temporary server, if no other is set, deaf to Ctrl-C.

    A terminal sends Ctrl-C to every process of the command; without its server Prefect then tries for
    minutes to reach it. The server is stopped when this process ends, by `kill -9` too.

    Raises:
        ConfigError: It does not start.
    """
    from prefect.settings import (  # noqa: PLC0415 - takes a second to import
        PREFECT_API_URL,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    )

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415 - takes two more

    class Server(SubprocessASGIServer):
        """The one server that Prefect keeps for a process, watched from its first moment."""

        def _run_uvicorn_command(self) -> subprocess.Popen[bytes]:
            process = super()._run_uvicorn_command()
            end_with_us(process.pid)
            return process

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a child inherits the mask
    try:
        Server().start(timeout=_START_SECONDS)
    except RuntimeError as error:
        raise ConfigError(f"Prefect's temporary server does not start: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def end_with_us(process_id: int) -> None:
    """Have the process killed when this one ends, even by `kill -9`.

    The kernel's own way (PR_SET_PDEATHSIG) has to be asked for by the child itself, and Prefect starts it.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _END_WITH_PIPE, str(process_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a closed terminal end the command, not its watcher
    )
    _watchers.append(watcher)


_watchers: list[subprocess.Popen[bytes]] = []
"""Their ends of the pipes have to stay open as long as this process lives."""
