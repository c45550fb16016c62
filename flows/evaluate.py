"""Held-out evaluation of one model: greedy pass@1, or System 2."""

from __future__ import annotations

from prefect import flow

from flows.dry_run import announce, of_evaluation
from flows.stages import recorded_stage, run_shards, shard_runner
from infra.catalog.rows import ShardRow
from infra.services import counting
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from rstar_core.errors import ConfigError
from tasks.evaluation import SYSTEM2, evaluate_shard, evaluating_services, plan_evaluation
from tasks.report import publish_evaluation


@flow(
    name="evaluate",
    flow_run_name="{config.name}-evaluate-{label}",
    task_runner=shard_runner(),
)
def evaluate_flow(
    config: CampaignConfig, round_id: int, label: str, dry_run: bool = False, again: bool = False
) -> None:
    """Evaluate what is missing of `label`: `base` (round 0), `r1`, … or `system2`; or all of it again."""
    if dry_run:
        announce(of_evaluation(config, round_id, label, again=again), config.name)
        return
    with Workspace.of(config).claim(f"round-{round_id}"):
        shard_ids = plan_evaluation(config, round_id, label, again)
        if shard_ids:
            evaluate_stage(config, round_id, label, shard_ids)


def evaluate_stage(config: CampaignConfig, round_id: int, label: str, shard_ids: list[str]) -> None:
    """Run these shards of an evaluation and publish its figures."""
    with Workspace.of(config).open_catalog() as catalog:
        rows = catalog.fetch(ShardRow, "round_id = ? AND kind = ?", (round_id, f"evaluate:{label}"))
        services = evaluating_services(catalog, config, round_id, label)  # loading is no evaluation
    total = sum(row.num_problems for row in rows if row.shard_id in shard_ids)
    stage = f"evaluate {label}"
    arguments = [(config, round_id, each, label) for each in shard_ids]
    measure = counting(services)
    with recorded_stage(config, round_id, stage, total=total, unit="problems", measure=measure) as record:
        run_shards(evaluate_shard, arguments, stage, save=record.save_now_and_then)
    publish_evaluation(config, round_id, label)


def round_of_label(label: str, num_rounds: int) -> int:
    """The round whose models a label means: base is 0, r2 is 2, system2 the last.

    Raises:
        ConfigError: There is no such label.
    """
    if label == SYSTEM2:
        return num_rounds
    labels = {"base": 0} | {f"r{number}": number for number in range(1, num_rounds + 1)}
    if label not in labels:
        raise ConfigError(f"there is no label '{label}' here; choose from {', '.join(labels)}, {SYSTEM2}")
    return labels[label]
