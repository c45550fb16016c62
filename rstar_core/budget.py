"""How much search a problem gets, and the seeds of its trees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rstar_core.config import EscalationConfig, EvaluationConfig, SearchConfig


class Difficulty(StrEnum):
    """What a problem's trajectories say of it (paper, section 3.4)."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


def difficulty(num_correct: int, num_trajectories: int) -> Difficulty:
    """Easy: all trajectories correct. Medium: some. Hard: none, or no trajectory at all."""
    if num_correct == 0:
        return Difficulty.HARD
    return Difficulty.EASY if num_correct == num_trajectories else Difficulty.MEDIUM


def problems_to_escalate(tried: Iterable[tuple[str, int, int]]) -> tuple[str, ...]:
    """Ids of the hard problems among (problem_id, num_correct, num_trajectories), sorted."""
    return tuple(sorted(pid for pid, right, total in tried if difficulty(right, total) is Difficulty.HARD))


@dataclass(frozen=True, slots=True)
class TreePlan:
    """One tree of a problem: which, and how many rollouts it is to have in all."""

    tree_index: int
    num_rollouts: int


def plan_trees(
    level: int, search: SearchConfig, escalation: Sequence[EscalationConfig]
) -> tuple[TreePlan, ...]:
    """The trees that a shard at a level of effort writes: 0 is the search, k the k-th escalation.

    An escalation adds trees, or grows the trees that are there and writes all of them again. Depends on the
    configuration alone, so a rerun plans the same.
    """
    planned = rollouts = {0: search.num_rollouts}
    for step in escalation[:level]:
        target = step.num_rollouts or search.num_rollouts
        if step.num_new_trees:
            planned = {len(rollouts) + number: target for number in range(step.num_new_trees)}
        else:
            planned = {index: max(before, target) for index, before in rollouts.items()}
        rollouts = rollouts | planned
    return tuple(TreePlan(index, count) for index, count in planned.items())


def escalate(
    level: int, tried: Iterable[tuple[str, int, int]], escalation: Sequence[EscalationConfig]
) -> tuple[int, tuple[str, ...]] | None:
    """What follows a shard of this level: the next level and the problems that get it, or None.

    Args:
        level: Level of the shard.
        tried: (problem_id, num_correct, num_trajectories) of each of its problems.
        escalation: The round's escalations in turn.
    """
    hard = problems_to_escalate(tried)
    return (level + 1, hard) if hard and level < len(escalation) else None


def derive_seed(*parts: int | str) -> int:
    """A seed that depends on `parts` alone: campaign seed → round → problem → tree."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def greedy_search(config: SearchConfig) -> SearchConfig:
    """The policy alone: one greedy solution, as a tree without branches (paper, Table 3, pass@1)."""
    update = {
        "num_candidates": 1,
        "num_rollouts": 1,
        "rollouts_in_flight": 1,
        "num_proposals": 1,
        "annotation": "terminal",
        "temperature": 0.0,
    }
    return config.model_copy(update=update)


def system2_search(
    config: SearchConfig, evaluation: EvaluationConfig, *, with_ppm: bool = True
) -> SearchConfig:
    """Test time: the search guided by the PPM, if there is one, without a reference (paper, section 4.1)."""
    update = {
        "num_candidates": evaluation.num_candidates,
        "num_rollouts": evaluation.num_rollouts,
        "annotation": "ppm" if with_ppm else "terminal",
    }
    return config.model_copy(update=update)
