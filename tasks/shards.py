"""Shards: the unit of work, of retry and of progress. Each commits once, in one transaction."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.campaigns import refuse_other_settings
from infra.catalog.rows import ShardRow, ShardStatus
from infra.evaluation import evaluate_problems
from infra.giving_up import missing_searches
from infra.metrics import serve_metrics
from infra.models.registry import (
    BASE,
    base_policy,
    latest_ppm,
    round_policy,
    round_ppm,
    trained_id,
    trained_policy,
)
from infra.pulse import Pulse
from infra.services import open_services
from infra.synthesis import commit_search, grow_shard, open_log, search_kind, tree_jobs
from infra.workspace import Workspace
from rstar_core.budget import greedy_search, system2_search
from rstar_core.config import CampaignConfig
from rstar_core.errors import ArtifactError, ModelError, RstarError
from rstar_core.types import Split
from tasks.logs import ShardLines
from tasks.options import RETRIES, RETRY_DELAYS_SECONDS, RETRY_JITTER, retry_if_transient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.catalog.catalog import Catalog
    from infra.driver import Services
    from infra.services import PolicySpec
    from rstar_core.types import Problem

SYSTEM2 = "system2"


@task(name="plan-search", cache_policy=NO_CACHE)
def plan_search(config: CampaignConfig, round_id: int) -> list[str]:
    """Cut the training problems into shards; the ids of all searches that are not done, escalations too."""
    with Workspace.of(config).open_catalog() as catalog:
        ids = [problem.problem_id for problem in catalog.problems(Split.TRAIN, round_id=round_id)]
        _plan(catalog, config, round_id, search_kind(0), "search", ids)
        return [row.shard_id for row in missing_searches(catalog, round_id)]


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
            catalog.forget_stage(round_id, f"evaluate {label}", kind=kind)
        ids = [problem.problem_id for problem in catalog.problems(Split.HELDOUT)]
        chosen = ids[: config.evaluation.num_problems]
        return _plan(catalog, config, round_id, kind, f"evaluate-{label}", chosen)


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
        shard, problems = _begin(catalog, round_id, shard_id)
        started, lines = time.monotonic(), ShardLines(shard)
        with _reason_kept(catalog, shard, started):
            policy, ppm = round_policy(catalog, config, round_id), round_ppm(catalog, config, round_id)
            jobs = tree_jobs(problems, settings, shard, seed=config.seed)
            lines.begins(shard, len(jobs))
            scorer = None if ppm is None else trained_id(round_id - 1, "ppm")
            mirror, proposer = workspace.log_mirror(), f"{policy.model_id} ({policy.style})"
            with (
                open_log(workspace, shard, jobs, proposer, scorer, mirror) as log,
                nullcontext() if mirror is None else mirror.following(log.path),
            ):
                grown = grow_shard(
                    jobs,
                    open_services(policy, config.sandbox, ppm, catalog.cost()),
                    log,
                    _pulse(config, shard),
                )
            follow_up = commit_search(
                catalog, _timed(shard, started), grown, settings, scored=ppm is not None
            )
    lines.searched(grown, time.monotonic() - started, follow_up)
    log.finish()
    if mirror is not None:
        with suppress(ArtifactError):  # the pieces are there still, and nobody needs them but `rstar tree`
            mirror.seal(log.path)
    return follow_up


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
    with Workspace.of(config).open_catalog() as catalog:
        shard, problems = _begin(catalog, round_id, shard_id)
        started = time.monotonic()
        with _reason_kept(catalog, shard, started):
            search = config.rounds[max(round_id, 1) - 1].search
            system2 = label == SYSTEM2
            services = evaluating_services(catalog, config, round_id, label)
            rows = evaluate_problems(
                problems,
                system2_search(search, config.evaluation) if system2 else greedy_search(search),
                services,
                shard,
                label=label,
                seed=config.seed,
                pulse=_pulse(config, shard),
                num_trees=config.evaluation.num_trees if system2 else 1,
                rule=config.evaluation.answer_rule,
            )
            catalog.commit_shard(_timed(shard, started), evaluations=rows)
    return shard_id


def evaluating_services(catalog: Catalog, config: CampaignConfig, round_id: int, label: str) -> Services:
    """What the evaluation of a label asks, as `open_services` opens it."""
    ppm = latest_ppm(catalog, config, round_id) if label == SYSTEM2 else None
    policy = _evaluated_policy(catalog, config, round_id)
    return open_services(policy, config.sandbox, ppm, catalog.cost())


def _plan(
    catalog: Catalog,
    config: CampaignConfig,
    round_id: int,
    kind: str,
    prefix: str,
    problem_ids: Sequence[str],
) -> list[str]:
    """Write down the shards of the problems that are in none yet; the ids of all unfinished ones.

    A shard keeps its problems once it is planned: those that are added later get shards of their own.
    """
    known = catalog.shards(round_id, kind=kind)
    planned = {each for row in known for each in row.problem_ids}
    left, size = [each for each in problem_ids if each not in planned], config.shard_size
    parts = [tuple(left[start : start + size]) for start in range(0, len(left), size)]
    catalog.plan_shards(
        ShardRow(
            round_id=round_id,
            shard_id=f"{prefix}-{number:05d}",
            kind=kind,
            attempt=0,
            status=ShardStatus.PENDING,
            num_problems=len(part),
            problem_ids=part,
        )
        for number, part in enumerate(parts, start=len(known))
    )
    return [row.shard_id for row in catalog.missing_shards(round_id, kind=kind)]


def _pulse(config: CampaignConfig, shard: ShardRow) -> Pulse:
    return Pulse(
        shard.shard_id,
        timeout_seconds=config.shard_timeout_seconds,
        stall_seconds=config.shard_stall_seconds,
    )


def _begin(catalog: Catalog, round_id: int, shard_id: str) -> tuple[ShardRow, list[Problem]]:
    serve_metrics()
    row = catalog.fetch(ShardRow, "round_id = ? AND shard_id = ?", (round_id, shard_id))[0]
    shard = catalog.start_shard(row)
    known = {problem.problem_id: problem for problem in catalog.problems(round_id=round_id)}
    return shard, [known[problem_id] for problem_id in shard.problem_ids]


@contextmanager
def _reason_kept(catalog: Catalog, shard: ShardRow, started: float) -> Iterator[None]:
    """Write down why an attempt failed; a shard without a reason would look as if it still ran."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, RstarError) else f"{type(error).__name__}: {error}"
        catalog.fail_shard(_timed(shard, started), reason)
        raise


def _timed(shard: ShardRow, started: float) -> ShardRow:
    """The shard with the time of its attempt, by a clock that nobody sets."""
    return replace(shard, seconds=time.monotonic() - started)


def _evaluated_policy(catalog: Catalog, config: CampaignConfig, round_id: int) -> PolicySpec:
    """The policy that a round trained; round 0 is the base model."""
    if round_id == 0:
        return base_policy(config)
    trained = trained_policy(catalog, config, round_id)
    if trained is None:
        raise ModelError(f"round {round_id} trained no policy to evaluate ({BASE} is evaluated as round 0)")
    return trained
