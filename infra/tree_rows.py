"""Trees as rows of the catalog, and back."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from infra.catalog.rows import DropRow, NodeRow, TrajectoryRow, TreeRow
from rstar_core.search import MISSING_CANDIDATE
from rstar_core.trajectories import trajectories
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Step, StepKind, Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from infra.driver import GrownTree
    from rstar_core.tree import Node

_NOT_FAILED = {"identical_sibling", MISSING_CANDIDATE}


def tree_row(grown: GrownTree, round_id: int, shard_id: str) -> TreeRow:
    """Size, outcome and cost of a tree."""
    found = trajectories(grown.job.problem_id, grown.tree)
    num_correct = sum(each.correct for each in found)
    return TreeRow(
        round_id=round_id,
        shard_id=shard_id,
        problem_id=grown.job.problem_id,
        tree_index=grown.job.tree_index,
        seed=grown.job.seed,
        num_rollouts=grown.tree.num_rollouts,
        num_nodes=len(grown.tree),
        num_correct=num_correct,
        num_trajectories=len(found),
        solved=num_correct > 0,
        num_tokens=grown.tree.num_tokens,
        num_candidates=grown.tree.num_candidates,
        num_failed_candidates=sum(
            count for reason, count in grown.tree.drops.items() if reason not in _NOT_FAILED
        ),
        seconds=grown.seconds,
    )


def node_rows(grown: GrownTree, round_id: int, shard_id: str, *, scored: bool) -> list[NodeRow]:
    """Every node; `scored` says whether priors are a PPM's scores."""
    return [_node_row(node, grown, round_id, shard_id, scored=scored) for node in grown.tree.nodes]


def trajectory_rows(grown: GrownTree, round_id: int, shard_id: str) -> list[TrajectoryRow]:
    """Every visited path to an answer."""
    return [
        TrajectoryRow(
            round_id=round_id,
            shard_id=shard_id,
            problem_id=grown.job.problem_id,
            tree_index=grown.job.tree_index,
            trajectory_index=index,
            node_ids=each.node_ids,
            step_texts=tuple(step.text for step in each.steps),
            q_values=each.q_values,
            mean_q=each.mean_q,
            min_q=each.min_q,
            answer=each.answer,
            correct=each.correct,
            text=each.text,
            found_at_rollout=each.found_at_rollout,
        )
        for index, each in enumerate(trajectories(grown.job.problem_id, grown.tree))
    ]


def drop_rows(grown: GrownTree, round_id: int, shard_id: str) -> list[DropRow]:
    """Candidates that did not become nodes, counted by reason."""
    return [
        DropRow(
            round_id=round_id,
            shard_id=shard_id,
            stage="search",
            problem_id=grown.job.problem_id,
            source=None,
            reason=reason,
            detail=None,
            count=count,
        )
        for reason, count in sorted(grown.tree.drops.items())
    ]


def trajectory_from(row: TrajectoryRow) -> Trajectory:
    """The trajectory that a row was made from; only the steps' texts are kept, not their code."""
    return Trajectory(
        problem_id=row.problem_id,
        node_ids=row.node_ids,
        steps=tuple(Step(StepKind.CODE, text) for text in row.step_texts),
        q_values=row.q_values,
        answer=row.answer,
        correct=row.correct,
    )


def trees_from(rows: Sequence[NodeRow]) -> Iterator[tuple[str, Tree]]:
    """(problem id, tree) of each tree among rows ordered by problem, tree and node."""
    for key, group in groupby(rows, key=lambda row: (row.problem_id, row.tree_index)):
        yield key[0], _tree_from(group)


def _tree_from(rows: Iterable[NodeRow]) -> Tree:
    tree = Tree()
    for row in rows:
        if row.kind is not None and row.parent_id is not None:
            (index,) = tree.extend(row.parent_id, [Step(StepKind(row.kind), row.text)], [row.prior or 0.0])
            if row.kind == StepKind.ANSWER:
                tree.end(index, Terminal.ANSWER, correct=row.correct)
        tree.visits[row.node_id] = row.visits
        tree.q_sum[row.node_id] = row.q_sum
    return tree


def _node_row(node: Node, grown: GrownTree, round_id: int, shard_id: str, *, scored: bool) -> NodeRow:
    step = node.step
    ran = step is not None and step.kind is not StepKind.ANSWER
    return NodeRow(
        round_id=round_id,
        shard_id=shard_id,
        problem_id=grown.job.problem_id,
        tree_index=grown.job.tree_index,
        node_id=node.index,
        parent_id=node.parent,
        depth=node.depth,
        kind=None if step is None else step.kind,
        text="" if step is None else step.text,
        code="" if step is None else step.code,
        status="ok" if ran else None,
        visits=node.visits,
        q_sum=node.q_sum,
        q=node.q,
        prior=node.prior if scored and step is not None else None,
        terminal=node.terminal is not None,
        correct=node.correct,
        answer=None if step is None else step.answer,
    )
