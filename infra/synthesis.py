"""One shard of search: problems in, trees grown side by side, rows of the catalog out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from infra.driver import GrownTree, Services, TreeJob, grow_trees
from infra.progress import progress
from infra.tree_rows import drop_rows, node_rows, trajectory_rows, tree_row
from rstar_core.budget import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import ShardRow
    from rstar_core.config import SearchConfig
    from rstar_core.types import Problem


def grow_shard(
    problems: Sequence[Problem],
    config: SearchConfig,
    services: Services,
    *,
    seed: int,
    round_id: int,
    tree_indices: Sequence[int] = (0,),
    stage: str = "search",
) -> list[GrownTree]:
    """Grow one tree per problem and tree index, all at once, with the reference answers.

    A tree's seed depends on campaign seed, round, problem and tree index alone.
    """
    jobs = [
        TreeJob(
            each.problem_id,
            each.question,
            each.answer,
            index,
            derive_seed(seed, round_id, each.problem_id, index),
        )
        for each in problems
        for index in tree_indices
    ]

    async def run() -> list[GrownTree]:
        grown = []
        async for tree in grow_trees(jobs, config, services):
            grown.append(tree)
            progress().advance(stage)
        return grown

    return asyncio.run(run())


def commit_search(catalog: Catalog, shard: ShardRow, grown: Sequence[GrownTree], *, scored: bool) -> None:
    """Write everything a search shard found in one transaction."""
    key = (shard.round_id, shard.shard_id)
    catalog.commit_shard(
        shard,
        trees=[tree_row(each, *key) for each in grown],
        nodes=[row for each in grown for row in node_rows(each, *key, scored=scored)],
        trajectories=[row for each in grown for row in trajectory_rows(each, *key)],
        drops=[row for each in grown for row in drop_rows(each, *key)],
    )
