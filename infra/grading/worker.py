"""The process that asks math-verify, run as `python -c "…; main(descriptor, project)"`.

It has no time limit of its own, because alarms fail in threads and end as "not equal": its parent kills it at
the deadline. Text comes from models, so the process gives up what it does not need before it reads any.
"""

from __future__ import annotations

import resource
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from infra.grading.spelling import to_latex
from infra.sandbox import confinement, kernel, landlock, wire

_MEMORY_BYTES: Final = 2 << 30
_DECIMALS: Final = 12  # a printed float equals an irrational reference only if it was not rounded
_WARM: Final = (
    ("\\frac{1}{2}", "0.5"),
    ("x^2+2x+1", "(x+1)^2"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("x<1", "(-\\infty,1)"),
)


def main(descriptor: int, project: str) -> NoReturn:
    """Answer pairs until the other side closes."""
    channel = socket.socket(fileno=descriptor)
    sys.path[:] = [each for each in sys.path if each != project]  # an editable install names it again
    for one, other in _WARM:
        equal(one, other)
    _give_up_privileges()
    wire.send(channel, {"ready": True})
    while (request := wire.receive(channel)) is not None:
        wire.send(channel, {"correct": equal(request["prediction"], request["reference"])})
    raise SystemExit


def equal(prediction: str, reference: str) -> bool | None:
    """Whether math-verify finds the prediction equal; None if it cannot read the reference."""
    import math_verify  # noqa: PLC0415 - only the worker's process pays for it

    def parse(text: str) -> list[object]:
        parsed: list[object] = math_verify.parse(
            f"${to_latex(text.strip().strip('$'))}$", fallback_mode="no_fallback", parsing_timeout=None
        )
        return parsed

    expected, given = parse(reference), parse(prediction)
    if not expected:
        return None
    return bool(math_verify.verify(expected, given, float_rounding=_DECIMALS, timeout_seconds=None))


def _give_up_privileges() -> None:
    limit = confinement.image_bytes() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with suppress(OSError):
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict()
