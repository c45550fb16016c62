"""How much search a problem gets, and the seeds of its trees."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rstar_core.config import EvaluationConfig, SearchConfig


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


def derive_seed(*parts: int | str) -> int:
    """A seed that depends on `parts` alone: campaign seed → round → problem → tree."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def greedy_search(config: SearchConfig) -> SearchConfig:
    """The policy alone: one greedy solution, as a tree without branches (paper, Table 3, pass@1)."""
    update = {
        "num_candidates": 1,
        "num_rollouts": 1,
        "num_proposals": 1,
        "annotation": "terminal",
        "temperature": 0.0,
    }
    return config.model_copy(update=update)


def system2_search(config: SearchConfig, evaluation: EvaluationConfig) -> SearchConfig:
    """Test time: the search guided by the PPM, without a reference answer (paper, section 4.1)."""
    update = {
        "num_candidates": evaluation.num_candidates,
        "num_rollouts": evaluation.num_rollouts,
        "annotation": "ppm",
    }
    return config.model_copy(update=update)
