"""What a tree's nodes were chosen for: selected trajectories, and the two sides of step pairs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.catalog.round_rows import SftExampleRow, StepPairRow
from rstar_core.pairs import step_pairs
from rstar_core.trajectories import trajectories

if TYPE_CHECKING:
    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import RoundRow
    from rstar_core.tree import Tree
    from rstar_core.types import Problem

_Q_DIGITS = 9
"""A Q in a pair and the same Q of a tree read back from rows differ by rounding at most."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What nodes were chosen for.

    Attributes:
        ranks: Per node the ranks of the selected trajectories through it; 1 is the best.
        positive: Nodes that stand in a step pair as the better side; an answer's whole trajectory does.
        negative: The same for the worse side.
    """

    ranks: dict[int, list[int]]
    positive: frozenset[int]
    negative: frozenset[int]


def marks_of(catalog: Catalog, problem: Problem, round_row: RoundRow, tree_index: int, tree: Tree) -> Marks:
    """The marks of one tree; there are none before its round selected anything."""
    positive, negative = _sides(catalog, problem, round_row, tree)
    return Marks(_ranks(catalog, problem, round_row.round_id, tree_index, tree), positive, negative)


def _ranks(
    catalog: Catalog, problem: Problem, round_id: int, tree_index: int, tree: Tree
) -> dict[int, list[int]]:
    chosen = catalog.fetch(
        SftExampleRow,
        "round_id = ? AND problem_id = ? AND tree_index = ?",
        (round_id, problem.problem_id, tree_index),
        order_by="rank",
    )
    leaves = {tree.texts_to(leaf.index): leaf.index for leaf in tree.answers()}
    ranks: defaultdict[int, list[int]] = defaultdict(list)
    for row in chosen:
        leaf = leaves.get(row.step_texts)
        for node in [] if leaf is None else tree.path_to(leaf)[1:]:
            ranks[node].append(row.rank)
    return dict(ranks)


def _sides(
    catalog: Catalog, problem: Problem, round_row: RoundRow, tree: Tree
) -> tuple[frozenset[int], frozenset[int]]:
    """Nodes in step pairs, better and worse ones.

    A pair does not say which tree it is from, and trees may agree in texts and Q: what counts is what this
    tree gives and the catalog holds.
    """
    where = "round_id = ? AND problem_id = ?"
    rows = catalog.fetch(StepPairRow, where, (round_row.round_id, problem.problem_id))
    held = {(row.prefix, row.positive, row.negative) for row in rows}
    ppm = round_row.config["rounds"][round_row.round_id - 1].get("ppm") or {}
    given = step_pairs(problem.problem_id, tree, per_side=ppm.get("pairs_per_side", 2))
    kept = [each for each in given if (each.prefix, each.positive, each.negative) in held]
    nodes = {
        ("".join(tree.texts_to(tree.parent[index])), tree.text_of(index)): index
        for index in range(1, len(tree))
    }
    positive = {nodes[each.prefix, each.positive] for each in kept}
    negative = {nodes[each.prefix, each.negative] for each in kept}
    for each in trajectories(problem.problem_id, tree):
        mean_q = round(each.mean_q, _Q_DIGITS)
        for row in rows:
            if row.final and (each.text, mean_q) == (row.positive, round(row.positive_q or 0.0, _Q_DIGITS)):
                positive.add(each.node_ids[-1])
            if row.final and (each.text, mean_q) == (row.negative, round(row.negative_q or 0.0, _Q_DIGITS)):
                negative.add(each.node_ids[-1])
    return frozenset(positive), frozenset(negative)
