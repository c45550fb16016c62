"""The four seams between the algorithm and the world.

`infra` has a real adapter and a scripted fake for each. An adapter answers exactly one kind of request; it
raises an `RstarError` only if it is itself broken: a bad completion, a failing program and an undecidable
answer are values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rstar_core.requests import Execute, Grade, Propose, Score
    from rstar_core.types import Completion, Execution, Verdict


class Policy(Protocol):
    """Proposes candidates for the next step."""

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """Sample `request.num_candidates` continuations.

        A prompt that leaves the model no room for a token is answered with empty continuations that the
        length limit cut.
        """
        ...


class CodeRunner(Protocol):
    """Runs model-written code."""

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """Run each candidate after the prefix, each in a clean interpreter state."""
        ...


class StepScorer(Protocol):
    """Scores steps: the process preference model (PPM)."""

    async def score(self, request: Score) -> tuple[float, ...]:
        """Score each candidate in [-1, 1]."""
        ...


class Grader(Protocol):
    """Checks answers."""

    async def grade(self, request: Grade) -> tuple[Verdict, ...]:
        """Compare each prediction with the reference."""
        ...
