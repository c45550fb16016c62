"""JSON lines in, JSON lines out: in order, in parallel, in bounded memory, without waiting for the end.

Every line gets its answer. One that cannot be read is refused in its own, the others go on, and the first
such line is named at the end.
"""

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


def stream_rows(
    lines: TextIO,
    out: TextIO,
    handle: Callable[[Row], Row],
    refuse: Callable[[Any, str], Row],
    *,
    num_workers: int,
) -> None:
    """Write an answer for each line as soon as it and all before it are known.

    Args:
        lines: One JSON object a line; empty lines are skipped.
        out: Gets one JSON object a line and is flushed after each.
        handle: Answers a row; called in worker threads; raises SourceError, to be read after "Line 3 of the
            input", for a row that it cannot use.
        refuse: Makes the answer to an unusable line of its id, as far as it is known, and the reason.
        num_workers: Calls at a time; a few times as many rows are held in memory.

    Raises: SourceError for the first unusable line, after all were answered; whatever else `handle` raises.
    """
    answers: queue.Queue[Future[tuple[Row, str]] | None] = queue.Queue(_WAITING_PER_WORKER * num_workers)
    failure: list[BaseException] = []
    writer = threading.Thread(target=_write, args=(answers, out, failure), name="rows")
    writer.start()

    def answer(line: str, number: int) -> tuple[Row, str]:
        identity = None
        try:
            row = _parse(line)
            identity = row.get("id")
            return handle(row), ""
        except SourceError as error:
            reason = f"Line {number} of the input {error}"
            return refuse(identity, reason), reason

    try:
        with ThreadPoolExecutor(num_workers, thread_name_prefix="rows") as pool:
            for number, line in enumerate(lines, start=1):
                if failure:
                    break
                if line.strip():
                    answers.put(pool.submit(answer, line, number))
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
    raise SourceError(f"has no string in its field {name!r}; add one.")


def _parse(line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"is not JSON ({error}); write one JSON object a line.") from error
    if not isinstance(row, dict):
        raise SourceError("is not a JSON object; write one JSON object a line.")
    return row


def _write(
    answers: queue.Queue[Future[tuple[Row, str]] | None], out: TextIO, failure: list[BaseException]
) -> None:
    """Write answers in order; after a failure only empty the queue, so that the reader never waits."""
    refused: list[str] = []
    while (answer := answers.get()) is not None:
        if failure:
            answer.cancel()
            continue
        try:
            row, reason = answer.result()
            if reason and not refused:
                refused.append(reason)
            out.write(_line(row))
            out.flush()
        except BaseException as error:  # noqa: BLE001 - handed to the reader's thread, which raises it
            failure.append(error)
    if refused and not failure:
        failure.append(SourceError(refused[0]))


def _line(row: Row) -> str:
    """A row as readable JSON; half a character, which UTF-8 cannot hold, is escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return (text if _is_text(text) else json.dumps(row)) + "\n"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
