"""A grader that compares strings, for tests of everything above it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstar_core.types import Verdict

if TYPE_CHECKING:
    from rstar_core.requests import Grade


class ExactGrader:
    """Implements `rstar_core.protocols.Grader`: equal strings are correct.

    Attributes:
        requests: Every request so far, in order.
    """

    def __init__(self) -> None:
        self.requests: list[Grade] = []

    async def grade(self, request: Grade) -> tuple[Verdict, ...]:
        """Compare each prediction with the reference, spaces at the ends aside."""
        self.requests.append(request)
        reference = request.reference.strip()
        return tuple(
            Verdict(prediction.strip() == reference, "exact", 0.0) for prediction in request.predictions
        )
