"""What a round is still missing, run again: for an operator, without anything else of the campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import flow

from flows.dry_run import announce, as_text
from flows.evaluate import evaluate_stage
from flows.round import search_stage
from flows.stages import shard_runner
from infra.campaigns import refuse_other_settings
from infra.services import close_services
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from rstar_core.errors import ConfigError
from tasks.report import publish_coverage

if TYPE_CHECKING:
    from infra.catalog.rows import ShardRow

_EVALUATION = "evaluate:"


@flow(name="retry", flow_run_name="{config.name}-retry-{round_id}", task_runner=shard_runner())
def retry_flow(
    config: CampaignConfig, round_id: int, shard_ids: list[str] | None = None, dry_run: bool = False
) -> int:
    """Run the shards of a round that are not done, all of them or those named; returns how many that were.

    Done shards stay as they are, and nothing is trained: `campaign` goes on with the rest of the round.
    A dry run only names the shards, and returns 0.
    """
    if dry_run:
        announce(of_retry(config, round_id, shard_ids), config.name)
        return 0
    try:
        with Workspace.of(config).claim(f"round-{round_id}"):
            missing = _missing(config, round_id, shard_ids)
            search = [row.shard_id for row in missing if not row.kind.startswith(_EVALUATION)]
            search_stage(config, round_id, search)
            if search:
                publish_coverage(config, round_id)
            for kind in sorted({row.kind for row in missing if row.kind.startswith(_EVALUATION)}):
                chosen = [row.shard_id for row in missing if row.kind == kind]
                evaluate_stage(config, round_id, kind.removeprefix(_EVALUATION), chosen)
        return len(missing)
    finally:
        close_services()


def of_retry(config: CampaignConfig, round_id: int, shard_ids: list[str] | None = None) -> str:
    """What `retry_flow` would do.

    Raises:
        ConfigError: The round has not begun, or there is no such shard.
    """
    missing = _missing(config, round_id, shard_ids)
    return as_text(
        config, [f"run {row.shard_id}, {row.num_problems} problems, now {row.status}" for row in missing]
    )


def _missing(config: CampaignConfig, round_id: int, shard_ids: list[str] | None) -> list[ShardRow]:
    """Shards to run.

    Raises:
        ConfigError: The round has not begun, there is no such shard, or the round has other settings.
    """
    catalog = Workspace.of(config).look()
    planned = []
    if catalog is not None:
        with catalog:
            refuse_other_settings(catalog, config)
            planned = catalog.shards(round_id)
    if not planned:
        raise ConfigError(f"round {round_id} of {config.name} has not begun; start it with: rstar run CONFIG")
    unknown = sorted(set(shard_ids or ()) - {row.shard_id for row in planned})
    if unknown:
        raise ConfigError(
            f"round {round_id} of {config.name} has no shard {unknown[0]}; see `rstar shards --missing`"
        )
    return [row for row in planned if row.status != "done" and (not shard_ids or row.shard_id in shard_ids)]
