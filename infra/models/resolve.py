"""From the name of a model in a configuration to a directory that can be loaded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.models import embedded
from infra.models.hub import download_snapshot
from infra.models.layout import check_directory, missing_parts, read_card
from infra.models.store import check_pushed, is_address, pull
from rstar_core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PULLS: dict[str, Callable[[Path, embedded.Say], Path]] = {embedded.NAME: embedded.pull}


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One line of `rstar models list`.

    Attributes:
        name: Registry name.
        path: Where it is, or would be.
        present: Whether it is there and complete.
        licence: Licence of the weights.
        origin: Where it came from, or would come from.
        version: Revision or package version; empty if it is not there.
        num_bytes: Size of its files; 0 if it is not there.
    """

    name: str
    path: Path
    present: bool
    licence: str
    origin: str
    version: str
    num_bytes: int


_MADE_BY_SETUP = Path(__file__).resolve().parents[2] / ".cache" / "models"


def default_cache_dir() -> Path:
    """`$RSTAR_MODEL_DIR`; else where `make setup` put the models, or `~/.cache/rstar/models`."""
    given = os.environ.get("RSTAR_MODEL_DIR")
    if not given and _MADE_BY_SETUP.is_dir():
        return _MADE_BY_SETUP
    return Path(given or "~/.cache/rstar/models").expanduser()


def resolve_model(
    name: str, cache_dir: Path | None = None, say: embedded.Say = embedded.say_on_stderr
) -> Path:
    """A directory with configuration and weights: of a registry name, an address, a directory or a hub id.

    Args:
        name: For example `smollm2-135m-instruct`, `s3://bucket/models/round-1/policy@0c1d…`,
            `runs/demo/policy` or `Qwen/Qwen2.5-Math-7B`.
        cache_dir: Where registry models and pulled ones are kept; None means `default_cache_dir()`.
        say: Told about the stages of a download.

    Raises:
        ModelError: There is no such model, a part of it is missing, or it cannot be fetched.
    """
    if name in _PULLS:
        target = (cache_dir or default_cache_dir()) / name
        return _PULLS[name](target, say) if missing_parts(target) else target
    if is_address(name):
        return check_directory(pull(name, cache_dir or default_cache_dir(), say))
    directory = Path(name).expanduser()
    if directory.is_dir():
        return check_directory(check_pushed(directory))
    if _HUB_ID.fullmatch(name):
        return check_directory(download_snapshot(name)[0])
    raise ModelError(
        f"There is no model {name!r}: it is neither a directory nor one of {', '.join(_PULLS)}; "
        f"name one of these, an address, or a hub id such as {embedded.HUB_ID}."
    )


def list_models(cache_dir: Path | None = None) -> list[ModelInfo]:
    """The registry's models, whether they are there or not."""
    return [_info(name, (cache_dir or default_cache_dir()) / name) for name in _PULLS]


def _info(name: str, path: Path) -> ModelInfo:
    present = not missing_parts(path)
    card = read_card(path) if present else None
    return ModelInfo(
        name=name,
        path=path,
        present=present,
        licence=card.licence if card else embedded.LICENCE,
        origin=card.origin if card else f"hf:{embedded.HUB_ID}",
        version=card.version if card else "",
        num_bytes=sum(file.stat().st_size for file in path.iterdir() if file.is_file()) if present else 0,
    )
