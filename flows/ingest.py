"""Problems into the catalog."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow

from flows.dry_run import announce, of_ingest
from infra.catalog.round_rows import ModelRow
from infra.models.registry import BASE, find_model
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from tasks.ingest import ingest_problems


@flow(name="ingest", flow_run_name="{config.name}-ingest")
def ingest_flow(config: CampaignConfig, dry_run: bool = False) -> dict[str, int]:
    """Add the problems that are not there yet; returns how many were found, added and dropped.

    A dry run only says so, and returns nothing.
    """
    if dry_run:
        announce(of_ingest(config), config.name)
        return {}
    counts = ingest_problems(config)
    with Workspace.of(config).open_catalog() as catalog:
        if find_model(catalog, BASE) is None:
            base = ModelRow(BASE, None, "base", None, config.policy.model, None, {}, None, datetime.now(UTC))
            catalog.replace_round(ModelRow, None, [base])
    return counts
