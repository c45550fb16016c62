"""What the search asks of the world, and how the answers come back.

`search` yields one of these; its driver sends back the reply named in the request's docstring. All are
plain values, so a log of replies is enough to replay a search.
"""

from __future__ import annotations

from dataclasses import dataclass

from rstar_core.types import Completion, Execution, Verdict


@dataclass(frozen=True, slots=True)
class Propose:
    """Ask the policy for candidates of the next step. Reply: `num_candidates` completions.

    A policy may fall short of the number: what is missing is counted in `drops`. What is too many is ignored.

    Attributes:
        question: The problem's question.
        steps: Texts of the steps so far, in order, tags included.
        num_candidates: How many continuations to sample.
        seed: Seed of this request; candidate i is a function of (prompt, seed, i) alone.
        temperature: 0 for greedy.
        top_p: Nucleus mass in (0, 1].
        max_tokens: Limit on the generated tokens of each candidate.
    """

    question: str
    steps: tuple[str, ...]
    num_candidates: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Execute:
    """Run each candidate after the code of the earlier steps. Reply: one Execution per candidate.

    Attributes:
        prefix: Code of the earlier steps, already known to run.
        candidates: Code of each candidate step. Each runs in its own clean state after the prefix.
    """

    prefix: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Ask the PPM for step scores in [-1, 1]. Reply: one float per candidate.

    Attributes:
        question: The problem's question.
        steps: Texts of the earlier steps.
        candidates: Text of each candidate step; the score is of question + steps + candidate.
    """

    question: str
    steps: tuple[str, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grade:
    """Compare predictions with the reference answer. Reply: one Verdict per prediction.

    Attributes:
        predictions: Predicted answers.
        reference: The reference answer.
    """

    predictions: tuple[str, ...]
    reference: str


@dataclass(frozen=True, slots=True)
class Together:
    """What several rollouts of one tree ask at the same time. Reply: one reply for each request.

    Attributes:
        requests: The requests, each by itself.
    """

    requests: tuple[Request, ...]


Request = Propose | Execute | Score | Grade | Together
Reply = (
    tuple[Completion, ...]
    | tuple[Execution, ...]
    | tuple[float, ...]
    | tuple[Verdict, ...]
    | tuple["Reply", ...]
)
