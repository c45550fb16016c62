"""Builds what a search needs from the configuration, once per process, shared by all its shards."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.driver import Services
from infra.engines.base import EngineStats, SharedServices
from infra.engines.in_process import InProcessPolicy
from infra.engines.openai import OpenAIPolicy
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.answer_check import AnswerCheck
from infra.memo import RememberingGrader, RememberingRunner
from infra.models.resolve import resolve_model
from infra.ppm import TransformersScorer
from infra.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from rstar_core.config import PolicyConfig, SandboxConfig
    from rstar_core.prompts import PromptStyle

_SHARED = SharedServices()

EnginePolicy = InProcessPolicy | OpenAIPolicy | ScriptedPolicy


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Which policy to ask, and how.

    Attributes:
        model_id: Its name in the catalog's `models`.
        location: What the engine loads: a directory, registry name or name on a server.
        style: Prompt style.
        config: Engine settings.
    """

    model_id: str
    location: str
    style: PromptStyle
    config: PolicyConfig


def open_services(spec: PolicySpec, sandbox: SandboxConfig, ppm_dir: Path | None = None) -> Services:
    """Policy, sandbox, answer check and, if asked for, PPM; built on first use in this process.

    Raises:
        ModelError: A model cannot be found or loaded.
        SandboxError: The host isolates less than the configuration asks for.
    """
    runner = _SHARED.get("sandbox", sandbox, lambda: RememberingRunner(_sandbox(sandbox)))
    return Services(
        policy=_SHARED.get("policy", spec, lambda: _policy(spec)),
        runner=runner,
        grader=_SHARED.get("grader", None, lambda: RememberingGrader(AnswerCheck())),
        scorer=None if ppm_dir is None else _SHARED.get("ppm", ppm_dir, lambda: TransformersScorer(ppm_dir)),
    )


def policy_stats(services: Services) -> EngineStats:
    """Counters of the policy's engine."""
    policy = services.policy
    return policy.stats() if isinstance(policy, EnginePolicy) else EngineStats()


def close_models() -> None:
    """Give the memory of policy and PPM back, for example to a trainer."""
    _SHARED.close("policy", "ppm")
    gc.collect()  # a decoder and its requests refer to each other and hold 3 GB


def close_services() -> None:
    """End every thread and process that `open_services` started."""
    _SHARED.close()


def _policy(spec: PolicySpec) -> EnginePolicy:
    match spec.config.engine:
        case "transformers":
            return InProcessPolicy(resolve_model(spec.location), spec.style, spec.config)
        case "openai":
            return OpenAIPolicy(spec.style, spec.config)
        case "scripted":
            return ScriptedPolicy(random_arithmetic)


def _sandbox(config: SandboxConfig) -> Sandbox:
    sandbox = Sandbox(config)
    sandbox.start()
    return sandbox
