"""A code runner that follows a script, for tests of everything above it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rstar_core.types import Execution, ExecutionStatus

if TYPE_CHECKING:
    from rstar_core.requests import Execute

Script = Mapping[str, Execution] | Callable[[str, str], Execution]
"""Either an Execution for each candidate's code, or a function of (prefix, candidate)."""


def printed(text: str, *, seconds: float = 0.0) -> Execution:
    """The execution of a program that ran and printed `text`."""
    return Execution(ExecutionStatus.OK, text, "", seconds)


def failed(error: str, *, stdout: str = "", seconds: float = 0.0) -> Execution:
    """The execution of a program that ended with `error`, the last line of its traceback."""
    return Execution(ExecutionStatus.ERROR, stdout, error, seconds)


class ScriptedRunner:
    """Implements `rstar_core.protocols.CodeRunner` without running anything.

    Attributes:
        requests: Every request so far, in order.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Execute] = []

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """What the script says; a candidate it does not name ends with a NameError."""
        self.requests.append(request)
        return tuple(self._one(request.prefix, candidate) for candidate in request.candidates)

    def _one(self, prefix: str, candidate: str) -> Execution:
        if isinstance(self._script, Mapping):
            return self._script.get(candidate, failed("NameError: the script does not name this candidate"))
        return self._script(prefix, candidate)
