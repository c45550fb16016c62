"""Builds what a search needs from the configuration, once per process, shared by all its shards."""

from __future__ import annotations

import gc
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from infra.driver import Services
from infra.engines.base import EngineStats, SharedServices
from infra.engines.in_process import InProcessPolicy
from infra.engines.openai import OpenAIPolicy
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.engines.vllm import VllmPolicy, VllmScorer
from infra.grading.answer_check import AnswerCheck
from infra.memo import RememberingGrader, RememberingRunner
from infra.models.layout import check_digest, check_role
from infra.models.resolve import resolve_model
from infra.ppm import TransformersScorer
from infra.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rstar_core.config import SandboxConfig
    from rstar_core.engine_config import PolicyConfig, ScorerConfig
    from rstar_core.prompts import PromptStyle

_SHARED = SharedServices()

EnginePolicy = InProcessPolicy | VllmPolicy | OpenAIPolicy | ScriptedPolicy


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """Which policy to ask, and how.

    Attributes:
        model_id: Its name in the catalog's `models`.
        location: What the engine loads: a directory, registry name or name on a server.
        style: Prompt style.
        config: Engine settings.
        digest: Its `digest_of_model`, if it was trained here.
    """

    model_id: str
    location: str
    style: PromptStyle
    config: PolicyConfig
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """Which PPM to ask, and how.

    Attributes:
        model_id: Its name in the catalog's `models`.
        location: Its directory.
        config: Engine settings.
        digest: Its `digest_of_model`.
    """

    model_id: str
    location: str
    config: ScorerConfig
    digest: str | None = None


def open_services(
    spec: PolicySpec, sandbox: SandboxConfig, ppm: ScorerSpec | None = None, spent: float = 0.0
) -> Services:
    """Policy, sandbox, answer check and, if asked for, PPM; built on first use in this process.

    Args:
        spec: The policy.
        sandbox: How programs run.
        ppm: The PPM, if one is asked.
        spent: What the campaign has cost so far. A policy that is built now counts on from there; one that is
            there already knows what it has spent itself.

    Raises:
        ModelError: A model cannot be found or loaded.
        SandboxError: The host isolates less than the configuration asks for.
    """
    runner = _SHARED.get("sandbox", sandbox, lambda: RememberingRunner(_sandbox(sandbox)))
    services = Services(
        policy=_SHARED.get("policy", spec, lambda: _policy(spec, spent)),
        runner=runner,
        grader=_SHARED.get("grader", None, lambda: RememberingGrader(AnswerCheck())),
        scorer=None if ppm is None else _SHARED.get("ppm", ppm, lambda: _scorer(ppm)),
    )
    for each in (services.policy, services.scorer):
        if isinstance(each, VllmPolicy | VllmScorer):
            each.wait()  # both at once
    return services


def served_name(model_id: str, location: str, digest: str | None) -> str:
    """Name under which vLLM has to serve a model; of exactly this digest, if it was trained here."""
    return location if digest is None else f"{model_id}@{digest[:12]}"


def counts(services: Services) -> dict[str, float]:
    """What engine, sandbox and answer check have done since they started: `EngineStats`, and four more.

    `programs` asked for and `programs_run` of them, `answers` to check and `answers_compared` of them; the
    others were remembered.
    """
    return _counts(services.policy, services.runner, services.grader)


def counting(services: Services) -> Callable[[], dict[str, float]]:
    """How much `counts` will have grown since now."""
    before = counts(services)
    return lambda: {name: value - before[name] for name, value in counts(services).items()}


def live_counts() -> dict[str, float]:
    """The same of whatever services this process has open now; none are opened for it."""
    return _counts(*(_SHARED.held(role) for role in ("policy", "sandbox", "grader")))


def _counts(policy: object, runner: object, grader: object) -> dict[str, float]:
    stats = policy.stats() if isinstance(policy, EnginePolicy) else EngineStats()
    found: dict[str, float] = asdict(stats)
    if isinstance(runner, RememberingRunner):
        found |= {"programs": runner.memo.num_asked, "programs_run": runner.memo.num_run}
    if isinstance(grader, RememberingGrader):
        found |= {"answers": grader.memo.num_asked, "answers_compared": grader.memo.num_run}
    return found


def close_models() -> None:
    """Give the memory of policy and PPM back, for example to a trainer."""
    _SHARED.close("policy", "ppm")
    gc.collect()  # a decoder and its requests refer to each other and hold 3 GB


def close_services() -> None:
    """End every thread and process that `open_services` started."""
    _SHARED.close()


def _policy(spec: PolicySpec, spent: float) -> EnginePolicy:
    match spec.config.engine:
        case "transformers":
            return InProcessPolicy(_checked(spec)[0], spec.style, spec.config)
        case "vllm":
            return VllmPolicy(*_checked(spec), spec.style, spec.config, spent=spent)
        case "openai":
            return OpenAIPolicy(spec.style, spec.config, spent=spent)
        case "scripted":
            return ScriptedPolicy(random_arithmetic)


def _scorer(spec: ScorerSpec) -> TransformersScorer | VllmScorer:
    if spec.config.engine == "vllm":
        return VllmScorer(*_checked(spec), spec.config)
    return TransformersScorer(_checked(spec)[0])


def _checked(spec: PolicySpec | ScorerSpec) -> tuple[Path, str]:
    """Directory of a model, of the right role and the right digest, and its name on a server."""
    directory = resolve_model(spec.location)
    check_role(directory, "policy" if isinstance(spec, PolicySpec) else "ppm")
    if spec.digest is not None:
        check_digest(directory, spec.digest)
    return directory, served_name(spec.model_id, spec.location, spec.digest)


def _sandbox(config: SandboxConfig) -> Sandbox:
    sandbox = Sandbox(config)
    sandbox.start()
    return sandbox
