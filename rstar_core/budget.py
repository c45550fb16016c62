"""How much search a problem gets, and the seeds of its trees."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


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
