"""A finished search once more, this time with an eye on the candidates that did not become nodes.

A tree counts its failed candidates by reason; which texts they were stands in the replies alone. Growing the
tree again from its logged replies brings them back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstar_core.tree import Tree
from rstar_core.waves import start_search

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from rstar_core.config import SearchConfig
    from rstar_core.requests import Reply, Request


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that did not become a node.

    Attributes:
        reason: Why, as counted in the tree's `drops`.
        text: What the policy proposed.
        detail: The last line of its traceback, or what it printed; empty if the reason says all.
    """

    reason: str
    text: str
    detail: str


class AuditedTree(Tree):
    """A tree that also keeps the candidates it counts.

    Attributes:
        rejected: Per node the candidates that were proposed there and failed, in order.
        finished: Whether the search came to its end; False where the replies ended first.
    """

    __slots__ = ("finished", "rejected")

    def __init__(self) -> None:
        super().__init__()
        self.rejected: dict[int, list[Rejected]] = {}
        self.finished = False

    def drop(self, node: int, reason: str, text: str, detail: str = "") -> None:
        """Count a candidate and keep it."""
        super().drop(node, reason, text, detail)
        self.rejected.setdefault(node, []).append(Rejected(str(reason), text, detail))


def regrow(
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
    take: Callable[[Request], Reply | None],
) -> AuditedTree:
    """Grow a tree again, as far as there are replies.

    Args:
        question: As in `search`.
        reference: As in `search`.
        config: As in `search`.
        rng: As in `search`: seeded as it was then.
        take: Gives the logged reply to a request, or None where the log ends.
    """
    tree = AuditedTree()
    searching = start_search(question, reference, config, rng, tree)
    try:
        request = next(searching)
        while (reply := take(request)) is not None:
            request = searching.send(reply)
    except StopIteration:
        tree.finished = True
    return tree
