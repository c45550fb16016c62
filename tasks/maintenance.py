"""Care of one catalog; it can be repeated at any time."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from infra.catalog.catalog import Catalog
from infra.catalog.checking import differences
from infra.catalog.maintenance import Maintained, maintain
from tasks.options import RETRIES, RETRY_DELAYS_SECONDS, RETRY_JITTER, retry_if_transient


@task(
    name="maintain-catalog",
    retries=RETRIES,
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    retry_jitter_factor=RETRY_JITTER,
    retry_condition_fn=retry_if_transient,
    cache_policy=NO_CACHE,
)
def maintain_catalog(campaign: str, keep_days: float) -> Maintained:
    """Maintain the catalog, then compare it with its files; each difference becomes a warning in the log."""
    with Catalog.open(campaign) as catalog:
        done = maintain(catalog, keep_days=keep_days)
    with Catalog.open(campaign, read_only=True) as catalog:
        for difference in differences(catalog):
            get_run_logger().warning(difference)
    return done
