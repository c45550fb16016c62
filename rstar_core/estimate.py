"""How much work a campaign is, from counts and rates: arithmetic alone.

Everything expected is linear in problems and rollouts. Where the rates come from is said in
`rstar_core.assumptions` (assumed) and found by `infra.rates` (measured).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rstar_core.budget import plan_trees

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rstar_core.config import EvaluationConfig, RoundConfig
    from rstar_core.training_config import PpmConfig, SftConfig


@dataclass(frozen=True, slots=True)
class Rate:
    """A figure of a campaign, and where it comes from, for example `measured in round 1`."""

    value: float
    source: str


Rates = dict[str, Rate]


@dataclass(frozen=True, slots=True)
class Work:
    """An amount of work.

    Attributes:
        shards: Units of retry.
        problems: Problems in them.
        trees: Search trees that are grown.
        rollouts: Rollouts that these trees may have, those of earlier efforts not counted again.
        candidates: Steps that the policy proposes.
        examples: Training examples, or preference pairs.
        tokens: Tokens that are generated, or that training reads.
        seconds: Wall time.
        gpu_seconds: GPU time, idle GPUs of the stage included.
    """

    shards: int = 0
    problems: int = 0
    trees: int = 0
    rollouts: int = 0
    candidates: int = 0
    examples: int = 0
    tokens: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Work)))


def new_rollouts(level: int, settings: RoundConfig) -> int:
    """Rollouts that a problem gets at this level of effort, without those its trees already had."""
    before: dict[int, int] = {}
    for earlier in range(level):
        plans = plan_trees(earlier, settings.search, settings.escalation)
        before |= {plan.tree_index: plan.num_rollouts for plan in plans}
    plans = plan_trees(level, settings.search, settings.escalation)
    return sum(plan.num_rollouts - before.get(plan.tree_index, 0) for plan in plans)


def cut(problems: int, shard_size: int) -> Work:
    """Problems cut into shards."""
    return Work(shards=math.ceil(problems / shard_size), problems=problems)


def hard_ones(load: Work, share: float) -> Work:
    """What goes on to the next effort: a shard follows each shard with at least one hard problem.

    Args:
        load: Shards and problems of an effort.
        share: Share of problems that stay unsolved, in [0, 1], taken to be the same everywhere.
    """
    problems = round(load.problems * share)
    if not problems:
        return Work()
    follow = load.shards * (1 - (1 - share) ** (load.problems / load.shards))
    return Work(shards=min(problems, math.ceil(follow - 1e-9)), problems=problems)


def efforts(first: Work, planned: Sequence[Work], shares: Sequence[float]) -> list[Work]:
    """Shards and problems that are left at each level of effort: the search, then each escalation.

    Args:
        first: Of the search, what is in no shard yet.
        planned: Of each level, the shards that are written down and not done.
        shares: Share of problems that go from each level to the next, one fewer than levels.
    """
    left = [first + planned[0]]
    for known, share in zip(planned[1:], shares, strict=True):
        left.append(known + hard_ones(left[-1], share))
    return left


def search_work(load: Work, level: int, settings: RoundConfig, rates: Mapping[str, Rate], gpus: int) -> Work:
    """The search of these shards and problems at a level of effort."""
    rollouts = load.problems * new_rollouts(level, settings)
    slots = rollouts * settings.search.num_candidates
    return _generating(
        load,
        trees=load.problems * len(plan_trees(level, settings.search, settings.escalation)),
        rollouts=rollouts,
        candidates=round(slots * rates["nodes_per_rollout"].value),
        tokens=round(slots * rates["tokens_per_rollout_and_candidate"].value),
        tokens_per_second=rates["search_tokens_per_second"].value,
        gpus=gpus,
    )


def greedy_work(load: Work, rates: Mapping[str, Rate], gpus: int) -> Work:
    """The evaluation of a policy alone: one solution a problem."""
    return _generating(
        load,
        trees=load.problems,
        rollouts=load.problems,
        candidates=round(load.problems * rates["nodes_per_rollout"].value),
        tokens=round(load.problems * rates["greedy_tokens_per_problem"].value),
        tokens_per_second=rates["greedy_tokens_per_second"].value,
        gpus=gpus,
    )


def system2_work(load: Work, evaluation: EvaluationConfig, rates: Mapping[str, Rate], gpus: int) -> Work:
    """The evaluation of System 2: several trees a problem."""
    trees = load.problems * evaluation.num_trees
    rollouts = trees * evaluation.num_rollouts
    slots = rollouts * evaluation.num_candidates
    return _generating(
        load,
        trees=trees,
        rollouts=rollouts,
        candidates=round(slots * rates["nodes_per_rollout"].value),
        tokens=round(slots * rates["system2_tokens_per_rollout_and_candidate"].value),
        tokens_per_second=rates["system2_tokens_per_second"].value,
        gpus=gpus,
    )


def sft_work(examples: int, sft: SftConfig, rates: Mapping[str, Rate], gpus: int) -> Work:
    """Fine-tuning on so many examples."""
    tokens = round(examples * sft.num_epochs * rates["sft_tokens_per_example"].value)
    return _training(examples, tokens, rates["sft_tokens_per_second"].value, gpus)


def ppm_work(pairs: int, ppm: PpmConfig, rates: Mapping[str, Rate], gpus: int) -> Work:
    """Training a PPM on so many pairs, of which some are kept to measure it."""
    learnt = pairs * (1 - ppm.eval_fraction) * ppm.num_epochs
    tokens = round(learnt * rates["ppm_tokens_per_pair"].value)
    return _training(pairs, tokens, rates["ppm_tokens_per_second"].value, gpus)


def _generating(
    load: Work,
    *,
    trees: int,
    rollouts: int,
    candidates: int,
    tokens: int,
    tokens_per_second: float,
    gpus: int,
) -> Work:
    seconds = tokens / tokens_per_second
    return Work(load.shards, load.problems, trees, rollouts, candidates, 0, tokens, seconds, seconds * gpus)


def _training(examples: int, tokens: int, tokens_per_second: float, gpus: int) -> Work:
    seconds = tokens / tokens_per_second
    return Work(examples=examples, tokens=tokens, seconds=seconds, gpu_seconds=seconds * gpus)
