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

from infra import wire
from infra.sandbox import channels, endings, kernel, program
from infra.sandbox.confinement import Limits

if TYPE_CHECKING:
    import io
    import socket
    from collections.abc import Callable

    from infra.sandbox.confinement import Confinement
    from infra.sandbox.endings import Ending


class BrokenSandboxError(Exception):
    """A child could not confine itself; the message says why."""


@dataclass(slots=True)
class _Group:
    """A child and everything it may have forked."""

    leader: int
    _ending: tuple[int, Any] | None = None

    def end(self) -> tuple[int, Any]:
        """Kill what is left of the group and reap it; wait status and resource usage of the leader."""
        if self._ending is None:
            with suppress(ProcessLookupError):
                os.killpg(self.leader, signal.SIGKILL)
            self._ending = os.wait4(self.leader, 0)[1:]
            with suppress(ChildProcessError):
                while True:
                    os.waitpid(-self.leader, 0)
        return self._ending


@dataclass(frozen=True, slots=True)
class Worker:
    """Runs programs under one confinement.

    Attributes:
        confinement: What each child puts on.
        image_bytes: Address space of the warm image, which does not count against a program.
        output: What a program prints to; each child puts a pipe of its own under it.
    """

    confinement: Confinement
    image_bytes: int
    output: io.TextIOWrapper

    def serve(self, channel: socket.socket) -> None:
        """Answer requests until the other side closes."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        settled = False
        while (request := wire.receive(channel)) is not None:
            limits = Limits(request["seconds"], request["memory"], request["output"])
            answer: dict[str, Any]
            try:
                if not settled:
                    self._settle()
                    settled = True
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

    def _settle(self) -> None:
        try:
            self.confinement.settle()
        except (OSError, ValueError) as error:
            raise BrokenSandboxError(f"a worker could not limit itself: {error}") from error

    def _run_alone(self, source: str, limits: Limits) -> Ending:
        started = time.monotonic()
        pipes = channels.open_pipes()
        group = _Group(
            self._start(
                lambda: program.run_alone(source, self.output, pipes.seal), pipes, limits, may_fork=False
            )
        )
        life = os.pidfd_open(group.leader)
        try:
            ended = pipes.watch(life, started + limits.seconds, limits.output)
            status, usage = group.end()
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
        run = lambda: program.run_shared(prefix, candidates, self.output, filters[2], pipes.seal)  # noqa: E731
        group = _Group(self._start(run, pipes, limits, may_fork=True))
        life = os.pidfd_open(group.leader)
        done: list[Ending] = []
        try:
            ended = pipes.watch(pipes.done, started + limits.seconds, limits.output)
            if not ended or pipes.answer() != 0 or pipes.record() != (program.OK, ""):
                return done  # how it ends is for each candidate to show: one that is no Python never begins
            spent = time.monotonic() - started
            head = pipes.mark()
            for index in range(len(candidates)):
                begun = time.monotonic()
                last = index == len(candidates) - 1  # for which the prefix's process goes on as the program
                pipes.go(index)
                deadline = begun + limits.seconds - spent
                ended = pipes.watch(life if last else pipes.done, deadline, limits.output)
                own = group.end()[0] if last else None
                status = pipes.answer() if ended else 0
                if status is not None and own is not None:
                    status = own  # it said that it began; how it ended is the kernel's word
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
            status, _ = group.end()
            os.close(life)
            pipes.close()
            _check_confined(pipes, status)

    def _start(
        self, run: Callable[[], NoReturn], pipes: channels.Pipes, limits: Limits, *, may_fork: bool
    ) -> int:
        child = kernel.fork()
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


def _check_confined(pipes: channels.Pipes, status: int) -> None:
    if not pipes.confined and not os.WIFSIGNALED(status):
        raise BrokenSandboxError(f"a program's process could not confine itself: {pipes.fault()}")
