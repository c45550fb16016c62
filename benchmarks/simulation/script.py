"""The work of a simulated search: what the policy writes, how long it is, and how long its code runs.

Everything is a function of the request alone. An expansion is one request of the policy and one run of each
candidate's code; the answer step is copied from the output. A rollout makes 3 to 7 expansions, all numbers
equally likely. For that the script has to know which candidate a rollout goes on with: the scorer prefers
the first. So the first candidate is one expansion nearer to the end than its parent was; each of the others,
where a later rollout may start, draws its own way.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from rstar_core.types import Completion

if TYPE_CHECKING:
    from rstar_core.requests import Propose, Score

REFERENCE = "1"

_TOKENS_MU = math.log(40)  # the median
_TOKENS_SIGMA = math.log(400 / 40) / 2.3263  # 99 % of a normal lie below 2.3263 sigma, here at 400 tokens
_RUN_MU, _RUN_SIGMA = math.log(0.005), 0.5  # seconds
_SLOW_SHARE, _SLOW_RUN_SECONDS = 0.01, 2.0
_CORRECT_SHARE = 0.5


def write(request: Propose) -> tuple[Completion, ...]:
    """The candidates of a request: lengths and run times from its seed, the way to the end from its path."""
    rng = random.Random(request.seed)  # noqa: S311 - a recorded seed
    left = _expansions_left(request.steps[-1]) if request.steps else _draw_expansions(rng)
    completions = []
    for index in range(request.num_candidates):
        way = left - 1 if index == 0 else _draw_expansions(rng)
        end = "<end_of_step>" if way else "<end_of_code>"
        answer = REFERENCE if rng.random() < _CORRECT_SHARE else "0"
        code = f"run({draw_run_seconds(rng):.6f})\nprint({answer})"
        text = f"# {way} to go, {request.seed}/{index}\n{code}\n{end}\n"
        completions.append(Completion(text, min(draw_tokens(rng), request.max_tokens), finished=True))
    return tuple(completions)


class FirstPreferred:
    """Implements `rstar_core.protocols.StepScorer`, in no time: a little for the first, 0 for the others."""

    async def score(self, request: Score) -> tuple[float, ...]:
        """Scores that only break ties."""
        return (0.01,) + (0.0,) * (len(request.candidates) - 1)


def draw_tokens(rng: random.Random) -> int:
    """Length of one completion: lognormal, median 40 tokens, 99 % under 400."""
    return max(1, round(rng.lognormvariate(_TOKENS_MU, _TOKENS_SIGMA)))


def draw_run_seconds(rng: random.Random) -> float:
    """How long one program runs: 2 s for 1 % of them, lognormal with median 5 ms for the others."""
    if rng.random() < _SLOW_SHARE:
        return _SLOW_RUN_SECONDS
    return rng.lognormvariate(_RUN_MU, _RUN_SIGMA)


def _draw_expansions(rng: random.Random) -> int:
    return rng.randint(3, 7)


def _expansions_left(step: str) -> int:
    return int(step.split(maxsplit=2)[1])
