"""The sandbox as the factory sees it: a pool of warm workers that any thread and any event loop may share.

A worker that dies takes only its own request with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from infra import wire
from infra.closing import Closing
from infra.nursery import Nursery
from infra.sandbox import source
from infra.sandbox.floor import check_isolation
from rstar_core.errors import SandboxError
from rstar_core.types import Execution, ExecutionStatus

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from infra.sandbox.floor import Layer
    from rstar_core.config import SandboxConfig
    from rstar_core.requests import Execute

_MAX_LOSSES = 3  # one that died idle, one by accident
_MAX_CHARACTERS = 1 << 22  # a policy's longest step has some ten thousand
_GRACE_SECONDS = 20.0  # beyond all deadlines of a request; only a stuck worker needs it


@dataclass(slots=True)
class _Slot:
    """What may run one program at a time: a worker of each image, born when first needed."""

    workers: dict[bool, socket.socket] = field(default_factory=dict)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


class Sandbox(Closing):
    """Implements `rstar_core.protocols.CodeRunner`; starts with the first request.

    Args:
        config: Limits of one program, number of workers and the isolation below which nothing is run.
        namespaces: Whether to use namespaces where the host allows them; ordinary containers do not.
    """

    def __init__(self, config: SandboxConfig, *, namespaces: bool = True) -> None:
        self._config = config
        self._nursery, self._light_nursery = (
            Nursery("infra.sandbox.zygote", "the sandbox", SandboxError, light=light, namespaces=namespaces)
            for light in (False, True)
        )
        self._lock = threading.Lock()
        self._checked = False
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for _ in range(config.num_workers):
            self._idle.put(_Slot())
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
        executions = _too_long(request)
        slot = self._idle.get()
        try:
            for light, part in _by_image(request, executions):
                frame = self._frame(request.prefix, [request.candidates[position] for position in part])
                executions.update(zip(part, self._ask(slot, frame, light=light), strict=True))
        finally:
            self._idle.put(slot)
        return tuple(executions[position] for position in range(len(request.candidates)))

    def start(self) -> None:
        """Start the zygote; refuse a host that isolates less than configured. Raises: SandboxError."""
        if self._checked:
            return
        with self._lock:
            if not self._checked:
                try:
                    for nursery in (self._nursery, self._light_nursery):
                        check_isolation(_layers(nursery), self._config.minimum_isolation)
                except SandboxError:
                    self._close_nurseries()
                    raise
                self._checked = True

    def probe(self) -> tuple[Layer, ...]:
        """Each layer: its name, whether it is active here, and how or why not. Raises: SandboxError."""
        return _layers(self._nursery)

    def close(self) -> None:
        """End every process; requests in flight come back as killed."""
        self._close_nurseries()
        self._executor.shutdown(wait=True)
        slots = [self._idle.get() for _ in range(self._config.num_workers)]
        for slot in slots:
            slot.close()
            self._idle.put(slot)  # a late request gets as far as the closed nursery, which says so

    def __enter__(self) -> Self:
        self.start()
        return self

    def _close_nurseries(self) -> None:
        for nursery in (self._nursery, self._light_nursery):
            nursery.close()

    def _frame(self, prefix: str, candidates: list[str]) -> dict[str, Any]:
        return {
            "prefix": prefix,
            "candidates": candidates,
            "seconds": self._config.timeout_seconds,
            "memory": self._config.memory_mb << 20,
            "output": self._config.max_output_kb << 10,
        }

    def _ask(self, slot: _Slot, frame: dict[str, Any], *, light: bool) -> tuple[Execution, ...]:
        """Answer of the slot's worker.

        A program cannot end its worker. One that is gone was ended by the host, so a fresh one runs the same
        again; only a program that loses several is called killed.
        """
        started = time.monotonic()
        seconds = (len(frame["candidates"]) + 1) * frame["seconds"] + _GRACE_SECONDS
        for _ in range(_MAX_LOSSES):
            channel = slot.workers.pop(light, None)
            channel = channel or (self._light_nursery if light else self._nursery).new_worker()
            try:
                channel.settimeout(seconds)
                wire.send(channel, frame)
                answer = wire.receive(channel)
            except TimeoutError:
                channel.close()
                break
            except (OSError, ValueError):
                answer = None
            if answer is not None:
                slot.workers[light] = channel
                return _executions(answer, len(frame["candidates"]))
            channel.close()
        lost = ["killed", "the sandbox's worker died", "", time.monotonic() - started]
        return _executions({"executions": [lost] * len(frame["candidates"])}, len(frame["candidates"]))


def _layers(nursery: Nursery) -> tuple[Layer, ...]:
    return tuple((name, active, detail) for name, active, detail in nursery.greeting()["layers"])


def _too_long(request: Execute) -> dict[int, Execution]:
    """Endings of the programs that are not even sent to a worker, by position."""
    sizes = {i: len(request.prefix) + len(candidate) for i, candidate in enumerate(request.candidates)}
    error = "the program has {:,} characters, and programs of more than {:,} are not run"
    return {
        position: Execution(ExecutionStatus.ERROR, "", error.format(size, _MAX_CHARACTERS), 0.0)
        for position, size in sizes.items()
        if size > _MAX_CHARACTERS
    }


def _by_image(request: Execute, refused: Collection[int] = ()) -> list[tuple[bool, list[int]]]:
    """Positions of the candidates that the light image can run, and of those that need the full one."""
    parts: dict[bool, list[int]] = {}
    light = bool(request.prefix) and source.is_light(request.prefix)
    for position, candidate in enumerate(request.candidates):
        if position in refused:
            continue
        fits = source.is_light_part(candidate) if light else source.is_light(candidate) and not request.prefix
        parts.setdefault(fits, []).append(position)
    return list(parts.items())


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
