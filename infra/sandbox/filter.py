"""`rstar exec`: runs the program of each input line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from infra.sandbox.streaming import Row, stream_rows, text_field
from rstar_core.requests import Execute

if TYPE_CHECKING:
    from infra.sandbox.sandbox import Sandbox


def run_exec_filter(lines: TextIO, out: TextIO, sandbox: Sandbox) -> None:
    """Answer `{"id", "code", "prefix"?}` with `{"id", "status", "stdout", "error", "seconds"}`, in order.

    Raises: SandboxError if nothing can be run here, SourceError for a line that is no such object.
    """
    sandbox.start()

    def handle(row: Row) -> Row:
        code, prefix = text_field(row, "code"), text_field(row, "prefix", optional=True)
        (execution,) = sandbox.run(Execute(prefix, (code,)))
        return {
            "id": row.get("id"),
            "status": execution.status.value,
            "stdout": execution.stdout,
            "error": execution.error,
            "seconds": round(execution.seconds, 6),
        }

    stream_rows(lines, out, handle, num_workers=sandbox.num_workers)
