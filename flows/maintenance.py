"""The nightly care of a catalog, as a flow that can be scheduled."""

from __future__ import annotations

from prefect import flow

from infra.catalog.maintenance import Maintained
from tasks.maintenance import maintain_catalog


@flow(name="maintenance", flow_run_name="maintenance")
def maintain_flow(campaign: str, keep_days: float = 7.0) -> Maintained:
    """Merge files, forget versions that nobody needs, and say in the log what the check finds.

    Args:
        campaign: Folder of the campaign, or address of its catalog.
        keep_days: Versions younger than this are kept, and so are those with a name.
    """
    return maintain_catalog(campaign, keep_days)
