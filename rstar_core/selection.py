"""Which child a rollout descends to: UCT, and what breaks its ties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from rstar_core.tree import Tree


def uct(q: float, visits: int, parent_visits: int, *, exploration: float = 2.0) -> float:
    """UCT(s) = Q(s) + c·sqrt(ln N_parent(s) / N(s)) (paper, equation 1); infinite if never visited.

    Args:
        q: Q(s), the mean value.
        visits: N(s).
        parent_visits: N of the parent.
        exploration: c.
    """
    if visits == 0:
        return math.inf
    return q + exploration * math.sqrt(math.log(parent_visits) / visits)


def select_child(tree: Tree, node: int, *, exploration: float, rng: random.Random) -> int:
    """The open child with the highest UCT.

    Several children of infinite UCT are told apart by their prior, so that a PPM's opinion counts before
    the first visit; what is then still equal is drawn from the tree's own random stream. Children below
    which no answer can be reached any more are passed over.
    """
    visits, closed, parent_visits = tree.visits, tree.closed, tree.visits[node]
    open_children = [child for child in tree.children_of(node) if not closed[child]]
    unvisited = [child for child in open_children if not visits[child]]
    if unvisited:
        tied = _highest(unvisited, [tree.prior_of(child) for child in unvisited])
    else:
        tied = _highest(
            open_children,
            [
                uct(tree.q_sum[child] / visits[child], visits[child], parent_visits, exploration=exploration)
                for child in open_children
            ],
        )
    return tied[0] if len(tied) == 1 else rng.choice(tied)


def _highest(children: list[int], values: list[float]) -> list[int]:
    best = max(values)
    return [child for child, value in zip(children, values, strict=True) if value == best]
