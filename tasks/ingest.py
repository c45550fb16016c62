"""Problems from their sources into the catalog."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.campaigns import BASE_ROUND, is_done, mark_round, refuse_other_settings
from infra.catalog.rows import DropRow
from infra.problems.ingest import collect, with_campaign_seed
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig

if TYPE_CHECKING:
    from infra.problems.drops import Drop


@task(name="ingest-problems", cache_policy=NO_CACHE, timeout_seconds=3600)
def ingest_problems(config: CampaignConfig) -> dict[str, int]:
    """Add the problems that are not there yet; a rerun adds nothing and counts no drop twice.

    Returns:
        How many problems were found, added and dropped.
    """
    problems, drops = collect([with_campaign_seed(source, config.seed) for source in config.sources])
    with Workspace.of(
        config
    ).open_catalog() as catalog:  # made only now: a wrong source leaves nothing behind
        refuse_other_settings(catalog, config)
        if not is_done(catalog, config, BASE_ROUND):
            mark_round(catalog, config, BASE_ROUND, "done")
        added = catalog.add_problems(problems)
        catalog.replace_round(DropRow, None, _drop_rows(drops), stage="ingest")
    return {"found": len(problems), "added": added, "dropped": len(drops)}


def _drop_rows(drops: list[Drop]) -> list[DropRow]:
    counts = Counter((drop.source, str(drop.reason)) for drop in drops)
    first = {(drop.source, str(drop.reason)): drop for drop in reversed(drops)}
    return [
        DropRow(
            round_id=None,
            shard_id=None,
            stage="ingest",
            problem_id=None,
            source=source,
            reason=reason,
            detail=f"{first[source, reason].row}: {first[source, reason].detail}",
            count=count,
        )
        for (source, reason), count in sorted(counts.items())
    ]
