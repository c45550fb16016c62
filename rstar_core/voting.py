"""One answer from several trees: each tree casts one vote, a rule elects (paper, section 4.1)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rstar_core.metrics import weighted_majority
from rstar_core.trajectories import trajectories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rstar_core.tree import Tree
    from rstar_core.types import Trajectory

AnswerRule = Literal["best", "majority", "weighted"]
ANSWER_RULES: tuple[AnswerRule, ...] = ("best", "majority", "weighted")


@dataclass(frozen=True, slots=True)
class Vote:
    """What one tree says.

    Attributes:
        tree: Which tree; 0 is the first.
        trajectory: The tree's chosen trajectory.
        score: The PPM's score of that whole trajectory in [-1, 1]; None without a PPM.
        num_trajectories: How many the tree chose from.
    """

    tree: int
    trajectory: Trajectory
    score: float | None
    num_trajectories: int

    @property
    def answer(self) -> str:
        """The answer of the trajectory."""
        return self.trajectory.answer


def cast_vote(problem_id: str, number: int, tree: Tree, *, scored: bool) -> Vote | None:
    """The tree's best trajectory by PPM score; without a PPM the first with its most frequent answer.

    None if the tree reached no answer.
    """
    found = trajectories(problem_id, tree)
    if not found:
        return None
    if scored:
        best = max(found, key=lambda each: tree.prior_of(each.node_ids[-1]))
        return Vote(number, best, tree.prior_of(best.node_ids[-1]), len(found))
    ((answer, _),) = Counter(each.answer for each in found).most_common(1)
    return Vote(number, next(each for each in found if each.answer == answer), None, len(found))


def elect(votes: Sequence[Vote], groups: Mapping[str, str], rule: AnswerRule) -> Vote | None:
    """The vote whose answer is given, or None without votes.

    `best` takes the highest score, `majority` the answer of most trees, `weighted` the answer with the
    largest sum of (1 + score) / 2: a solution that the PPM rejects (−1) counts nothing, and none counts
    against its own answer. Ties go to the answer with the best-scored vote, then to the first tree; of the
    trees that agree the best-scored one speaks.

    Args:
        votes: One of each tree that has one.
        groups: What equal answers have in common, for each answer.
        rule: Who wins.
    """
    ranked = sorted(votes, key=_score, reverse=True)  # keeps the order of trees among equals
    if rule == "best" or not ranked:
        return ranked[0] if ranked else None
    weights = [1.0 if rule == "majority" else (1.0 + _score(vote)) / 2.0 for vote in ranked]
    winner = weighted_majority(
        (groups[vote.answer], weight) for vote, weight in zip(ranked, weights, strict=True)
    )
    return next(vote for vote in ranked if groups[vote.answer] == winner)


def _score(vote: Vote) -> float:
    """Without a PPM all are alike."""
    return 0.0 if vote.score is None else vote.score
