"""What a node is worth before and after a rollout (paper, section 3.2, equations 2 and 3)."""

from __future__ import annotations

from rstar_core.tree import Terminal

LOSS = -1.0
WIN = 1.0


def initial_q(score: float | None) -> float:
    """q(s)^0: the PPM's score in PPM-augmented annotation, 0 in terminal-guided annotation."""
    return 0.0 if score is None else score


def terminal_value(terminal: Terminal, *, correct: bool | None, score: float | None) -> float:
    """Reward of a rollout that ended here.

    With a reference answer: +1 if the answer is right, else -1. Without one (test time): the PPM's score of
    the whole solution, or 0 if there is no PPM either: nothing is known. A rollout that ends without an
    answer always loses.
    """
    if terminal is not Terminal.ANSWER:
        return LOSS
    if correct is not None:
        return WIN if correct else LOSS
    return 0.0 if score is None else score
