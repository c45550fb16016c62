"""The identity of a campaign in its catalog: which settings its rounds were started with, and their state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import RoundRow
from infra.configuration import config_hash, parse_config
from infra.models.registry import BASE, round_policy, round_ppm, trained_id
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

    from infra.catalog.catalog import Catalog
    from rstar_core.config import CampaignConfig

BASE_ROUND = 0
"""The time before round 1: ingest, and the evaluation of the base model."""

_PROBLEM_SETTINGS = ("seed", "sources")
_MODEL_SETTINGS = ("policy", "bootstrap")
_WHICH_MODEL = ("engine", "model", "quantization")
"""What decides what a model says; where it is served and how it is asked may change at any time."""
_TRAININGS = {"sft": "policy", "ppm": "ppm"}
"""Tables of a round, and the role of the model that each makes."""


def refuse_other_settings(catalog: Catalog, config: CampaignConfig) -> None:
    """Make sure that what is in the catalog was made with these settings; rounds may be added at the end.

    What decides the problems is fixed once they are in. What decides a round is fixed once one of its shards
    is done: before that a wrong model name, say, can simply be corrected. How a round trains is fixed once
    its model is there or a later round has begun: a training that failed goes on with other settings.

    Raises:
        ConfigError: A fixed setting differs.
    """
    now = config.model_dump(mode="json")
    models = {row.model_id for row in catalog.fetch(ModelRow)}
    for row in catalog.fetch(RoundRow, order_by="round_id"):
        begun = bool(catalog.done_shards(row.round_id))
        then = parse_config(
            row.config, origin=f"the settings of round {row.round_id}", stored=True
        ).model_dump(mode="json")
        if begun:
            still_open = [
                table for table, role in _TRAININGS.items() if trained_id(row.round_id, role) not in models
            ]
            before, after = (_identity(each, row.round_id, still_open) for each in (then, now))
        else:
            before, after = (_of_problems(each) for each in (then, now))
        changed = _difference(before, after)
        if changed is not None:
            raise ConfigError(
                f"the campaign in {catalog.location.root} was started with another {changed}; give another "
                "--root or name to begin a new campaign, or remove that folder"
            )


def is_done(catalog: Catalog, config: CampaignConfig, round_id: int) -> bool:
    """Whether an earlier run finished this round, with the trainings that the settings ask for now."""
    rows = catalog.fetch(RoundRow, "round_id = ? AND status = 'done'", (round_id,))
    return bool(rows) and trains_alike(rows[0], config)


def trains_alike(row: RoundRow, config: CampaignConfig) -> bool:
    """Whether a round was run with the trainings that the settings ask for now."""
    if row.round_id == BASE_ROUND:
        return True
    then = parse_config(row.config, origin=f"the settings of round {row.round_id}", stored=True)
    before, after = (each.rounds[row.round_id - 1] for each in (then, config))
    return (before.sft, before.ppm) == (after.sft, after.ppm)


def mark_round(catalog: Catalog, config: CampaignConfig, round_id: int, status: str) -> None:
    """Write a round's state and settings down; its start stays the first start."""
    earlier = catalog.fetch(RoundRow, "round_id = ?", (round_id,))
    now = datetime.now(UTC)
    base = round_id == BASE_ROUND
    ppm = None if base else round_ppm(catalog, config, round_id)
    row = RoundRow(
        round_id=round_id,
        campaign=config.name,
        config=config.model_dump(mode="json"),
        config_hash=config_hash(config),
        seed=config.seed,
        policy_model=BASE if base else round_policy(catalog, config, round_id).model_id,
        ppm_model=None if ppm is None else ppm.model_id,
        status=status,
        started_at=earlier[0].started_at if earlier else now,
        finished_at=now if status == "done" else None,
    )
    catalog.replace_round(RoundRow, round_id, [row])


def _of_problems(config: dict[str, Any]) -> dict[str, Any]:
    """What decides the problems."""
    return {name: config.get(name) for name in _PROBLEM_SETTINGS}


def _identity(config: dict[str, Any], round_id: int, still_open: Collection[str]) -> dict[str, Any]:
    """The settings that may not change any more once the round has begun."""
    fixed = _of_problems(config)
    for name in _MODEL_SETTINGS:
        model = config.get(name)
        fixed[name] = model and {each: model.get(each) for each in _WHICH_MODEL}
    *earlier, this = config["rounds"][:round_id] or [{}]
    fixed["rounds"] = [*earlier, {name: each for name, each in this.items() if name not in still_open}]
    return fixed


def _difference(before: object, after: object, path: str = "") -> str | None:
    """Dotted name of the first setting that differs, or None."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs: list[tuple[object, object, object]] = [
            (name, before.get(name), after.get(name)) for name in before.keys() | after.keys()
        ]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(number, *both) for number, both in enumerate(zip(before, after, strict=True))]
    else:
        return None if before == after else path
    deeper = (
        _difference(b, a, f"{path}.{name}".strip("."))
        for name, b, a in sorted(pairs, key=lambda x: str(x[0]))
    )
    return next((each for each in deeper if each is not None), None)
