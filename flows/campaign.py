"""A campaign: ingest, evaluate the base model, then round after round; System 2 at the end; a report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.dry_run import announce, of_campaign
from flows.evaluate import evaluate_flow
from flows.ingest import ingest_flow
from flows.round import round_flow
from infra.services import close_services
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from rstar_core.types import Split
from tasks.evaluation import SYSTEM2
from tasks.report import write_report


@flow(name="campaign", flow_run_name="{config.name}")
def campaign_flow(config: CampaignConfig, dry_run: bool = False) -> Path:
    """Do whatever of the campaign is missing and return the path of its report; a dry run only says what."""
    if dry_run:
        announce(of_campaign(config), config.name)
        return Workspace.of(config).report
    try:
        ingest_flow(config)
        evaluates = _has_heldout(config)
        if evaluates:
            evaluate_flow(config, 0, "base")
        for round_id in range(1, len(config.rounds) + 1):
            policy = round_flow(config, round_id)
            if evaluates and policy is not None:
                evaluate_flow(config, round_id, f"r{round_id}")
                if round_id == len(config.rounds) and config.rounds[-1].ppm is not None:
                    evaluate_flow(config, round_id, SYSTEM2)
        return write_report(config)
    finally:
        close_services()


def _has_heldout(config: CampaignConfig) -> bool:
    with Workspace.of(config).open_catalog() as catalog:
        return bool(catalog.problems(Split.HELDOUT))
