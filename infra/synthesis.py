"""One shard of search: problems in, trees grown side by side, rows of the catalog out."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.catalog.rows import ShardRow, ShardStatus
from infra.driver import GrownTree, Services, TreeJob, grow_trees
from infra.progress import progress
from infra.shard_logs import belonging_of
from infra.tree_rows import drop_rows, node_rows, trajectory_rows, tree_row
from rstar_core.budget import derive_seed, escalate, plan_trees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import TreeRow
    from infra.pulse import Pulse
    from infra.replay_log import ShardLog
    from infra.shard_logs import ShardLogs
    from rstar_core.config import RoundConfig
    from rstar_core.types import Problem

SEARCH_STAGE = "search"
_ESCALATION = "escalation-"


def search_kind(level: int) -> str:
    """Kind of the shards at a level of effort: the search itself, then one escalation after the other."""
    return f"{_ESCALATION}{level}" if level else SEARCH_STAGE


def level_of(shard: ShardRow) -> int:
    """Level of effort of a search shard; the other way round than `search_kind`."""
    return int(shard.kind.removeprefix(_ESCALATION)) if shard.kind != SEARCH_STAGE else 0


def num_trees(shard: ShardRow, settings: RoundConfig) -> int:
    """Trees that a search shard grows."""
    return shard.num_problems * len(plan_trees(level_of(shard), settings.search, settings.escalation))


def tree_jobs(
    problems: Sequence[Problem], settings: RoundConfig, shard: ShardRow, *, seed: int
) -> list[TreeJob]:
    """The trees of a shard; a tree's seed depends on campaign seed, round, problem and tree index alone."""
    plans = plan_trees(level_of(shard), settings.search, settings.escalation)
    return [
        TreeJob(
            each.problem_id,
            each.question,
            each.answer,
            plan.tree_index,
            derive_seed(seed, shard.round_id, each.problem_id, plan.tree_index),
            settings.search.model_copy(update={"num_rollouts": plan.num_rollouts}),
        )
        for each in problems
        for plan in plans
    ]


def open_log(
    logs: ShardLogs, shard: ShardRow, jobs: Sequence[TreeJob], policy: str, ppm: str | None
) -> AbstractContextManager[ShardLog]:
    """The shard's replay log; trees of earlier levels that grow on here start with what they have.

    Raises:
        ReplayError: The log that is there belongs to something else, or is damaged.
        ArtifactError: The store that may have more of it does not answer.
    """
    base = shard.shard_id.partition(".")[0]
    before = [base, *(f"{base}.{level}" for level in range(1, level_of(shard)))] if level_of(shard) else []
    return logs.open(belonging_of(shard, jobs, policy, ppm), before)


def grow_shard(jobs: Sequence[TreeJob], services: Services, log: ShardLog, pulse: Pulse) -> list[GrownTree]:
    """Grow the shard's trees, all at once, from where their logs end.

    Raises:
        ShardTimeoutError: It took too long, or nothing came back for too long.
    """
    heard = replace(services, beat=pulse.beat)

    async def run() -> list[GrownTree]:
        grown = []
        async for tree in grow_trees(jobs, heard, log.trees):
            grown.append(tree)
            progress().advance(SEARCH_STAGE)
        return grown

    return asyncio.run(pulse.guard(run()))


def commit_search(
    catalog: Catalog, shard: ShardRow, grown: Sequence[GrownTree], settings: RoundConfig, *, scored: bool
) -> ShardRow | None:
    """Write everything a search shard found in one transaction, and with it what is to follow.

    Returns the shard of the next escalation, for the problems that are still unsolved; None if there is none.
    """
    key = (shard.round_id, shard.shard_id)
    trees = [tree_row(each, *key) for each in grown]
    follow_up = _follow_up(shard, trees, settings)
    level = level_of(shard)
    regrown = shard.problem_ids if level and not settings.escalation[level - 1].num_new_trees else ()
    before = catalog.trees(shard.round_id, regrown) if regrown else []
    spent = sum(row.num_tokens for row in trees) - sum(row.num_tokens for row in before)
    catalog.commit_shard(
        replace(shard, num_tokens=spent),
        trees=trees,
        nodes=[row for each in grown for row in node_rows(each, *key, scored=scored)],
        trajectories=[row for each in grown for row in trajectory_rows(each, *key)],
        drops=[row for each in grown for row in drop_rows(each, *key)],
        follow_up=follow_up,
        supersedes=regrown,
    )
    return follow_up


def _follow_up(shard: ShardRow, trees: Sequence[TreeRow], settings: RoundConfig) -> ShardRow | None:
    """The shard of the next escalation, if a problem needs one."""
    right, found = Counter[str](), Counter[str]()
    for tree in trees:
        right[tree.problem_id] += tree.num_correct
        found[tree.problem_id] += tree.num_trajectories
    tried = [(each, right[each], found[each]) for each in shard.problem_ids]
    following = escalate(level_of(shard), tried, settings.escalation)
    if following is None:
        return None
    level, problem_ids = following
    return ShardRow(
        round_id=shard.round_id,
        shard_id=f"{shard.shard_id.partition('.')[0]}.{level}",
        kind=search_kind(level),
        attempt=0,
        status=ShardStatus.PENDING,
        num_problems=len(problem_ids),
        problem_ids=problem_ids,
    )
