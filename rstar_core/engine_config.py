"""How policies and PPMs are reached: in this process, on a server of their own, on servers that are there."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from rstar_core.settings import Settings

_VARIABLE: Final = re.compile(r"\$(?:\w+|\{\w+\})")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULT_KEY_VARIABLE: Final = "OPENAI_API_KEY"
"""Taken if it is set; any other variable that a configuration names has to be."""


def _as_list(value: object) -> object:
    """One address is a list of one, and none (as older campaigns wrote it down) an empty one."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _is_stored(info: ValidationInfo) -> bool:
    """Whether a campaign wrote the settings down, perhaps before some of them were refused."""
    return bool((info.context or {}).get("stored"))


def _without_secrets(addresses: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """What stands in a configuration stands in the catalog too, and in Prefect's server."""
    if _is_stored(info):
        return addresses
    for each in addresses:
        user, at, _ = (each.partition("://")[2] or each).partition("/")[0].rpartition("@")
        if at and not all(_VARIABLE.fullmatch(part) for part in user.split(":")):
            raise ValueError(
                "an address with a password would be kept in the catalog; put user:password into an "
                "environment variable and write ://$NAME@host"
            )
        if "?" in each or "#" in each:
            raise ValueError(
                "an address with a '?' or '#' is none that requests can be made below, and a key in it would "
                "be kept in the catalog; end it before that, and put a key into the variable of api_key_env"
            )
    return addresses


Addresses = Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(_without_secrets)]


_OURS = {"--model", "--served-model-name", "--host", "--port", "--runner", "--dtype", "--api-key"}


class ServerConfig(Settings):
    """What policy and PPM servers have in common."""

    base_url: Addresses = Field(
        default=(),
        description="Address of the server, or a list of replicas; `$NAME` is taken from the environment. "
        "Engine `vllm` without an address starts a server of its own.",
    )
    api_key_env: str = Field(
        default=DEFAULT_KEY_VARIABLE,
        description="Environment variable that holds the key; never the key itself.",
    )
    max_concurrency: int = Field(
        default=64, ge=1, description="Most requests in flight at each server; adapts below it."
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="Limit of one request to a server.")
    unavailable_seconds: float = Field(
        default=600.0, gt=0, description="How long servers that do not answer are waited for."
    )
    max_sequences: int = Field(
        default=96, ge=1, description="Sequences worked on together (transformers, vllm of our own)."
    )
    cache_mb: int = Field(
        default=1024,
        ge=0,
        description="Memory for reusable prompt states (transformers; vllm of our own on a CPU).",
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        default="auto",
        description="Arithmetic of a server of our own (vllm); auto: the faster of bfloat16 and float32.",
    )
    server_arguments: tuple[str, ...] = Field(
        default=(),
        description="More arguments of `vllm serve`, for example `--tensor-parallel-size=4` (vllm).",
    )

    @field_validator("api_key_env")
    @classmethod
    def _check_name(cls, name: str, info: ValidationInfo) -> str:
        if not _NAME.fullmatch(name) and not _is_stored(info):
            raise ValueError(
                "api_key_env is no name of an environment variable; export the key as one, and write its "
                "name there, never the key itself, or leave the setting out"
            )
        return name

    @field_validator("server_arguments")
    @classmethod
    def _check_arguments(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        for each in arguments:
            if each.partition("=")[0] in _OURS:
                raise ValueError(f"{each.partition('=')[0]} is set by the factory itself; leave it out")
        return arguments


class PolicyConfig(ServerConfig):
    """The model that proposes steps, and how it is reached."""

    engine: Literal["transformers", "vllm", "openai", "scripted"] = Field(
        default="transformers",
        description="In-process, vLLM, any OpenAI-compatible server, or the test script.",
    )
    model: str = Field(
        default="smollm2-135m-instruct", description="Registry name, directory, hub id or name on the server."
    )
    quantization: Literal["none", "int8"] = Field(
        default="none",
        description="int8: linear layers in 8 bits on a CPU; about twice as fast (transformers).",
    )
    price_per_million_input: float = Field(
        default=0.0, ge=0, description="Price of a million prompt tokens, in any currency (openai, vllm)."
    )
    price_per_million_output: float = Field(
        default=0.0,
        ge=0,
        description="Price of a million generated tokens, in the same currency (openai, vllm).",
    )
    spending_cap: float | None = Field(
        default=None,
        gt=0,
        description="Most that the campaign may cost, by what its catalog knows of all rounds and runs. No "
        "request is sent whose worst case would exceed it; those in flight end, then the run stops. Runs at "
        "the same time, and worker processes on Ray, do not see what others spend (openai, vllm).",
    )

    @model_validator(mode="after")
    def _check_prices(self) -> PolicyConfig:
        if self.spending_cap is not None and not self.price_per_million_input + self.price_per_million_output:
            raise ValueError(
                "spending_cap is set, but without price_per_million_input and price_per_million_output "
                "nothing costs anything; give the prices"
            )
        return self


class ScorerConfig(ServerConfig):
    """Where PPMs score steps; which one is what the rounds train."""

    engine: Literal["transformers", "vllm"] = Field(
        default="transformers", description="In-process, or vLLM in pooling mode."
    )
