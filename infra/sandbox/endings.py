"""How a program ended, judged from its wait status and its own record.

The wait status is the kernel's word; the record is the program's. A program is OK only when both say so.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from infra.sandbox import program

Judgement = tuple[str, str]
"""A value of `ExecutionStatus` and the reason."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What the worker answers about one program; the fields of `Execution` in another order."""

    status: str
    error: str
    stdout: str
    seconds: float

    def as_list(self) -> list[str | float]:
        """The fields in order, for the wire."""
        return [self.status, self.error, self.stdout, self.seconds]


def judge(
    record: program.Record | None, status: int, cpu_seconds: float, limit: float, *, timed_out: bool
) -> Judgement:
    """Say how a program ended.

    Args:
        record: What the program reported about its end, None if nothing readable.
        status: Wait status.
        cpu_seconds: Processor time it used, or an upper bound.
        limit: Its limit in seconds.
        timed_out: Whether it was stopped at its deadline.
    """
    if timed_out:
        return "timeout", f"stopped after {limit:g} s"
    if os.WIFSIGNALED(status):
        return _judge_signal(os.WTERMSIG(status), cpu_seconds, limit)
    if record is not None and record[0] == program.SYNTAX:
        return "error", record[1]
    if record is None or record[0] not in {program.OK, program.ERROR, program.MEMORY}:
        return "error", f"left with exit code {os.waitstatus_to_exitcode(status)} before its end"
    return record


def _judge_signal(number: int, cpu_seconds: float, limit: float) -> Judgement:
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds > limit):
        return "timeout", f"used more than {limit:g} s of processor time"
    if number == signal.SIGKILL:  # a program cannot send it, so it came from the kernel
        return "memory", "killed by the kernel for memory"
    name = signal.Signals(number).name
    return "killed", f"killed by {name}" + (" for a forbidden system call" if name == "SIGSYS" else "")
