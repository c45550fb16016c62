"""Configuration files: TOML in, `CampaignConfig` out, and every mistake in one sentence.

What is allowed stands in `rstar_core.config`; this file only reads, explains and hashes.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from rstar_core.config import CampaignConfig
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails


def load_config(path: Path | str) -> CampaignConfig:
    """Read a campaign's configuration from a TOML file.

    Raises:
        ConfigError: The file is missing or no TOML, or a setting is unknown, missing or wrong.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The configuration {path} is not UTF-8 text (byte {error.start}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The configuration {path} is not valid TOML: {error}.") from error
    return parse_config(data, origin=str(path))


def parse_config(data: Mapping[str, Any], *, origin: str, stored: bool = False) -> CampaignConfig:
    """Check settings that came from outside.

    Args:
        data: The settings.
        origin: What errors call them: a file, the catalog, ….
        stored: They were written down by a campaign, and may be of a version that refused less.

    Raises:
        ConfigError: A setting is unknown, missing or wrong.
    """
    try:
        # Strict JSON mode: "3" is no number and 1 is no truth, but a list is a tuple and a string an enum.
        return CampaignConfig.model_validate_json(
            json.dumps(data, default=str), strict=True, context={"stored": stored}
        )
    except ValidationError as error:
        mistakes = error.errors()
        more = f" ({len(mistakes) - 1} more after this one)" if len(mistakes) > 1 else ""
        raise ConfigError(f"In {origin}, {_explanation(mistakes[0])}{more}.") from error


def apply_overrides(config: CampaignConfig, overrides: Mapping[str, Any]) -> CampaignConfig:
    """The configuration with some settings replaced, keys dotted as in `rounds.0.search.num_rollouts`.

    Raises:
        ConfigError: A key is unknown or a value wrong.
    """
    data = config.model_dump(mode="json")
    for key, value in overrides.items():
        _put(data, key, value)
    return parse_config(data, origin="the overrides")


def config_hash(config: CampaignConfig) -> str:
    """SHA-256 (hex) of the configuration as canonical JSON, defaults included: equal settings, equal hash."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _put(data: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 — checked right after
    *parents, last = key.split(".")
    place: Any = data
    try:
        for part in parents:
            if isinstance(place, list):
                place = place[int(part)]
            else:
                if place.get(part) is None:
                    place[part] = {}
                place = place[part]
        place[int(last) if isinstance(place, list) else last] = value
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"In the overrides, {key} names no setting of this configuration.") from error


def _explanation(mistake: ErrorDetails) -> str:
    """One mistake as a clause: which key, and what is allowed."""
    parts, model = _place(mistake["loc"])
    key = ".".join(str(part) for part in parts)
    kind, context = mistake["type"], mistake.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(key, str(parts[-1]), model)
    if kind == "missing":
        return f"{key} is missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return f"{key}.{context['discriminator'].strip(chr(39))} must be one of {_tags(context, mistake)}"
    if kind == "value_error":
        return str(context["error"])
    given = json.dumps(mistake["input"], default=str)
    allowed = mistake["msg"].split(" should ", 1)[-1]
    return f"{key} is {given if len(given) <= 60 else given[:57] + '...'}, but it should {allowed}"


def _tags(context: Mapping[str, Any], mistake: ErrorDetails) -> str:
    if "expected_tags" in context:
        return f"{context['expected_tags']}, not '{context['tag']}'"
    _, model = _place((*mistake["loc"], ""))
    return " or ".join(f"'{tag}'" for candidate in model for tag in _tags_of(candidate))


def _unknown_key(key: str, name: str, models: list[type[BaseModel]]) -> str:
    allowed = [field for model in models for field in model.model_fields]
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{key} is not a setting{hint}; allowed there: {', '.join(allowed)}"


def _place(location: tuple[int | str, ...]) -> tuple[list[int | str], list[type[BaseModel]]]:
    """The location without the union tags that pydantic puts in, and the models its last key stands in."""
    parts: list[int | str] = []
    models: list[type[BaseModel]] = [CampaignConfig]
    for depth, part in enumerate(location):
        tagged = [model for model in models if part in _tags_of(model)]
        if tagged and depth < len(location) - 1:
            models = tagged
            continue
        parts.append(part)
        if isinstance(part, int) or depth == len(location) - 1:
            continue
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [model for field in fields for model in _models_in(field.annotation)]
    return parts, models


def _tags_of(model: type[BaseModel]) -> tuple[Any, ...]:
    """Values of the key `kind` that choose this model in a union; empty if it has no such key."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 — a type hint has no static type
    """The models that a field's annotation mentions, through tuples, unions and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
