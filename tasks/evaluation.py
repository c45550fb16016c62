"""Evaluation shards: the held-out problems, cut into shards, and the answers of one of them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.campaigns import refuse_other_settings
from infra.evaluation import evaluate_problems, evaluation_jobs
from infra.models.registry import BASE, base_policy, latest_ppm, trained_policy
from infra.services import open_services
from infra.shard_logs import ShardLogs, belonging_of
from infra.workspace import Workspace
from rstar_core.budget import greedy_search, system2_search
from rstar_core.config import CampaignConfig
from rstar_core.errors import ArtifactError, ModelError
from rstar_core.types import Split
from tasks.options import RETRIES, RETRY_DELAYS_SECONDS, RETRY_JITTER, retry_if_transient
from tasks.shards import begin, plan, pulse_of, reason_kept, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import ShardRow
    from infra.driver import Services, TreeJob
    from infra.replay_log import Belonging
    from infra.services import PolicySpec, ScorerSpec
    from rstar_core.types import Problem

SYSTEM2 = "system2"


@task(name="plan-evaluation", cache_policy=NO_CACHE)
def plan_evaluation(config: CampaignConfig, round_id: int, label: str, again: bool = False) -> list[str]:
    """Shards of held-out problems for one label; the ids of those that are not done.

    With `again` none is: what they found is removed, and the problems are cut into shards anew. Nothing is
    removed before the models answer.

    Raises:
        ConfigError: The campaign was started with other settings.
        ModelError: A model cannot be found or loaded.
    """
    kind = f"evaluate:{label}"
    with Workspace.of(config).open_catalog() as catalog:
        refuse_other_settings(catalog, config)
        if again:
            evaluating_services(catalog, config, round_id, label)
            logs = ShardLogs(Workspace.of(config))
            for shard in catalog.shards(round_id, kind=kind):
                logs.remove(shard)
            catalog.forget_stage(round_id, f"evaluate {label}", kind=kind)
        ids = [problem.problem_id for problem in catalog.problems(Split.HELDOUT)]
        chosen = ids[: config.evaluation.num_problems]
        return plan(catalog, config, round_id, kind, f"evaluate-{label}", chosen)


@task(
    name="evaluate-shard",
    task_run_name="evaluate-round-{round_id}-{shard_id}",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_jitter_factor=RETRY_JITTER,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def evaluate_shard(config: CampaignConfig, round_id: int, shard_id: str, label: str) -> str:
    """Evaluate the held-out problems of one shard under one label; returns the shard's id."""
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        shard, problems = begin(catalog, round_id, shard_id)
        started = time.monotonic()
        with reason_kept(catalog, shard, started):
            policy, ppm = _evaluated(catalog, config, round_id, label)
            jobs, logs = _evaluation_jobs(config, problems, round_id, label), ShardLogs(workspace)
            # Unlike those of a search, the settings and the models may have changed since the last attempt.
            with logs.open(_belonging(shard, jobs, policy, ppm), or_anew=True) as log:
                rows = evaluate_problems(
                    problems,
                    jobs,
                    open_services(policy, config.sandbox, ppm, catalog.cost()),
                    shard,
                    label=label,
                    pulse=pulse_of(config, shard),
                    rule=config.evaluation.answer_rule,
                    logs=log.trees,
                )
            catalog.commit_shard(timed(shard, started), evaluations=rows)
    with suppress(ArtifactError):  # it is no use to anybody, and harms nobody
        logs.remove(shard)
    return shard_id


def _evaluation_jobs(
    config: CampaignConfig, problems: Sequence[Problem], round_id: int, label: str
) -> list[TreeJob]:
    """The trees of an evaluation, as its label asks for them."""
    search = config.rounds[max(round_id, 1) - 1].search
    if label == SYSTEM2:
        settings, num_trees = system2_search(search, config.evaluation), config.evaluation.num_trees
    else:
        settings, num_trees = greedy_search(search), 1
    return evaluation_jobs(problems, settings, label=label, seed=config.seed, num_trees=num_trees)


def _evaluated(
    catalog: Catalog, config: CampaignConfig, round_id: int, label: str
) -> tuple[PolicySpec, ScorerSpec | None]:
    """The models that the evaluation of a label asks."""
    ppm = latest_ppm(catalog, config, round_id) if label == SYSTEM2 else None
    return _evaluated_policy(catalog, config, round_id), ppm


def _belonging(
    shard: ShardRow, jobs: Sequence[TreeJob], policy: PolicySpec, ppm: ScorerSpec | None
) -> Belonging:
    """What the log belongs to; models by what they are, since an id may stand for another one tomorrow."""
    proposer = f"{policy.digest or policy.location} ({policy.style})"
    return belonging_of(shard, jobs, proposer, None if ppm is None else ppm.digest or ppm.location)


def evaluating_services(catalog: Catalog, config: CampaignConfig, round_id: int, label: str) -> Services:
    """What the evaluation of a label asks, as `open_services` opens it."""
    policy, ppm = _evaluated(catalog, config, round_id, label)
    return open_services(policy, config.sandbox, ppm, catalog.cost())


def _evaluated_policy(catalog: Catalog, config: CampaignConfig, round_id: int) -> PolicySpec:
    """The policy that a round trained; round 0 is the base model."""
    if round_id == 0:
        return base_policy(config)
    trained = trained_policy(catalog, config, round_id)
    if trained is None:
        raise ModelError(f"round {round_id} trained no policy to evaluate ({BASE} is evaluated as round 0)")
    return trained
