"""Trajectories of a tree, and which of them train the next policy (paper, section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rstar_core.types import Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rstar_core.tree import Tree


def trajectories(problem_id: str, tree: Tree) -> tuple[Trajectory, ...]:
    """Every visited root-to-answer path; `correct` is False where there is no reference."""
    first = {leaf: number for number, leaf in reversed([*enumerate(tree.rollout_leaves, start=1)])}
    found = []
    for leaf in tree.answers():
        answer = None if leaf.step is None else leaf.step.answer
        if leaf.visits == 0 or answer is None:
            continue
        path = tree.path(leaf)[1:]
        found.append(
            Trajectory(
                problem_id=problem_id,
                node_ids=tuple(node.index for node in path),
                steps=tree.steps(leaf),
                q_values=tuple(node.q for node in path),
                answer=answer,
                correct=leaf.correct is True,
                found_at_rollout=first.get(leaf.index),
            )
        )
    return tuple(found)


def select_best(found: Iterable[Trajectory], *, count: int = 2) -> tuple[Trajectory, ...]:
    """The `count` correct trajectories with the highest mean Q, no text twice.

    Ties: the higher minimum Q, then the shorter text, then the text itself, so that the choice never
    depends on the order of arrival.
    """
    distinct = {
        trajectory.text: trajectory for trajectory in sorted(found, key=_quality) if trajectory.correct
    }
    return tuple(sorted(distinct.values(), key=_quality, reverse=True)[:count])


def keeps_synthetic(found: Sequence[Trajectory]) -> bool:
    """Whether at least half of a synthetic problem's trajectories are correct; if not, drop the problem."""
    return bool(found) and 2 * sum(trajectory.correct for trajectory in found) >= len(found)


def _quality(trajectory: Trajectory) -> tuple[float, float, int, str]:
    return (trajectory.mean_q, trajectory.min_q, -len(trajectory.text), trajectory.text)
