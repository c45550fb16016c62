"""One worker: serves one request at a time, each program in a child of its own.

The worker is the trusted side. It runs no program text itself, judges an end by the wait status and the
record, and kills whole process groups, so nothing outlives its deadline or its request.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from infra.sandbox import channels, endings, kernel, program, wire
from infra.sandbox.confinement import Limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from infra.sandbox.confinement import Confinement
    from infra.sandbox.endings import Ending


class BrokenSandboxError(Exception):
    """A child could not confine itself; the message says why."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs programs under one confinement.

    Attributes:
        confinement: What each child puts on.
        image_bytes: Address space of the warm image, which does not count against a program.
    """

    confinement: Confinement
    image_bytes: int

    def serve(self, channel: socket.socket) -> None:
        """Answer requests until the other side closes."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while (request := wire.receive(channel)) is not None:
            limits = Limits(request["seconds"], request["memory"], request["output"])
            answer: dict[str, Any]
            try:
                endings_ = self.run(request["prefix"], request["candidates"], limits)
                answer = {"executions": [ending.as_list() for ending in endings_]}
            except (BrokenSandboxError, OSError) as error:
                answer = {"broken": str(error)}
            wire.send(channel, answer)

    def run(self, prefix: str, candidates: list[str], limits: Limits) -> list[Ending]:
        """Run every candidate after the prefix; share the prefix's state where that is safe."""
        done: list[Ending] = []
        shareable = self.confinement.counts_processes and self.confinement.filters is not None
        if prefix and len(candidates) > 1 and shareable:
            done = self._run_shared(prefix, candidates, limits)
        for candidate in candidates[len(done) :]:
            done.append(self._run_alone(f"{prefix}\n{candidate}" if prefix else candidate, limits))
        return done

    def _run_alone(self, source: str, limits: Limits) -> Ending:
        started = time.monotonic()
        pipes = channels.open_pipes()
        child = self._start(lambda: program.run_alone(source), pipes, limits, may_fork=False)
        life = os.pidfd_open(child)
        try:
            ended = pipes.watch(life, started + limits.seconds, limits.output)
            status, usage = _end_group(child)
        finally:
            os.close(life)
            pipes.close()
        _check_confined(pipes, status)
        cpu = usage.ru_utime + usage.ru_stime
        how = endings.judge(pipes.record(), status, cpu, limits.seconds, timed_out=not ended)
        return endings.Ending(*how, pipes.text(), time.monotonic() - started)

    def _run_shared(self, prefix: str, candidates: list[str], limits: Limits) -> list[Ending]:
        """Endings of the first candidates; those that are missing have to be run alone."""
        started = time.monotonic()
        pipes = channels.open_pipes(shared=True)
        filters = self.confinement.filters
        assert filters is not None  # noqa: S101 - `run` asked
        run = lambda: program.run_shared(prefix, candidates, filters[0])  # noqa: E731
        child = self._start(run, pipes, limits, may_fork=True)
        done: list[Ending] = []
        try:
            ended = pipes.watch(pipes.done, started + limits.seconds, limits.output)
            if ended and pipes.answer() != 0:
                return done  # it is gone; how it goes is for each candidate to show
            spent = time.monotonic() - started
            record = pipes.record()
            if ended and record == (program.ALONE, ""):
                return done
            if record != (program.OK, ""):
                how = endings.judge(record, 0, spent, limits.seconds, timed_out=not ended)
                return [endings.Ending(*how, pipes.text(), spent)] * len(candidates)
            head = pipes.mark()
            for index in range(len(candidates)):
                begun = time.monotonic()
                pipes.go(index)
                ended = pipes.watch(pipes.done, begun + limits.seconds - spent, limits.output)
                status = pipes.answer() if ended else 0
                seconds = spent + time.monotonic() - begun
                if status is None or (record := pipes.record()) == (program.ALONE, ""):
                    return done
                how = endings.judge(record, status, seconds, limits.seconds, timed_out=not ended)
                text = "" if record is not None and record[0] == program.SYNTAX else pipes.text()
                done.append(endings.Ending(*how, text, seconds))
                if not ended:
                    return done
                pipes.rewind(head)
            return done
        finally:
            status, _ = _end_group(child)
            pipes.close()
            _check_confined(pipes, status)

    def _start(
        self, run: Callable[[], NoReturn], pipes: channels.Pipes, limits: Limits, *, may_fork: bool
    ) -> int:
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                pipes.become_child()
                self.confinement.enter(limits, self.image_bytes, may_fork=may_fork)
                os.write(program.REPORT, program.READY)
                run()
            except Exception as error:  # noqa: BLE001 - the parent turns it into BrokenSandboxError
                os.write(program.REPORT, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(1)
        with suppress(OSError):
            os.setpgid(child, child)  # whoever comes first
        pipes.become_parent()
        return child


def _end_group(child: int) -> tuple[int, Any]:
    """Kill what is left of the child's group and reap it; wait status and resource usage of the child."""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-child, 0)
    return status, usage


def _check_confined(pipes: channels.Pipes, status: int) -> None:
    if not pipes.confined and not os.WIFSIGNALED(status):
        raise BrokenSandboxError(f"a program's process could not confine itself: {pipes.fault()}")
