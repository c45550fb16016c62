"""Which model a round asks, read from the catalog: base, trained policies, trained PPMs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import ModelRow
from infra.models.layout import check_digest, digest_of_model
from infra.models.resolve import default_cache_dir, resolve_model
from infra.models.store import adopt, is_address, push
from infra.services import PolicySpec, ScorerSpec
from rstar_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infra.catalog.location import CatalogLocation
    from rstar_core.config import CampaignConfig

BASE = "base"
_OF_CAMPAIGN = re.compile(r"round-\d+/(policy|ppm)")


def trained_id(round_id: int, role: str) -> str:
    """Name of a model that a round trains, for example `round-1/policy`."""
    return f"round-{round_id}/{role}"


def find_model(catalog: Catalog, model_id: str) -> ModelRow | None:
    """The model's row, or None if it does not exist (yet)."""
    rows = catalog.fetch(ModelRow, "model_id = ?", (model_id,))
    return rows[0] if rows else None


def campaign_model(campaign: str, model_id: str) -> ModelRow:
    """A trained model of a campaign.

    Args:
        campaign: Folder of a campaign, or the address of its catalog.
        model_id: For example `round-1/policy`.

    Raises:
        CatalogError: There is no catalog.
        ModelError: There is no such model; the error names those that are there.
    """
    with Catalog.open(campaign, read_only=True) as catalog:
        models = {row.model_id: row for row in catalog.fetch(ModelRow, order_by="created_at")}
    if model_id not in models:
        raise ModelError(
            f"There is no model {model_id} in {campaign}; it has {', '.join(models) or 'none yet'}."
        )
    return models[model_id]


def locate(campaign: str, model: str) -> tuple[Path, ModelRow | None]:
    """Directory of a campaign's model or of any other, with its row in the first case.

    Args:
        campaign: Folder of a campaign, or the address of its catalog.
        model: `round-2/policy`, or what `resolve_model` takes.

    Raises:
        ModelError: There is none, or it is not the one that the catalog knows.
    """
    if not _OF_CAMPAIGN.fullmatch(model):
        return resolve_model(model), None
    row = campaign_model(campaign, model)
    directory = resolve_model(row.location)
    if row.digest is not None:
        check_digest(directory, row.digest)
    return directory, row


def publish(campaign: str, model_id: str, destination: str | None, say: Callable[[str], None]) -> str:
    """Push a campaign's model and let the catalog name the place; whoever asks then gets it from there.

    Args:
        campaign: Folder of a campaign, or the address of its catalog.
        model_id: For example `round-1/policy`.
        destination: Folder or `s3://bucket/prefix`; None: beside the catalog's data, if that is in S3.
        say: Told about each stage in one sentence.

    Raises:
        ModelError: There is no such model, or no destination.
        ArtifactError: It cannot be written there; the catalog is unchanged.
    """
    row, address = _push(campaign, model_id, destination, say)
    with Catalog.open(campaign) as catalog:
        now = find_model(catalog, model_id)
        if now is None or now.digest != row.digest or now.round_id is None:
            raise ModelError(f"{model_id} was trained again meanwhile; publish it once more.")
        catalog.replace_round(ModelRow, now.round_id, [replace(now, location=address)], role=now.role)
    return address


def push_model(campaign: str, model_id: str, destination: str | None, say: Callable[[str], None]) -> str:
    """Copy a campaign's model; the catalog stays as it is. Arguments and errors are those of `publish`."""
    return _push(campaign, model_id, destination, say)[1]


def _push(
    campaign: str, model_id: str, destination: str | None, say: Callable[[str], None]
) -> tuple[ModelRow, str]:
    with Catalog.open(campaign, read_only=True) as catalog:
        destination = destination or beside_data(catalog.location)
    if destination is None:
        raise ModelError(f"The data of {campaign} lie in a folder; say where the model is to go with --to.")
    row = campaign_model(campaign, model_id)
    return row, push_row(resolve_model(row.location), destination, row, say)


def push_row(directory: Path, destination: str, row: ModelRow, say: Callable[[str], None]) -> str:
    """Copy a model with what the catalog says of it; its address."""
    facts = {name: value for name, value in asdict(row).items() if name != "location"}
    plain = json.loads(json.dumps(facts, default=str))
    digest = row.digest or digest_of_model(directory)
    address = push(directory, destination, row.model_id, digest, plain, say)
    if is_address(address):
        adopt(directory, address, default_cache_dir())
    return address


def beside_data(location: CatalogLocation) -> str | None:
    """Where a team's models are kept: beside the catalog's data, if these are in S3.

    Not below the data's own prefix, for maintenance removes what its catalog does not know there.
    """
    return None if location.files.is_local else f"{location.files.path.rstrip('/')}.models"


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
