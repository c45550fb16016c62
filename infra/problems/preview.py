"""What an ingest would do, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.campaigns import refuse_other_settings
from infra.catalog.statements import ask
from infra.catalog.transactions import read
from infra.problems.ingest import collect, with_campaign_seed
from infra.workspace import Workspace
from rstar_core.types import Split

if TYPE_CHECKING:
    from rstar_core.config import CampaignConfig


@dataclass(frozen=True, slots=True)
class IngestPreview:
    """What an ingest would find and add.

    Attributes:
        found: Problems of the sources.
        added: Those of them that the catalog does not have.
        dropped: Rows that are no problem, or one that is there already.
        after: Problems of each split that the catalog would have then.
    """

    found: int
    added: int
    dropped: int
    after: dict[Split, int]


def preview_ingest(config: CampaignConfig) -> IngestPreview:
    """Read the sources and compare them with the catalog, if there is one; nothing is written.

    Raises:
        SourceError: A source cannot be read.
        ConfigError: The campaign was started with other settings.
    """
    problems, drops = collect([with_campaign_seed(source, config.seed) for source in config.sources])
    known: dict[str, str] = {}
    catalog = Workspace.of(config).look()
    if catalog is not None:
        with catalog:
            refuse_other_settings(catalog, config)
            query = "SELECT problem_id, split FROM problems"
            known = dict(read(catalog.location, lambda: ask(catalog.connection, query))[1])
    fresh = {each.problem_id: str(each.split) for each in problems if each.problem_id not in known}
    splits = [*known.values(), *fresh.values()]
    after = {split: splits.count(split) for split in (Split.TRAIN, Split.HELDOUT)}
    return IngestPreview(len(problems), len(fresh), len(drops), after)
