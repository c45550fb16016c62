"""A trained model taken back: its round trains it again, after its files were lost or with other settings."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import LineageRow, ModelRow
from infra.catalog.rows import RoundRow
from infra.models.registry import campaign_model
from infra.models.store import is_address, is_pushed
from rstar_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

_EVALUATION = "evaluate:"
_OF_BOTH = "evaluate:system2"


def forget(campaign: str, model_id: str, say: Callable[[str], None]) -> None:
    """Remove a model from the catalog, with the evaluations in which it was asked; its folder is set aside.

    Stopped halfway, the same call does the rest.

    Args:
        campaign: Folder of a campaign, or the address of its catalog.
        model_id: For example `round-1/ppm`.
        say: Told in one sentence about each thing that was done.

    Raises:
        CatalogError: There is no catalog.
        ModelError: There is no such model, or something was already made with it.
    """
    row = campaign_model(campaign, model_id)
    round_id = row.round_id
    if round_id is None:
        raise ModelError(f"{model_id} was not trained here, so it cannot be trained again.")
    with Catalog.open(campaign) as catalog, catalog.location.claim(f"round-{round_id}"):
        _refuse_used(catalog, row, round_id)
        _set_aside(
            campaign, row, say
        )  # first: a folder that is still there would be taken for a finished training
        rounds = catalog.fetch(RoundRow, "round_id = ?", (round_id,))
        catalog.replace_round(
            RoundRow, round_id, [replace(each, status="running", finished_at=None) for each in rounds]
        )
        for kind in _evaluations(catalog, row, round_id):
            label = kind.removeprefix(_EVALUATION)
            count = catalog.forget_stage(round_id, f"evaluate {label}", kind=kind)
            say(f"Forgot {count} shards of the evaluation {label}.")
        catalog.replace_round(LineageRow, round_id, [], child=model_id)
        catalog.replace_round(ModelRow, round_id, [], role=row.role)
    say(f"Forgot {model_id}; `rstar run CONFIG` trains it again.")


def _refuse_used(catalog: Catalog, row: ModelRow, round_id: int) -> None:
    """Raise ModelError if facts of the catalog were made with the model."""
    for heir in catalog.fetch(ModelRow, "base_model = ?", (row.model_id,)):
        raise ModelError(f"{heir.model_id} was trained from {row.model_id}; forget that one first.")
    later = [
        each.round_id
        for each in catalog.fetch(RoundRow, "round_id > ?", (round_id,), order_by="round_id")
        if catalog.done_shards(each.round_id)
    ]
    if later:
        raise ModelError(
            f"Round {later[0]} has begun with {row.model_id}, so another one cannot take its place; put its "
            "files back, or begin a new campaign with another --root."
        )


def _evaluations(catalog: Catalog, row: ModelRow, round_id: int) -> list[str]:
    kinds = {shard.kind for shard in catalog.shards(round_id) if shard.kind.startswith(_EVALUATION)}
    return sorted(kinds if row.role == "policy" else kinds & {_OF_BOTH})


def _set_aside(campaign: str, row: ModelRow, say: Callable[[str], None]) -> None:
    """Move the folder in which the model was trained away; where it was pushed to it stays."""
    if not is_address(campaign):
        folder = Path(campaign) / "models" / row.model_id
    elif is_address(row.location) or is_pushed(row.location):
        say(f"Remove models/{row.model_id} from the campaign's folder on the machine that trained it.")
        return
    else:
        folder = Path(row.location)
    if not folder.exists():
        return
    aside = folder.with_name(f"{folder.name}.forgotten")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    say(f"Its folder is now {aside}; remove it when nobody needs it.")
