"""Search shards: the training problems, cut into shards, and the trees of one of them."""

from __future__ import annotations

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.catalog.rows import ShardRow
from infra.giving_up import missing_searches
from infra.models.registry import round_policy, round_ppm, trained_id
from infra.services import open_services
from infra.shard_logs import ShardLogs
from infra.synthesis import commit_search, grow_shard, open_log, search_kind, tree_jobs
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from rstar_core.types import Split
from tasks.logs import ShardLines
from tasks.options import RETRIES, RETRY_DELAYS_SECONDS, RETRY_JITTER, retry_if_transient
from tasks.shards import begin, plan, pulse_of, reason_kept, timed


@task(name="plan-search", cache_policy=NO_CACHE)
def plan_search(config: CampaignConfig, round_id: int) -> list[str]:
    """Cut the training problems into shards; the ids of all searches that are not done, escalations too."""
    with Workspace.of(config).open_catalog() as catalog:
        ids = [problem.problem_id for problem in catalog.problems(Split.TRAIN, round_id=round_id)]
        plan(catalog, config, round_id, search_kind(0), "search", ids)
        return [row.shard_id for row in missing_searches(catalog, round_id)]


@task(
    name="search-shard",
    task_run_name="search-round-{round_id}-{shard_id}",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_jitter_factor=RETRY_JITTER,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def search_shard(config: CampaignConfig, round_id: int, shard_id: str) -> ShardRow | None:
    """Grow the trees of one shard and commit them; returns the shard that goes on with what is unsolved."""
    settings = config.rounds[round_id - 1]
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        shard, problems = begin(catalog, round_id, shard_id)
        started, lines = time.monotonic(), ShardLines(shard)
        with reason_kept(catalog, shard, started):
            policy, ppm = round_policy(catalog, config, round_id), round_ppm(catalog, config, round_id)
            jobs = tree_jobs(problems, settings, shard, seed=config.seed)
            lines.begins(shard, len(jobs))
            logs = ShardLogs(workspace)
            scorer = None if ppm is None else trained_id(round_id - 1, "ppm")
            proposer = f"{policy.model_id} ({policy.style})"
            with open_log(logs, shard, jobs, proposer, scorer) as log:
                grown = grow_shard(
                    jobs,
                    open_services(policy, config.sandbox, ppm, catalog.cost()),
                    log,
                    pulse_of(config, shard),
                )
            follow_up = commit_search(catalog, timed(shard, started), grown, settings, scored=ppm is not None)
    lines.searched(grown, time.monotonic() - started, follow_up)
    logs.finish(log)
    return follow_up
