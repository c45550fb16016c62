"""`rstar up`: Prefect's server with its UI, workers and deployments on this machine, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import httpx
import psutil
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.deployments import POOLS, set_up
from flows.server import end_with_us
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rstar_core.config import CampaignConfig

_START_SECONDS = 120
_STOP_SECONDS = 10
_POLL_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 30.0
_CALM_SECONDS = 60.0
_PREFECT = (sys.executable, "-m", "prefect")
_ENVIRONMENT = {
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
}


@dataclass
class Child:
    """A process that is started again whenever it ends.

    Attributes:
        name: For people.
        command: What is run.
        log: Where its output goes.
        environment: Beside this process's own.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    _output: BinaryIO | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, away from this terminal's Ctrl-C, and have it end with this process."""
        if self._output is None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._output = self.log.open("ab")
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )
        self.started = time.monotonic()
        end_with_us(self.process.pid)

    def process_of(self) -> psutil.Process:
        """The process, for whoever measures it. Raises: psutil.NoSuchProcess: It is not running."""
        if self.process is None:
            raise psutil.NoSuchProcess(0)
        return psutil.Process(self.process.pid)

    def look_after(self) -> None:
        """Start it again if it has ended, at growing intervals while it keeps ending."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if now - self.started > _CALM_SECONDS:
            self.failures = 0
        if now - self.started < min(2.0**self.failures - 1, _MAX_PAUSE_SECONDS):
            return
        self.failures = min(self.failures + 1, 10)
        print(f"{self.name} ended ({_how(self.process.returncode)}) and is started again; see {self.log}")
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def up(configs: Sequence[CampaignConfig], limits: Mapping[str, int], host: str, port: int) -> None:
    """Run server and workers until Ctrl-C; a server that is there already is used.

    Raises:
        ConfigError: The server does not start.
    """
    logs = PREFECT_HOME.value() / "rstar"
    url = PREFECT_API_URL.value() or f"http://{host}:{port}/api"
    children: list[Child] = []
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        if not answers(url):
            command = (*_PREFECT, "server", "start", "--host", host, "--port", str(port))
            children.append(_server(command, logs, url))
        with temporary_settings({PREFECT_API_URL: url}):
            deployments = set_up(configs, limits)
        for pool in POOLS:
            command = (*_PREFECT, "worker", "start", "--pool", pool, "--type", "process")
            environment = {**_ENVIRONMENT, "PREFECT_API_URL": url}
            worker = Child(f"the worker of pool {pool}", command, logs / f"worker-{pool}.log", environment)
            worker.start()
            children.append(worker)
        _say_where(url, deployments, logs)
        while True:
            time.sleep(_POLL_SECONDS)
            for each in children:
                each.look_after()
    except KeyboardInterrupt:
        print("stopping; the same command starts it again, and what ran goes on with `rstar run` or a retry")
    finally:
        stop(children)


def stop(children: Sequence[Child]) -> None:
    """All at once: a grace time for all of them together, then hard."""
    for each in children:
        each.signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for each in children:
        if each.process is not None:
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(max(0.0, deadline - time.monotonic()))
        each.signal(signal.SIGKILL)


def answers(url: str) -> bool:
    """Whether a Prefect server is there."""
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _server(command: Sequence[str], logs: Path, url: str) -> Child:
    environment = {**_ENVIRONMENT, "PREFECT_UI_API_URL": url}
    server = Child("Prefect's server", command, logs / "server.log", environment)
    print("starting Prefect's server …", flush=True)
    server.start()
    deadline = time.monotonic() + _START_SECONDS
    while not answers(url):
        ended = server.process is None or server.process.poll() is not None
        if ended or time.monotonic() > deadline:
            stop([server])
            why = "it ended" if ended else f"no answer in {_START_SECONDS} s"
            raise ConfigError(f"Prefect's server does not start at {url} ({why}); see {server.log}")
        time.sleep(_POLL_SECONDS)
    return server


def _say_where(url: str, deployments: Sequence[str], logs: Path) -> None:
    ui = url.removesuffix("/api")
    example = next((name for name in reversed(deployments) if name.startswith("round/")), deployments[0])
    print(f"the UI is at {ui}, the API at {url}")
    print(f"{len(deployments)} deployments: {', '.join(deployments)}")
    print(f"run one in the UI, or type: PREFECT_API_URL={url} prefect deployment run {example}")
    print(f"logs are in {logs}; Ctrl-C stops everything", flush=True)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
