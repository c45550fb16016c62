"""Held-out problems: the policy alone (greedy), and System 2 (search with the PPM, no reference answer)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from infra.catalog.round_rows import EvaluationRow
from infra.driver import Services, TreeJob, grow_tree
from infra.progress import progress
from rstar_core.budget import derive_seed
from rstar_core.requests import Grade
from rstar_core.trajectories import trajectories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.rows import ShardRow
    from infra.driver import GrownTree
    from rstar_core.config import SearchConfig
    from rstar_core.types import Problem, Trajectory


def evaluate_problems(
    problems: Sequence[Problem],
    config: SearchConfig,
    services: Services,
    shard: ShardRow,
    *,
    label: str,
    seed: int,
    num_trees: int = 1,
) -> list[EvaluationRow]:
    """One row per problem: its chosen answer, and whether the answer check accepts it.

    Every tree gives one trajectory, the best by PPM score (greedy trees have only one); of those the best
    is the answer. The reference answer is used for nothing but the verdict.
    """

    async def one(problem: Problem) -> EvaluationRow:
        jobs = [
            TreeJob(
                problem.problem_id,
                problem.question,
                None,
                index,
                derive_seed(seed, label, problem.problem_id, index),
                config,
            )
            for index in range(num_trees)
        ]
        grown = await asyncio.gather(*(grow_tree(job, services) for job in jobs))
        row = await _judge(problem, grown, services, shard, label)
        progress().advance(f"evaluate {label}")
        return row

    async def run() -> list[EvaluationRow]:
        return list(await asyncio.gather(*(one(problem) for problem in problems)))

    return asyncio.run(run())


async def _judge(
    problem: Problem, grown: Sequence[GrownTree], services: Services, shard: ShardRow, label: str
) -> EvaluationRow:
    candidates = [
        (tree.tree.prior_of(found.node_ids[-1]), found)
        for tree in grown
        for found in trajectories(problem.problem_id, tree.tree)
    ]
    chosen: Trajectory | None = max(candidates, key=lambda each: each[0])[1] if candidates else None
    correct: bool | None = False
    if chosen is not None:
        correct = (await services.grader.grade(Grade((chosen.answer,), problem.answer)))[0].correct
    return EvaluationRow(
        round_id=shard.round_id,
        label=label,
        shard_id=shard.shard_id,
        problem_id=problem.problem_id,
        source=problem.source,
        tier=problem.tier,
        correct=correct,
        answer=None if chosen is None else chosen.answer,
        num_trajectories=len(candidates),
        num_tokens=sum(tree.tree.num_tokens for tree in grown),
        seconds=sum(tree.seconds for tree in grown),
    )
