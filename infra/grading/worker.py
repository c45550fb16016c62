"""The nursery that holds math-verify, and its workers, which compare.

A worker has no time limit of its own, because alarms fail in threads and end as "not equal": whoever asked
kills it at the deadline. Text comes from models, so all give up what they do not need before they read any.
"""

from __future__ import annotations

import gc
import os
import re
import resource
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from infra import wire
from infra.grading.repair import repair
from infra.grading.spelling import to_latex
from infra.sandbox import confinement, kernel, landlock
from infra.warm import fork_workers

_MEMORY_BYTES: Final = 2 << 30
_DECIMALS: Final = 12  # a printed float equals an irrational reference only if it was not rounded
_INEQUALITY: Final = re.compile(r"[<>≤≥]|\\(?:leq?|geq?|lt|gt)(?![a-z])")
_WARM: Final = (
    ("\\frac{1}{2}", "0.5"),
    ("x^2+2x+1", "(x+1)^2"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("x<1", "(-\\infty,1)"),
)


def main(descriptor: int, project: str) -> NoReturn:
    """Warm math-verify, then fork workers until the other side closes."""
    control = socket.socket(fileno=descriptor)
    try:
        sys.path[:] = [each for each in sys.path if each != project]  # an editable install names it again
        for one, other in _WARM:
            equal(one, other)
        gc.collect()
        gc.freeze()
        _give_up_privileges()
        wire.send(control, {"ready": True})
        fork_workers(control, _serve)
    except Exception as error:  # noqa: BLE001 - the other side turns it into a GradingError
        with suppress(OSError):
            wire.send(control, {"fault": f"{type(error).__name__}: {error}"})
    raise SystemExit


def _serve(channel: socket.socket, _: int) -> None:
    wire.send(channel, {"process_id": os.getpid()})
    while (request := wire.receive(channel)) is not None:
        wire.send(channel, {"correct": equal(request["prediction"], request["reference"])})


def equal(prediction: str, reference: str) -> bool | None:
    """Whether math-verify finds the prediction equal; None if it cannot read the reference."""
    import math_verify  # noqa: PLC0415 - only the worker's process pays for it

    def parse(text: str) -> list[object]:
        parsed: list[object] = math_verify.parse(
            f"${to_latex(repair(text.strip().strip('$')))}$",
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        return parsed

    expected, given = parse(reference), parse(prediction)
    if not expected:
        return None

    def same(one: list[object], other: list[object]) -> bool:
        return bool(math_verify.verify(one, other, float_rounding=_DECIMALS, timeout_seconds=None))

    # It takes an interval for an inequality, but not the other way round.
    return same(expected, given) or (_INEQUALITY.search(prediction) is not None and same(given, expected))


def _give_up_privileges() -> None:
    limit = confinement.image_bytes() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict()
