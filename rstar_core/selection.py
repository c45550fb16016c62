"""Which child a rollout descends to: UCT, and what breaks its ties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from rstar_core.tree import Node, Tree


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


def select_child(tree: Tree, node: Node, *, exploration: float, rng: random.Random) -> Node:
    """The open child with the highest UCT.

    Several children of infinite UCT are told apart by their prior, so that a PPM's opinion counts before
    the first visit; what is then still equal is drawn from the tree's own random stream. Children below
    which no answer can be reached any more are passed over.
    """
    open_children = [child for child in tree.children(node) if not child.closed]

    def key(child: Node) -> tuple[float, float]:
        value = uct(child.q, child.visits, node.visits, exploration=exploration)
        return (value, child.prior if math.isinf(value) else 0.0)

    best = max(key(child) for child in open_children)
    tied = [child for child in open_children if key(child) == best]
    return tied[0] if len(tied) == 1 else rng.choice(tied)
