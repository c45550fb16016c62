"""What happens inside a confined child: run the text, say how it ended, leave.

The child tells its parent only through descriptors: 1 carries what the program prints, 3 one record about its
end; a prefix that is shared also has 4 (a candidate ended) and 5 (start this candidate). A record begins with
the child's seal, so that no other bytes pass for one. Nothing that runs here is trusted beyond the request it
belongs to. The program is `prefix + newline + candidate`.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import signal
import sys
import threading
import traceback
from functools import partial
from os import _exit, close, dup2, pipe, read, waitpid, write
from typing import TYPE_CHECKING, Final, NoReturn

from infra.sandbox import image, kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from infra.sandbox.seccomp import Filter

STDOUT, REPORT, DONE, GO = 1, 3, 4, 5
READY: Final = b"+"  # the child is confined; anything before it on the report is a fault of the sandbox
OK, ERROR, MEMORY, SYNTAX, ALONE = "ok", "error", "memory", "syntax", "alone"
_MAX_ERROR_CHARS: Final = 500
_REPORT_OK: Final = b'["ok", ""]'  # the most frequent one, without the encoder's pages

Record = tuple[str, str]
"""How a text ended and the last line of its traceback.

SYNTAX: nothing of it ran, not even the prefix. ALONE: it cannot be run in pieces.
"""


def run_alone(source: str, output: io.TextIOWrapper, seal: bytes) -> NoReturn:
    """Run one whole program."""
    _report(_run(lambda: _compile(source), image.fresh_main(), output), seal)
    _exit(0)


def run_shared(
    prefix: str, candidates: list[str], output: io.TextIOWrapper, candidate_filter: Filter, seal: bytes
) -> NoReturn:
    """Run the prefix, then fork its state for each candidate that the parent names on GO.

    Each ended candidate is answered on DONE with its wait status, 4 bytes; only the last one is
    answered when it begins: nobody needs the state any more, and this process goes on as that program.
    """
    space = image.fresh_main()
    try:
        code = _compile(prefix)
    except (SyntaxError, ValueError):
        record = (ALONE, "")
    else:
        record = _run(lambda: code, space, output)
    if record[0] == OK and threading.active_count() > 1:
        record = (ALONE, "")  # threads do not survive a fork
    _report(record, seal)
    write(DONE, bytes(4))
    while index := read(GO, 4):
        number = int.from_bytes(index, "little")
        candidate = candidates[number]
        last = number == len(candidates) - 1
        if last:
            write(DONE, bytes(4))
        child = 0 if last else kernel.fork()
        if child == 0:
            try:
                _enter_candidate(candidate_filter)
                _report(_run(partial(_compile_after, prefix, candidate), space, output), seal)
            finally:
                _exit(0)
        write(DONE, waitpid(child, 0)[1].to_bytes(4, "little"))
    _exit(0)


def _enter_candidate(candidate_filter: Filter) -> None:
    """Make this process, which has the prefix's state, one that may only run a candidate."""
    close(DONE)
    close(GO)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    candidate_filter.install()


def _compile(source: str) -> CodeType:
    return compile(source, "<program>", "exec", dont_inherit=True)


def _compile_after(prefix: str, candidate: str) -> CodeType | None:
    """The candidate's code; None if it is only right together with the prefix, like a block that goes on.

    Two texts that are right alone are right together, unless the second has a statement whose place matters.
    """
    try:
        code = _compile(candidate)
    except SyntaxError:
        code = None
    if code is None or "global" in candidate or "__future__" in candidate:
        _compile(f"{prefix}\n{candidate}")
    return code


def _run(source: Callable[[], CodeType | None], space: dict[str, object], output: io.TextIOWrapper) -> Record:
    try:
        code = source()
    except BaseException as error:  # noqa: BLE001 - besides SyntaxError, RecursionError, ValueError and MemoryError
        return SYNTAX, _last_line(error)
    if code is None:
        return ALONE, ""
    try:
        exec(code, space)  # noqa: S102 - running the program is what this process is for
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what the interpreter does at its end
        atexit._run_exitfuncs()  # noqa: SLF001
    except MemoryError as error:
        error.__traceback__ = None
        return MEMORY, "MemoryError"
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt are ends like any other
        return ERROR, _last_line(error)
    finally:
        for stream in (sys.stdout, output):
            with contextlib.suppress(BaseException):
                stream.flush()
    return OK, ""


def _last_line(error: BaseException) -> str:
    name = type(error).__name__
    try:
        lines = traceback.format_exception_only(type(error), error)
        last = next(line for line in reversed(lines) if name in line)
        return last.strip().splitlines()[0][:_MAX_ERROR_CHARS]
    except BaseException:  # noqa: BLE001 - the program wrote the exception's methods
        return name


def open_output() -> io.TextIOWrapper:
    """The stream that programs print to, made once; a pipe lies under it, as will be in each child."""
    reader, writer = pipe()
    dup2(writer, STDOUT)
    close(reader)
    close(writer)
    output = io.TextIOWrapper(io.FileIO(STDOUT, "w", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stdout = sys.__stdout__ = output  # type: ignore[misc]
    return output


def _report(record: Record, seal: bytes) -> None:
    write(REPORT, seal + (_REPORT_OK if record[0] == OK else json.dumps(record).encode()))
