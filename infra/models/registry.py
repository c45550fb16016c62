"""Which model a round asks, read from the catalog: base, trained policies, trained PPMs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.catalog.round_rows import ModelRow
from infra.services import PolicySpec, ScorerSpec
from rstar_core.errors import ModelError

if TYPE_CHECKING:
    from infra.catalog.catalog import Catalog
    from rstar_core.config import CampaignConfig

BASE = "base"


def trained_id(round_id: int, role: str) -> str:
    """Name of a model that a round trains, for example `round-1/policy`."""
    return f"round-{round_id}/{role}"


def find_model(catalog: Catalog, model_id: str) -> ModelRow | None:
    """The model's row, or None if it does not exist (yet)."""
    rows = catalog.fetch(ModelRow, "model_id = ?", (model_id,))
    return rows[0] if rows else None


def base_policy(config: CampaignConfig) -> PolicySpec:
    """The base model with instructions and worked examples."""
    return PolicySpec(BASE, config.policy.model, "bootstrap", config.policy)


def trained_policy(catalog: Catalog, config: CampaignConfig, round_id: int) -> PolicySpec | None:
    """The policy that a round trained, asked with the question alone; None if it trained none."""
    row = find_model(catalog, trained_id(round_id, "policy"))
    if row is None:
        return None
    return PolicySpec(row.model_id, row.location, "finetuned", config.policy, row.digest)


def round_policy(catalog: Catalog, config: CampaignConfig, round_id: int) -> PolicySpec:
    """The policy that searches in a round: the bootstrap policy, then what the round before trained.

    If that round found nothing to train on, its own policy searches once more.
    """
    style = config.rounds[round_id - 1].prompt
    if round_id > 1:
        trained = trained_policy(catalog, config, round_id - 1)
        return replace(trained, style=style) if trained else round_policy(catalog, config, round_id - 1)
    if config.bootstrap is not None:
        return PolicySpec("bootstrap", config.bootstrap.model, style, config.bootstrap)
    return replace(base_policy(config), style=style)


def round_ppm(catalog: Catalog, config: CampaignConfig, round_id: int) -> ScorerSpec | None:
    """The PPM that scores steps in a round's search; None in terminal-guided rounds.

    Raises:
        ModelError: The round needs a PPM and none was trained before it.
    """
    if config.rounds[round_id - 1].search.annotation == "terminal":
        return None
    return latest_ppm(catalog, config, round_id - 1)


def latest_ppm(catalog: Catalog, config: CampaignConfig, round_id: int) -> ScorerSpec:
    """The newest PPM of this round or one before it.

    Raises:
        ModelError: There is none.
    """
    rows = catalog.fetch(ModelRow, "role = 'ppm' AND round_id <= ?", (round_id,), order_by="round_id DESC")
    if not rows:
        raise ModelError(
            f"no PPM was trained up to round {round_id}; give such a round a [rounds.ppm] table and rerun"
        )
    return scorer_of(rows[0], config)


def scorer_of(row: ModelRow, config: CampaignConfig) -> ScorerSpec:
    """How a PPM of the catalog is asked."""
    return ScorerSpec(row.model_id, row.location, config.scorer, row.digest)
