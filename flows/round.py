"""One self-evolution round: search, escalate, select, pair, train the policy, train the PPM."""

from __future__ import annotations

import time

from prefect import flow

from flows.dry_run import announce, of_round
from flows.stages import ShardsFailedError, recorded_stage, run_shards, shard_runner
from infra.campaigns import is_done, mark_round, refuse_other_settings
from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import ShardRow
from infra.giving_up import give_up, may_go_on
from infra.models.registry import round_policy, round_ppm, trained_id
from infra.progress import progress
from infra.services import counting, open_services
from infra.synthesis import SEARCH_STAGE, num_trees
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from tasks.datasets import build_pairs, select_trajectories
from tasks.monitoring import SearchMonitor
from tasks.report import publish_coverage
from tasks.search import plan_search, search_shard
from tasks.train import check_trainings, train_policy, train_ppm


@flow(
    name="round",
    flow_run_name="{config.name}-round-{round_id}",
    task_runner=shard_runner(),
)
def round_flow(config: CampaignConfig, round_id: int, dry_run: bool = False) -> str | None:
    """Run what is missing of a round; returns the id of the policy it trained, or None."""
    if dry_run:
        announce(of_round(config, round_id), config.name)
        return None
    with Workspace.of(config).claim(f"round-{round_id}"):
        return _run(config, round_id)


def _run(config: CampaignConfig, round_id: int) -> str | None:
    done = _is_done(config, round_id)
    shard_ids = plan_search(config, round_id)
    if done and _may_go_on(config, round_id):
        policy_id = trained_id(round_id, "policy")
        return policy_id if policy_id in _models(config, round_id) else None
    check_trainings(config, round_id)
    _mark(config, round_id, "running")
    search_stage(config, round_id, shard_ids, min_success_ratio=config.min_success_ratio)
    with recorded_stage(config, round_id, "select") as record:
        record.detail["examples"] = select_trajectories(config, round_id)
    with recorded_stage(config, round_id, "pairs") as record:
        record.detail["pairs"] = build_pairs(config, round_id)
    publish_coverage(config, round_id)
    known = _models(config, round_id)
    with recorded_stage(config, round_id, "sft") as record:
        policy = train_policy(config, round_id)
        record.nothing_to_do = policy is None or policy in known
    with recorded_stage(config, round_id, "ppm") as record:
        ppm = train_ppm(config, round_id)
        record.nothing_to_do = ppm is None or ppm in known
    _mark(config, round_id, "done")
    return policy


def search_stage(
    config: CampaignConfig, round_id: int, shard_ids: list[str], *, min_success_ratio: float = 1.0
) -> None:
    """Search the shards that are not done, and record how busy the engine was meanwhile.

    Each shard's hard problems go on as soon as the shard is done, while the others still search.

    Raises:
        ShardsFailedError: Too many failed to go on without them.
    """
    if not shard_ids:
        return
    settings = config.rounds[round_id - 1]
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        policy, ppm = round_policy(catalog, config, round_id), round_ppm(catalog, config, round_id)
        spent = catalog.cost()
        rows = [
            row for row in catalog.fetch(ShardRow, "round_id = ?", (round_id,)) if row.shard_id in shard_ids
        ]
    services = open_services(
        policy, config.sandbox, ppm, spent
    )  # before the clock starts: loading is no search
    trees = sum(num_trees(row, settings) for row in rows)

    def follow(shard: ShardRow | None) -> tuple[CampaignConfig, int, str] | None:
        if shard is None:
            return None
        progress().extend(SEARCH_STAGE, num_trees(shard, settings))
        return config, round_id, shard.shard_id

    grown, started = counting(services), time.perf_counter()

    def measure() -> dict[str, float]:
        return {**grown(), "wall_seconds": time.perf_counter() - started}

    with recorded_stage(config, round_id, SEARCH_STAGE, total=trees, unit="trees", measure=measure) as record:
        arguments = [(config, round_id, each) for each in shard_ids]
        monitor = SearchMonitor(config, round_id, measure)

        def keep() -> None:
            record.save_now_and_then()
            monitor.update()

        try:
            run_shards(search_shard, arguments, SEARCH_STAGE, follow, keep)
        except ShardsFailedError:
            with workspace.open_catalog() as catalog:
                if not may_go_on(catalog, round_id, min_success_ratio):
                    raise
                record.detail["given_up"] = give_up(catalog, round_id)
        finally:
            monitor.update(at_once=True)


def _may_go_on(config: CampaignConfig, round_id: int) -> bool:
    with Workspace.of(config).open_catalog() as catalog:
        return may_go_on(catalog, round_id, config.min_success_ratio)


def _models(config: CampaignConfig, round_id: int) -> set[str]:
    with Workspace.of(config).open_catalog() as catalog:
        return {row.model_id for row in catalog.fetch(ModelRow, "round_id = ?", (round_id,))}


def _is_done(config: CampaignConfig, round_id: int) -> bool:
    with Workspace.of(config).open_catalog() as catalog:
        refuse_other_settings(catalog, config)
        return is_done(catalog, config, round_id)


def _mark(config: CampaignConfig, round_id: int, status: str) -> None:
    with Workspace.of(config).open_catalog() as catalog:
        mark_round(catalog, config, round_id, status)
