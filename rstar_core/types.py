"""The nouns of the factory as frozen values.

Everything that is stored, sent or compared is one of these. This file knows no algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rstar_core.tags import END_OF_CODE, END_OF_STEP, extract_boxed


class Tier(StrEnum):
    """Difficulty class of a problem; the paper reports coverage by it (Table 2)."""

    GSM = "gsm"
    MATH = "math"
    OLYMPIAD = "olympiad"
    OTHER = "other"


class Split(StrEnum):
    """What a problem may be used for. A problem is in exactly one split."""

    TRAIN = "train"
    HELDOUT = "heldout"
    IMPORTED = "imported"  # came with training data of others: neither searched nor evaluated


@dataclass(frozen=True, slots=True)
class Problem:
    """A math question with its reference answer.

    Attributes:
        problem_id: Content hash of the normalised question and answer, 16 hex digits.
        question: The question as the policy sees it.
        answer: The reference answer, repaired but never empty.
        tier: Difficulty class.
        source: Where it came from, for example `builtin/chain_sum` or `gsm8k`.
        licence: Licence of the source, `unknown` if the source does not say.
        split: Training or held-out.
        synthetic: Written by a language model, so its reference answer may be wrong (paper, section 3.1).
    """

    problem_id: str
    question: str
    answer: str
    tier: Tier
    source: str
    licence: str
    split: Split
    synthetic: bool = False


class StepKind(StrEnum):
    """How a step ended, which decides what happens after it."""

    CODE = "code"
    FINAL_CODE = "final_code"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Step:
    r"""One step of a solution (code-augmented chain of thought, paper, section 3.2).

    Attributes:
        kind: CODE ends with `<end_of_step>`, FINAL_CODE with `<end_of_code>`, ANSWER with `<end_of_answer>`.
        text: The step exactly as it stands in the solution, tags included; for FINAL_CODE it includes the
            `<output>` block that the executor wrote.
    """

    kind: StepKind
    text: str

    @property
    def code(self) -> str:
        """The Python source of the step; empty for ANSWER."""
        if self.kind is StepKind.ANSWER:
            return ""
        return self.text.partition(END_OF_STEP if self.kind is StepKind.CODE else END_OF_CODE)[0]

    @property
    def answer(self) -> str | None:
        r"""The content of the last `\boxed{}`; None unless the kind is ANSWER."""
        return extract_boxed(self.text) if self.kind is StepKind.ANSWER else None


class ExecutionStatus(StrEnum):
    """How a program ended. Only OK lets its step into the tree."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Execution:
    """What one program did.

    Attributes:
        status: How it ended.
        stdout: Exactly what it printed, cut at the sandbox's output limit.
        error: The last line of its traceback, or the reason it was stopped; empty when the status is OK.
        seconds: Wall time from the start of the run.
    """

    status: ExecutionStatus
    stdout: str
    error: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation.

    Attributes:
        text: The generated text, the stop tag included if one was reached.
        num_tokens: Generated tokens.
        finished: True if a stop tag or the end of text was reached, False if the length limit cut it.
    """

    text: str
    num_tokens: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answer check says of a prediction.

    Attributes:
        correct: True, False, or None if it could not be decided (which is neither).
        method: The rung of the ladder that decided, for example `exact` or `math_verify`.
        seconds: Time the decision took.
    """

    correct: bool | None
    method: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A root-to-leaf path that ends in an answer.

    Attributes:
        problem_id: The problem it answers.
        node_ids: Indices of its nodes in their tree, root excluded, root side first.
        steps: The steps along it; same length as node_ids.
        q_values: Q of each step after the search; same length as node_ids.
        answer: The predicted answer.
        correct: Whether the answer check accepted it.
        found_at_rollout: The rollout of its tree, from 1 on, that first ended in it; None if not known.
    """

    problem_id: str
    node_ids: tuple[int, ...]
    steps: tuple[Step, ...]
    q_values: tuple[float, ...]
    answer: str
    correct: bool
    found_at_rollout: int | None = field(default=None, compare=False)

    @property
    def mean_q(self) -> float:
        """Mean Q over the steps: the first key of the top-2 selection (paper, section 3.3)."""
        return sum(self.q_values) / len(self.q_values)

    @property
    def min_q(self) -> float:
        """The weakest step's Q: the tie-break of the selection."""
        return min(self.q_values)

    @property
    def text(self) -> str:
        """The whole solution as one string, tags included."""
        return "".join(step.text for step in self.steps)


@dataclass(frozen=True, slots=True)
class StepPair:
    """A preference between two continuations (paper, section 3.3, step-level Bradley-Terry).

    Attributes:
        problem_id: The problem both sides belong to.
        group: Which step the pair belongs to; pairs of one group share the weight 1.
        prefix: Text of the shared steps before the compared ones; empty for whole trajectories.
        positive: Text of the better side.
        negative: Text of the worse side.
        positive_q: Q of the better side (mean Q for whole trajectories).
        negative_q: Q of the worse side.
        depth: Depth of the compared step; 1 is the first step.
        final: Whether whole trajectories are compared (the relaxed rule of the answer step).
        weight: 1 / (pairs of the group), which is 1 / (positives × negatives) where all of them differ in Q.
    """

    problem_id: str
    group: str
    prefix: str
    positive: str
    negative: str
    positive_q: float
    negative_q: float
    depth: int
    final: bool
    weight: float
