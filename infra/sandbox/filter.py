"""`rstar exec`: runs the program of each input line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from infra.streaming import Row, stream_rows, text_field
from rstar_core.requests import Execute
from rstar_core.types import Execution, ExecutionStatus

if TYPE_CHECKING:
    from infra.sandbox.sandbox import Sandbox


def run_exec_filter(lines: TextIO, out: TextIO, sandbox: Sandbox) -> None:
    """Answer `{"id", "code", "prefix"?}` with `{"id", "status", "stdout", "error", "seconds"}`, in order.

    Raises: SandboxError if nothing can be run here, SourceError if a line was no such object, after all lines
    were answered.
    """
    sandbox.start()

    def handle(row: Row) -> Row:
        code, prefix = text_field(row, "code"), text_field(row, "prefix", optional=True)
        (execution,) = sandbox.run(Execute(prefix, (code,)))
        return _answer(row.get("id"), execution)

    def refuse(identity: Any, reason: str) -> Row:  # noqa: ANN401 - any JSON value
        return _answer(identity, Execution(ExecutionStatus.ERROR, "", reason, 0.0))

    stream_rows(lines, out, handle, refuse, num_workers=sandbox.num_workers)


def _answer(identity: Any, execution: Execution) -> Row:  # noqa: ANN401 - as above
    return {
        "id": identity,
        "status": execution.status.value,
        "stdout": execution.stdout,
        "error": execution.error,
        "seconds": round(execution.seconds, 6),
    }
