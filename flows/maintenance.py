"""The nightly care of a catalog, as a flow that can be scheduled."""

from __future__ import annotations

from prefect import flow

from flows.dry_run import announce, of_maintenance
from infra.catalog.maintenance import Maintained
from tasks.maintenance import maintain_catalog


@flow(name="maintenance", flow_run_name="maintenance")
def maintain_flow(campaign: str, keep_days: float = 7.0, dry_run: bool = False) -> Maintained | None:
    """Merge files, forget versions that nobody needs, and say in the log what the check finds.

    Args:
        campaign: Folder of the campaign, or address of its catalog.
        keep_days: Versions younger than this are kept, and so are those with a name.
        dry_run: Only say what would be forgotten and deleted; returns None.
    """
    if dry_run:
        announce(of_maintenance(campaign, keep_days), "maintenance")
        return None
    return maintain_catalog(campaign, keep_days)
