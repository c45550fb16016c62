"""JSON lines in, JSON lines out: in order, in parallel, in bounded memory, without waiting for the end."""

from __future__ import annotations

import json
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TextIO

from rstar_core.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

Row = dict[str, Any]

_WAITING_PER_WORKER = 4


def stream_rows(lines: TextIO, out: TextIO, handle: Callable[[Row], Row], *, num_workers: int) -> None:
    """Write `handle(row)` for each row as soon as it and all before it are known.

    Args:
        lines: One JSON object a line; empty lines are skipped.
        out: Gets one JSON object a line and is flushed after each.
        handle: Called in worker threads.
        num_workers: Calls at a time; a few times as many rows are held in memory.

    Raises: SourceError for a line that is no JSON object, after everything before it was answered; whatever
    `handle` raises.
    """
    answers: queue.Queue[Future[Row] | None] = queue.Queue(_WAITING_PER_WORKER * num_workers)
    failure: list[BaseException] = []
    writer = threading.Thread(target=_write, args=(answers, out, failure), name="rows")
    writer.start()
    try:
        with ThreadPoolExecutor(num_workers, thread_name_prefix="rows") as pool:
            for number, line in enumerate(lines, start=1):
                if failure:
                    break
                if line.strip():
                    answers.put(pool.submit(handle, _parse(line, number)))
    finally:
        answers.put(None)
        writer.join()
    if failure:
        raise failure[0]


def text_field(row: Row, name: str, *, optional: bool = False) -> str:
    """A string of a row. Raises: SourceError."""
    value = row.get(name)
    if isinstance(value, str):
        return value
    if optional and value is None:
        return ""
    raise SourceError(f"Input row {row.get('id')!r} has no string in its field {name!r}; add one.")


def _parse(line: str, number: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SourceError(
            f"Line {number} of the input is not JSON ({error}); write one JSON object a line."
        ) from error
    if not isinstance(row, dict):
        raise SourceError(f"Line {number} of the input is not a JSON object; write one JSON object a line.")
    return row


def _write(answers: queue.Queue[Future[Row] | None], out: TextIO, failure: list[BaseException]) -> None:
    """Write answers in order; after a failure only empty the queue, so that the reader never waits."""
    while (answer := answers.get()) is not None:
        if failure:
            answer.cancel()
            continue
        try:
            out.write(json.dumps(answer.result(), ensure_ascii=False) + "\n")
            out.flush()
        except BaseException as error:  # noqa: BLE001 - handed to the reader's thread, which raises it
            failure.append(error)
