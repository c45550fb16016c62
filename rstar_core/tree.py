"""A search tree as one indexed arena: node 0 is the root, `parent` is an index.

The tree holds statistics and structure, a column for each, so that millions of nodes fit into memory and
selection reads plain numbers. It knows neither how a child is chosen (`selection`) nor what a value means
(`annotation`).
"""

from __future__ import annotations

from array import array
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from rstar_core.types import Step, StepKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NONE = -1


class Terminal(StrEnum):
    """Why a node ends a rollout."""

    ANSWER = "answer"
    DEAD_END = "dead_end"
    DEPTH_LIMIT = "depth_limit"


_KINDS: tuple[StepKind | None, ...] = (None, *StepKind)
_TERMINALS: tuple[Terminal | None, ...] = (None, *Terminal)
_VERDICTS: tuple[bool | None, ...] = (None, False, True)
_KIND_CODE = {kind: code for code, kind in enumerate(_KINDS)}
_TERMINAL_CODE = {terminal: code for code, terminal in enumerate(_TERMINALS)}
_VERDICT_CODE = {verdict: code for code, verdict in enumerate(_VERDICTS)}

_COLUMNS = (
    *("parent", "first_child", "next_sibling", "depth", "visits", "q_sum", "closed"),
    *("_priors", "_terminals", "_verdicts", "_kinds", "_texts", "_ends", "rollout_leaves"),
)


class Tree:
    """The arena, and what the search counted while it grew.

    Attributes:
        parent: Index of each node's parent; -1 for the root.
        first_child: Index of its first child; -1 without children.
        next_sibling: Index of the child that was proposed after it; -1 for the last.
        depth: Steps from the root; the root has 0.
        visits: N(s), rollouts through the node.
        q_sum: q(s), the prior plus the sum of the back-propagated terminal values.
        closed: 1 for a dead end, or if all children are closed.
        rollout_leaves: Where each rollout ended, in order.
        drops: Candidates that did not become nodes, by reason.
        num_tokens: Tokens the policy generated for this tree.
        num_candidates: Completions the policy returned.
        num_rollouts: Rollouts backed up.
    """

    __slots__ = (*_COLUMNS, "drops", "num_candidates", "num_rollouts", "num_tokens")

    def __init__(self) -> None:
        self.parent = array("i", (_NONE,))
        self.first_child = array("i", (_NONE,))
        self.next_sibling = array("i", (_NONE,))
        self.depth = bytearray(1)
        self.visits = array("i", (0,))
        self.q_sum = array("d", (0.0,))
        self.closed = bytearray(1)
        self._priors = array("d")  # empty as long as all of them are 0
        self._terminals = bytearray(1)
        self._verdicts = bytearray(1)
        self._kinds = bytearray(1)
        self._texts = bytearray()
        self._ends = array("I", (0,))
        self.rollout_leaves = array("i")
        self.drops: Counter[str] = Counter()
        self.num_tokens = 0
        self.num_candidates = 0
        self.num_rollouts = 0

    def __len__(self) -> int:
        """Nodes, root included."""
        return len(self.parent)

    def __eq__(self, other: object) -> bool:
        """Whether the other tree is the same in every node and count."""
        if not isinstance(other, Tree):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Tree.__slots__)

    __hash__ = None  # type: ignore[assignment]  # a tree grows

    def extend(self, parent: int, steps: Sequence[Step], priors: Sequence[float]) -> range:
        """Add children of `parent` after those it has and return their indices; q starts at the prior."""
        count, first = len(steps), len(self.parent)
        added = range(first, first + count)
        if not count:
            return added
        if self.first_child[parent] < 0:
            self.first_child[parent] = first
        else:
            *_, last = self.children_of(parent)
            self.next_sibling[last] = first
        self._set_priors(priors)
        self.parent.extend((parent,) * count)
        self.first_child.extend((_NONE,) * count)
        self.next_sibling.extend(added[1:])
        self.next_sibling.append(_NONE)
        self.depth += bytes((self.depth[parent] + 1,)) * count
        self.visits.extend((0,) * count)
        self.q_sum.extend(priors)
        for column in (self.closed, self._terminals, self._verdicts):
            column.extend(bytes(count))
        for step in steps:
            self._kinds.append(_KIND_CODE[step.kind])
            self._texts += step.text.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._texts))
        return added

    def _set_priors(self, priors: Sequence[float]) -> None:
        if not self._priors and any(priors):
            self._priors.extend((0.0,) * len(self.parent))
        if self._priors:
            self._priors.extend(priors)

    def prior_of(self, index: int) -> float:
        """q(s) before any rollout: the PPM score, or 0 (paper, equations 2 and 3)."""
        return self._priors[index] if self._priors else 0.0

    def drop(self, node: int, reason: str, text: str, detail: str = "") -> None:  # noqa: ARG002 - for subclasses
        """Count a candidate, `text`, that did not become a child of `node`; `detail` says what is wrong."""
        self.drops[reason] += 1

    def trim(self) -> None:
        """Give back the room for growth: a finished tree is a tenth smaller."""
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[:])

    def end(self, index: int, terminal: Terminal, *, correct: bool | None = None) -> None:
        """Say why rollouts end at a node, and for an answer what the answer check said."""
        self._terminals[index] = _TERMINAL_CODE[terminal]
        self._verdicts[index] = _VERDICT_CODE[correct]

    def is_terminal(self, index: int) -> bool:
        """Whether rollouts end at this node."""
        return self._terminals[index] != 0

    def children_of(self, index: int) -> Iterator[int]:
        """Indices of the children in the order they were proposed."""
        child = self.first_child[index]
        while child >= 0:
            yield child
            child = self.next_sibling[child]

    def path_to(self, index: int) -> list[int]:
        """Indices from the root to a node, both included."""
        path = [index]
        while (index := self.parent[index]) >= 0:
            path.append(index)
        path.reverse()
        return path

    def kind_of(self, index: int) -> StepKind | None:
        """Kind of a node's step; None for the root."""
        return _KINDS[self._kinds[index]]

    def text_of(self, index: int) -> str:
        """Text of a node's step; empty for the root."""
        start = self._ends[index - 1] if index else 0
        return self._texts[start : self._ends[index]].decode("utf-8", "surrogatepass")

    def texts_to(self, index: int) -> tuple[str, ...]:
        """Texts of the steps from the root to a node."""
        return tuple([self.text_of(each) for each in self.path_to(index)[1:]])

    def node(self, index: int) -> Node:
        """One node."""
        return Node(self, index)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes; `nodes[i].index == i`."""
        return tuple([Node(self, index) for index in range(len(self))])

    @property
    def root(self) -> Node:
        """The node before the first step."""
        return Node(self, 0)

    def add(self, parent: Node, step: Step, prior: float) -> Node:
        """Add one child."""
        return Node(self, self.extend(parent.index, (step,), (prior,))[0])

    def children(self, node: Node) -> list[Node]:
        """The children in the order they were proposed."""
        return [Node(self, index) for index in self.children_of(node.index)]

    def path(self, node: Node) -> list[Node]:
        """From the root to `node`, both included."""
        return [Node(self, index) for index in self.path_to(node.index)]

    def steps(self, node: Node) -> tuple[Step, ...]:
        """The steps from the root to `node`."""
        return tuple([each.step for each in self.path(node) if each.step is not None])

    def answers(self) -> Iterator[Node]:
        """Every node that ends in an answer."""
        code = _TERMINAL_CODE[Terminal.ANSWER]
        return (Node(self, index) for index, each in enumerate(self._terminals) if each == code)


class Node:
    """One row of the arena: reads and writes the tree's columns at its index."""

    __slots__ = ("index", "tree")

    def __init__(self, tree: Tree, index: int) -> None:
        self.tree = tree
        self.index = index

    def __eq__(self, other: object) -> bool:
        """Whether it is the same row of the same tree."""
        return isinstance(other, Node) and self.tree is other.tree and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.tree), self.index))

    @property
    def parent(self) -> int | None:
        """Index of the parent; None for the root."""
        return self.tree.parent[self.index] if self.index else None

    @property
    def depth(self) -> int:
        """Steps from the root."""
        return self.tree.depth[self.index]

    @property
    def step(self) -> Step | None:
        """The step; None for the root."""
        kind = self.tree.kind_of(self.index)
        return None if kind is None else Step(kind, self.tree.text_of(self.index))

    @property
    def children(self) -> list[int]:
        """Indices of the children."""
        return list(self.tree.children_of(self.index))

    @property
    def visits(self) -> int:
        """N(s)."""
        return self.tree.visits[self.index]

    @visits.setter
    def visits(self, value: int) -> None:
        self.tree.visits[self.index] = value

    @property
    def q_sum(self) -> float:
        """q(s)."""
        return self.tree.q_sum[self.index]

    @q_sum.setter
    def q_sum(self, value: float) -> None:
        self.tree.q_sum[self.index] = value

    @property
    def q(self) -> float:
        """Mean value of the step; before the first visit, the prior (paper, equation 1)."""
        return self.q_sum / self.visits if self.visits else self.prior

    @property
    def prior(self) -> float:
        """q(s) before any rollout."""
        return self.tree.prior_of(self.index)

    @property
    def expanded(self) -> bool:
        """Whether candidates were asked for."""
        return self.tree.first_child[self.index] >= 0 or self.terminal is Terminal.DEAD_END

    @property
    def closed(self) -> bool:
        """Whether it is a dead end, or all its children are closed."""
        return bool(self.tree.closed[self.index])

    @closed.setter
    def closed(self, value: bool) -> None:
        self.tree.closed[self.index] = value

    @property
    def terminal(self) -> Terminal | None:
        """Why it ends a rollout, or None."""
        return _TERMINALS[self.tree._terminals[self.index]]  # noqa: SLF001 - a row of its table

    @property
    def correct(self) -> bool | None:
        """For an answer, whether the answer check accepted it; None without a reference."""
        return _VERDICTS[self.tree._verdicts[self.index]]  # noqa: SLF001 - as above
