"""Preference pairs for the process preference model (paper, section 3.3 and equation 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstar_core.types import StepKind, StepPair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rstar_core.tree import Node, Tree
    from rstar_core.types import Trajectory


def step_pairs(
    problem_id: str, tree: Tree, *, per_side: int = 2, tree_label: str = "0"
) -> tuple[StepPair, ...]:
    """Pairs of siblings: the best that lead to a right answer against the worst that lead to a wrong one.

    Only visited children count. A child that leads to both kinds of answer stands on at most one side, and a
    pair is made only if the positive's Q is the higher one. Answer steps are compared as whole trajectories
    by `final_pairs`. `tree_label` keeps the groups of a problem's trees apart.
    """
    right, wrong = _leads_to(tree, correct=True), _leads_to(tree, correct=False)
    pairs: list[StepPair] = []
    for node in tree.nodes:
        children = [
            c for c in tree.children(node) if c.visits and c.step and c.step.kind is not StepKind.ANSWER
        ]
        by_q = sorted(children, key=lambda child: (-child.q, child.index))
        positives = [child for child in by_q if child.index in right][:per_side]
        negatives = [c for c in reversed(by_q) if c.index in wrong and c not in positives][:per_side]
        matched = [(p, n) for p in positives for n in negatives if p.q > n.q]
        prefix = "".join(step.text for step in tree.steps(node))
        group = f"{problem_id}/{tree_label}/{node.index}"
        pairs += [_sibling_pair(problem_id, group, prefix, p, n, 1 / len(matched)) for p, n in matched]
    return tuple(pairs)


def final_pairs(problem_id: str, found: Sequence[Trajectory], *, per_side: int = 2) -> tuple[StepPair, ...]:
    """Pairs of whole trajectories, best correct against worst incorrect: the prefix rule is relaxed."""
    by_mean = sorted(found, key=lambda each: (-each.mean_q, each.text))
    positives = _distinct([each for each in by_mean if each.correct])[:per_side]
    negatives = _distinct([each for each in reversed(by_mean) if not each.correct])[:per_side]
    weight = 1 / max(1, len(positives) * len(negatives))
    return tuple(
        StepPair(
            problem_id=problem_id,
            group=f"{problem_id}/final",
            prefix="",
            positive=positive.text,
            negative=negative.text,
            positive_q=positive.mean_q,
            negative_q=negative.mean_q,
            depth=len(positive.steps),
            final=True,
            weight=weight,
        )
        for positive in positives
        for negative in negatives
    )


def _leads_to(tree: Tree, *, correct: bool) -> set[int]:
    """Indices of the nodes on a path to a visited answer of the given kind."""
    return {
        node.index
        for leaf in tree.answers()
        if leaf.visits and leaf.correct is correct
        for node in tree.path(leaf)
    }


def _distinct(found: Sequence[Trajectory]) -> list[Trajectory]:
    """The first of each text, in order."""
    first: dict[str, Trajectory] = {}
    for trajectory in found:
        first.setdefault(trajectory.text, trajectory)
    return list(first.values())


def _sibling_pair(
    problem_id: str, group: str, prefix: str, positive: Node, negative: Node, weight: float
) -> StepPair:
    if positive.step is None or negative.step is None:
        raise ValueError("the root is nobody's sibling")
    return StepPair(
        problem_id=problem_id,
        group=group,
        prefix=prefix,
        positive=positive.step.text,
        negative=negative.step.text,
        positive_q=positive.q,
        negative_q=negative.q,
        depth=positive.depth,
        final=False,
        weight=weight,
    )
