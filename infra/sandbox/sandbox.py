"""The sandbox as the factory sees it: a pool of warm workers that any thread and any event loop may share.

A worker that dies takes only its own request with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from infra.sandbox import wire
from infra.sandbox.nursery import Nursery, check_isolation
from rstar_core.errors import SandboxError
from rstar_core.types import Execution, ExecutionStatus

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from infra.sandbox.nursery import Layer
    from rstar_core.config import SandboxConfig
    from rstar_core.requests import Execute

_GRACE_SECONDS = 20.0  # beyond all deadlines of a request; only a stuck worker needs it


class Sandbox:
    """Implements `rstar_core.protocols.CodeRunner`; starts with the first request.

    Args:
        config: Limits of one program, number of workers and the isolation below which nothing is run.
    """

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._nursery = Nursery()
        self._lock = threading.Lock()
        self._checked = False
        self._idle: queue.LifoQueue[socket.socket | None] = queue.LifoQueue()
        for _ in range(config.num_workers):
            self._idle.put(None)  # a worker that is not born yet
        self._executor = ThreadPoolExecutor(config.num_workers, thread_name_prefix="sandbox")

    @property
    def num_workers(self) -> int:
        """Programs at a time."""
        return self._config.num_workers

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """Run each candidate after the prefix, each in a clean interpreter state. Raises: SandboxError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.run, request)

    def run(self, request: Execute) -> tuple[Execution, ...]:
        """The same without an event loop; blocks while all workers are busy. Raises: SandboxError."""
        self.start()
        if not request.candidates:
            return ()
        worker = self._idle.get()
        try:
            worker, answer = self._ask(worker, self._frame(request))
        except BaseException:
            self._idle.put(None)
            raise
        self._idle.put(worker)
        return _executions(answer, len(request.candidates))

    def start(self) -> None:
        """Start the zygote; refuse a host that isolates less than configured. Raises: SandboxError."""
        if self._checked:
            return
        with self._lock:
            if not self._checked:
                try:
                    check_isolation(self._nursery.layers(), self._config.minimum_isolation)
                except SandboxError:
                    self._nursery.close()
                    raise
                self._checked = True

    def probe(self) -> tuple[Layer, ...]:
        """Each layer: its name, whether it is active here, and how or why not. Raises: SandboxError."""
        return self._nursery.layers()

    def close(self) -> None:
        """End every process; requests in flight come back as killed."""
        self._nursery.close()
        self._executor.shutdown(wait=True)
        workers = [self._idle.get() for _ in range(self._config.num_workers)]
        for worker in workers:
            if worker is not None:
                worker.close()
            self._idle.put(None)  # a late request gets as far as the closed nursery, which says so

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _frame(self, request: Execute) -> dict[str, Any]:
        return {
            "prefix": request.prefix,
            "candidates": list(request.candidates),
            "seconds": self._config.timeout_seconds,
            "memory": self._config.memory_mb << 20,
            "output": self._config.max_output_kb << 10,
        }

    def _ask(
        self, worker: socket.socket | None, frame: dict[str, Any]
    ) -> tuple[socket.socket | None, dict[str, Any]]:
        """Answer of a worker, and the worker if it lives. One that died before the request is replaced."""
        started = time.monotonic()
        while True:
            fresh = worker is None
            channel = self._nursery.new_worker() if worker is None else worker
            channel.settimeout((len(frame["candidates"]) + 1) * frame["seconds"] + _GRACE_SECONDS)
            try:
                wire.send(channel, frame)
            except OSError as error:
                channel.close()
                if fresh:
                    raise SandboxError(f"the sandbox's worker refuses its first request: {error}.") from error
                worker = None
                continue
            try:
                answer = wire.receive(channel)
            except (OSError, ValueError):
                answer = None
            if answer is not None:
                return channel, answer
            channel.close()
            lost = ["killed", "the sandbox's worker died", "", time.monotonic() - started]
            return None, {"executions": [lost] * len(frame["candidates"])}


def _executions(answer: dict[str, Any], expected: int) -> tuple[Execution, ...]:
    if "broken" in answer:
        raise SandboxError(f"The sandbox cannot run programs: {answer['broken']}.")
    executions = tuple(
        Execution(ExecutionStatus(status), stdout, error, seconds)
        for status, error, stdout, seconds in answer["executions"]
    )
    if len(executions) != expected:
        raise SandboxError(
            f"The sandbox answered {len(executions)} of {expected} programs; this is a fault in it."
        )
    return executions
