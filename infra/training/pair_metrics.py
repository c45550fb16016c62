"""How well a PPM ranks pairs that it has not learnt from, in plain numbers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rstar_core.metrics import clustered_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infra.training.job import PairRow

Scores = tuple[float, float]
"""Scores of the better and the worse side of a pair, in [-1, 1]."""

COLLAPSED = 1e-3
"""A spread of scores below this is that of a constant: a server's bf16 arithmetic blurs it away."""
_NUM_BINS = 4


def pair_metrics(rows: Sequence[PairRow], scores: Sequence[Scores]) -> dict[str, float | None]:
    """Share of pairs in the right order and mean margin, of all, by depth and by tier; and the calibration.

    `pair_accuracy`, `mean_margin`, `pair_accuracy_depth_2`, `mean_margin_tier_math` and so on;
    `pair_accuracy_low` and `_high` its 95 % interval, in which a problem's pairs hang together;
    `pairs_depth_2` how many pairs that is. `success_at_-0.75` is the mean later success, (Q + 1) / 2, of the
    steps with scores in the quarter of [-1, 1] around -0.75, and `steps_at_-0.75` their number.
    """
    found = _ranking(scores, "")
    groupings: list[tuple[str, Callable[[PairRow], object]]] = [
        ("depth", lambda row: "all" if row.final else row.depth),
        ("tier", lambda row: row.tier),
    ]
    for name, key in groupings:
        groups = defaultdict[object, list[Scores]](list)
        for row, pair in zip(rows, scores, strict=True):
            groups[key(row)].append(pair)
        for value in sorted(filter(None, groups), key=str):
            found |= _ranking(groups[value], f"_{name}_{value}")
            found[f"pairs_{name}_{value}"] = len(groups[value])
    return found | _interval(rows, scores) | _calibration(rows, scores)


def spread(scores: Sequence[Scores]) -> float:
    """Largest score less the smallest."""
    flat = [score for pair in scores for score in pair]
    return max(flat) - min(flat)


def _ranking(scores: Sequence[Scores], suffix: str) -> dict[str, float | None]:
    margins = [better - worse for better, worse in scores]
    count = len(margins)
    return {
        f"pair_accuracy{suffix}": sum(margin > 0 for margin in margins) / count if count else None,
        f"mean_margin{suffix}": sum(margins) / count if count else None,
    }


def _interval(rows: Sequence[PairRow], scores: Sequence[Scores]) -> dict[str, float | None]:
    right = defaultdict[str, list[bool]](list)
    for row, (better, worse) in zip(rows, scores, strict=True):
        right[row.problem_id].append(better > worse)
    low, high = clustered_interval((sum(each), len(each)) for each in right.values()) or (None, None)
    return {"pair_accuracy_low": low, "pair_accuracy_high": high}


def _calibration(rows: Sequence[PairRow], scores: Sequence[Scores]) -> dict[str, float | None]:
    """Each side counts once, however many pairs it is in."""
    sides = {
        (row.group, text): (score, q)
        for row, pair in zip(rows, scores, strict=True)
        for text, score, q in (
            (row.positive_pieces, pair[0], row.positive_q),
            (row.negative_pieces, pair[1], row.negative_q),
        )
        if q is not None
    }
    bins = defaultdict[int, list[float]](list)
    for score, q in sides.values():
        bins[min(int((score + 1) / 2 * _NUM_BINS), _NUM_BINS - 1)].append((q + 1) / 2)
    found: dict[str, float | None] = {}
    for number, successes in sorted(bins.items()):
        middle = f"{2 * (number + 0.5) / _NUM_BINS - 1:g}"
        found[f"success_at_{middle}"] = sum(successes) / len(successes)
        found[f"steps_at_{middle}"] = len(successes)
    return found
