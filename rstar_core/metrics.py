"""Figures of merit with their uncertainty."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Z_95 = 1.959963984540054


def wilson_interval(successes: int, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) if nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(
    before: Sequence[bool], after: Sequence[bool], *, z: float = Z_95
) -> tuple[float, float, float]:
    """Change of a share on the same problems: (difference, low, high), normal approximation for pairs.

    Raises:
        ValueError: The two sequences differ in length or are empty.
    """
    n = len(before)
    if n == 0 or n != len(after):
        raise ValueError(f"paired results need equal, positive lengths, not {n} and {len(after)}")
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    difference = (gained - lost) / n
    spread = z * math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / n)) / n
    return difference, max(-1.0, difference - spread), min(1.0, difference + spread)


def clustered_interval(groups: Iterable[tuple[int, int]], *, z: float = Z_95) -> tuple[float, float] | None:
    """Interval of a share whose counts come in groups that may hang together: (successes, count) of each.

    Normal approximation for a ratio, with the variance between groups; None with fewer than two groups.
    """
    counted = [(successes, n) for successes, n in groups if n]
    if len(counted) < 2:
        return None
    total = sum(n for _, n in counted)
    share = sum(successes for successes, _ in counted) / total
    squares = sum((successes - share * n) ** 2 for successes, n in counted)
    spread = z * math.sqrt(squares * len(counted) / (len(counted) - 1)) / total
    return max(0.0, share - spread), min(1.0, share + spread)


def pass_at_k(num_correct: int, n: int, k: int) -> float:
    """Unbiased chance that at least one of k samples out of n is correct (Chen et al. 2021, equation 1).

    Raises:
        ValueError: k is not between 1 and n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs between 1 and {n} samples")
    if n - num_correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - num_correct + 1, n + 1))


def weighted_majority(votes: Iterable[tuple[str, float]]) -> str | None:
    """The answer with the largest summed weight; the first seen wins a tie; None without votes."""
    totals: defaultdict[str, float] = defaultdict(float)
    for answer, weight in votes:
        totals[answer] += weight
    return max(totals, key=lambda answer: totals[answer]) if totals else None
