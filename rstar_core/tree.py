"""A search tree as one indexed arena: node 0 is the root, `parent` is an index.

The tree holds statistics and structure. It knows neither how a child is chosen (`selection`) nor what a
value means (`annotation`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rstar_core.types import Step


class Terminal(StrEnum):
    """Why a node ends a rollout."""

    ANSWER = "answer"
    DEAD_END = "dead_end"
    DEPTH_LIMIT = "depth_limit"


@dataclass(slots=True)
class Node:
    """One step in the tree with its statistics.

    Attributes:
        index: Its place in the arena.
        parent: Index of the parent; None for the root.
        depth: Steps from the root; the root has 0.
        step: The step; None for the root.
        prior: q(s) before any rollout: the PPM score, or 0 (paper, equations 2 and 3).
        children: Indices of the children, in the order they were proposed.
        visits: N(s), rollouts through this node.
        q_sum: q(s), the prior plus the sum of the back-propagated terminal values.
        expanded: Whether candidates were asked for.
        terminal: Why it ends a rollout, or None.
        closed: Whether it is a dead end, or all its children are closed.
        correct: For an answer, whether the answer check accepted it; None without a reference.
    """

    index: int
    parent: int | None
    depth: int
    step: Step | None
    prior: float = 0.0
    children: list[int] = field(default_factory=list)
    visits: int = 0
    q_sum: float = 0.0
    expanded: bool = False
    terminal: Terminal | None = None
    closed: bool = False
    correct: bool | None = None

    @property
    def q(self) -> float:
        """Mean value of the step; before the first visit, the prior (paper, equation 1)."""
        return self.q_sum / self.visits if self.visits else self.prior


class Tree:
    """The arena, and what the search counted while it grew.

    Attributes:
        nodes: All nodes; `nodes[i].index == i`.
        drops: Candidates that did not become nodes, by reason.
        num_tokens: Tokens the policy generated for this tree.
        num_candidates: Completions the policy returned.
        num_rollouts: Rollouts backed up.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = [Node(index=0, parent=None, depth=0, step=None)]
        self.drops: Counter[str] = Counter()
        self.num_tokens = 0
        self.num_candidates = 0
        self.num_rollouts = 0

    @property
    def root(self) -> Node:
        """The node before the first step."""
        return self.nodes[0]

    def add(self, parent: Node, step: Step, prior: float) -> Node:
        """Append a child of `parent`; its q starts at `prior`."""
        node = Node(len(self.nodes), parent.index, parent.depth + 1, step, prior, q_sum=prior)
        self.nodes.append(node)
        parent.children.append(node.index)
        return node

    def children(self, node: Node) -> list[Node]:
        """The children in the order they were proposed."""
        return [self.nodes[index] for index in node.children]

    def path(self, node: Node) -> list[Node]:
        """From the root to `node`, both included."""
        path = [node]
        while node.parent is not None:
            node = self.nodes[node.parent]
            path.append(node)
        return path[::-1]

    def steps(self, node: Node) -> tuple[Step, ...]:
        """The steps from the root to `node`."""
        return tuple(each.step for each in self.path(node) if each.step is not None)

    def answers(self) -> Iterator[Node]:
        """Every node that ends in an answer."""
        return (node for node in self.nodes if node.terminal is Terminal.ANSWER)
