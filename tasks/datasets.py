"""Training sets of a round: the best trajectories for the policy, preference pairs for the PPM."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.catalog.training_sets import mine_pairs, select_best
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig


@task(name="select-trajectories", cache_policy=NO_CACHE, timeout_seconds=3600)
def select_trajectories(config: CampaignConfig, round_id: int) -> int:
    """Choose each problem's best correct trajectories (paper: 2); returns how many were chosen."""
    sft = config.rounds[round_id - 1].sft
    with Workspace.of(config).open_catalog() as catalog:
        return select_best(catalog, round_id, sft.trajectories_per_problem if sft else 0)


@task(name="build-pairs", cache_policy=NO_CACHE, timeout_seconds=3600)
def build_pairs(config: CampaignConfig, round_id: int) -> int:
    """Compare sibling steps and final answers of mixed problems; returns the number of pairs."""
    ppm = config.rounds[round_id - 1].ppm
    with Workspace.of(config).open_catalog() as catalog:
        return mine_pairs(catalog, round_id, ppm.pairs_per_side if ppm else 2)
