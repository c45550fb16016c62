"""The nightly report of what a campaign covers, as a flow that can be scheduled."""

from __future__ import annotations

from prefect import flow

from tasks.report import publish_campaign


@flow(name="coverage", flow_run_name="coverage")
def coverage_flow(campaign: str, dry_run: bool = False) -> str:
    """Publish coverage by round and tier, and which problems were solved or lost within a day.

    Args:
        campaign: Folder of the campaign, or address of its catalog.
        dry_run: Return the page without publishing it.
    """
    return publish_campaign(campaign, publish=not dry_run)
