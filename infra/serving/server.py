"""One vLLM server of our own: started, watched, started again if it dies or hangs, gone when we are gone."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from infra.serving.environment import Runner, command, environment, find_python
from infra.supervised import stop, supervised
from rstar_core.errors import ConfigError, EngineError, ModelError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rstar_core.engine_config import ServerConfig

T = TypeVar("T")

_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: certificates take 50 ms to read
_POLL_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 2.0
_MAX_DEATHS: Final = 3
_TAIL_LINES: Final = 3
_SHOWN_CHARACTERS: Final = 400
_PREFIX: Final = re.compile(r"^\(\w+ pid=\d+\) (?:ERROR [\d: .-]+\[[^]]*\] ?)?")
_ERROR: Final = re.compile(
    r"^(?:.*\] |\(\w+ pid=\d+\) )?\s*(\w[\w.]*(?:Error|Exception)(?:: .*)?)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Times:
    """How long a server may take, in seconds.

    A server that is busy on a CPU is slow to answer even this: the process that does so also takes prompts
    apart and writes answers, on cores that the model has. So six answers in a row must be missing, each of
    them for ten seconds: one that hangs is ended after two minutes, one that refuses to talk after one.

    Attributes:
        start: Until it answers for the first time; a model of many shards may lie on a cold disk.
        between_checks: From one question whether it is well to the next.
        answer: For the answer to that.
        max_silent: So many answers in a row may be missing, once it has answered; a count.
        grace: To end when it is told to, before it is killed.
        calm: One that was well for so long begins a new count of deaths.
        pause: Before it is started again; twice as long after each death.
    """

    start: float = 1800.0
    between_checks: float = 10.0
    answer: float = 10.0
    max_silent: int = 6
    grace: float = 15.0
    calm: float = 120.0
    pause: float = 2.0


_TIMES: Final = Times()


class ModelServer:
    """A vLLM server on this machine; safe to use from any thread.

    Args:
        model_dir: What it serves.
        name: Name under which it serves it.
        runner: `generate` for a policy, `pooling` for a PPM.
        config: How.
        host: Address to listen at.
        port: Port to listen at; None takes a free one.
        keyed: Whether it wants the key in $VLLM_API_KEY, as one that others ask may.
        times: How long it may take.

    Attributes:
        url: Its address, as a client of an OpenAI-compatible server wants it.
        log: File with what it says.

    Raises:
        ConfigError: vLLM is not installed here, or nothing can listen at that address.
    """

    def __init__(
        self,
        model_dir: Path,
        name: str,
        runner: Runner,
        config: ServerConfig,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        keyed: bool = False,
        times: Times = _TIMES,
    ) -> None:
        self._name, self._times = name, times
        address = (host, _free_port(host, port or 0))
        base = f"http://{_reachable(host)}:{address[1]}"
        self.url, self._health = f"{base}/v1", f"{base}/health"
        self._command = command(find_python(), model_dir, name, runner, address, config)
        self._environment = environment(config, keyed=keyed)
        descriptor, log = tempfile.mkstemp(prefix=f"rstar-vllm-{runner}-", suffix=".log")
        self.log, self._output = Path(log), descriptor
        self._closing, self._starting = threading.Event(), threading.Lock()
        self._failure: str | None = None
        self._ready = False
        self._well: float | None = None  # when it last answered, since it was last started
        self._process = self._start()
        self._watcher = threading.Thread(target=self._watch, name=f"rstar-vllm-{runner}", daemon=True)
        self._watcher.start()

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            ModelError: It ends instead, is closed, or does not answer in half an hour.
        """
        while not (self._ready or self._answers()):
            if self._failure is not None:
                raise ModelError(self._failure)
            if self._closing.is_set():
                raise ModelError(f"vLLM with {self._name} was stopped before it answered")
            time.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Raise EngineError if it has failed too often to be started again."""
        if self._failure is not None:
            raise EngineError(self._failure)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, which asks the server, unless that has failed too often to be started again.

        Work that is left, because of that or because the caller is cancelled, has ended when this returns.

        Raises:
            EngineError: It has.
        """
        task = asyncio.ensure_future(work)
        try:
            while self._failure is None:
                if task in (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                    return task.result()
            raise EngineError(self._failure)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self) -> None:
        """Stop it and everything it has started, first gently. May be called twice."""
        with self._starting:  # no other process takes the place of the one that is stopped
            self._closing.set()
            stop(self._process)
        self._watcher.join()
        with suppress(OSError):  # closed before
            os.close(self._output)
        if self._failure is None:
            self.log.unlink(missing_ok=True)

    def _start(self) -> subprocess.Popen[bytes]:
        self._well = None
        self._log_start = len(self.log.read_text(errors="replace"))
        return subprocess.Popen(
            supervised(self._command, grace_seconds=self._times.grace),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )

    def _watch(self) -> None:
        """Start it again when it ends or hangs; give up if it never answered, or fails again and again."""
        deaths = 0
        while True:
            began = time.monotonic()
            well, hangs = self._until_it_fails()
            silence = f"{time.monotonic() - well:.0f}" if hangs else None
            with self._starting:
                if self._closing.is_set():
                    return
                stop(self._process)
            deaths = 1 if well - began > self._times.calm else deaths + 1
            if not self._ready or deaths > _MAX_DEATHS:
                self._give_up(silence)
                return
            if silence:
                how = f"did not answer for {silence} s and is started again"
            else:
                how = "has ended and is started again"
            logging.getLogger(__name__).warning("vLLM with %s %s", self._name, how)
            self._closing.wait(self._times.pause * 2.0 ** (deaths - 1))
            with self._starting:
                if self._closing.is_set():
                    return
                self._process = self._start()

    def _give_up(self, silence: str | None) -> None:
        keeps = "vLLM keeps hanging with" if silence else "vLLM keeps ending with"
        what = keeps if self._ready else "vLLM does not start with"
        why = f"it did not answer for {silence} s" if silence else self._last_words()
        self._failure = f"{what} {self._name}: {why} (its log is {self.log})"

    def _until_it_fails(self) -> tuple[float, bool]:
        """When it was last well, on the monotonic clock, and whether it hangs; else it has ended."""
        began, num_silent = time.monotonic(), 0
        while not self._has_ended():
            answers = self._answers()
            if self._well is None:  # it is still starting
                if time.monotonic() - began > self._times.start:
                    return began, True
                continue
            num_silent = 0 if answers else num_silent + 1
            if num_silent >= self._times.max_silent:
                return self._well, True
        return self._well or began, False

    def _has_ended(self) -> bool:
        """Whether it ends before the next question whether it is well."""
        try:
            self._process.wait(self._times.between_checks)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _answers(self) -> bool:
        try:
            # What runs on this machine is behind no proxy, whatever $HTTP_PROXY says of the others.
            reply = httpx.get(self._health, timeout=self._times.answer, trust_env=False, verify=_NO_TLS)
        except httpx.HTTPError:
            return False
        if reply.is_success:
            self._ready, self._well = True, time.monotonic()
        return reply.is_success

    def _last_words(self) -> str:
        """The first error in what it has said since it was last started: the others follow from that one."""
        text = self.log.read_text(errors="replace")[self._log_start :]
        found = _ERROR.search(text)
        lines = (
            text[found.start(1) :].splitlines()[:_TAIL_LINES] if found else text.splitlines()[-_TAIL_LINES:]
        )
        said = " ".join(_PREFIX.sub("", line) for line in lines) or "it said nothing"
        return " ".join(said.split())[:_SHOWN_CHARACTERS].rstrip(".")


def _free_port(host: str, port: int) -> int:
    """The port if it is free, and any free one for 0.

    Raises:
        ConfigError: It is taken, or no server can listen at this host.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just ended is no server
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigError(
            f"no server can listen at port {port} of {host} ({error.strerror}); name another port or host"
        ) from error


def _reachable(host: str) -> str:
    """How a client of this machine names the host; one that listens everywhere is named by no address."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{name}]" if ":" in name else name
