"""The rates that a plan multiplies with: what campaigns have shown so far, else what is assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.configuration import parse_config
from infra.synthesis import SEARCH_STAGE, search_kind
from rstar_core.assumptions import assumed, share_of
from rstar_core.estimate import Rate, new_rollouts

if TYPE_CHECKING:
    from infra.catalog.round_rows import ModelRow
    from infra.so_far import SoFar
    from rstar_core.config import CampaignConfig, RoundConfig
    from rstar_core.estimate import Rates

Measured = dict[int, dict[str, float]]
SYSTEM2 = "system2"
_SEARCH_SPEED = "search_tokens_per_second"
_GENERATION = {_SEARCH_SPEED, "greedy_tokens_per_second", "system2_tokens_per_second"}


def choose_rates(
    config: CampaignConfig,
    so_far: SoFar,
    elsewhere: SoFar | None = None,
    *,
    gpus: int,
    tokens_per_second: float | None = None,
) -> dict[int, Rates]:
    """The rates of each round: given, measured here, measured elsewhere, assumed; the first that there is.

    Args:
        config: The campaign.
        so_far: Its catalog's counts.
        elsewhere: Those of another campaign.
        gpus: GPUs that work at a time; 0 means processor cores.
        tokens_per_second: Taken for every generation of text, if given.
    """
    here = measured_rates(so_far)
    there = {} if elsewhere is None else measured_rates(elsewhere)
    place = "" if elsewhere is None else f" of {elsewhere.name}"
    found: dict[int, Rates] = {}
    for number in range(len(config.rounds) + 1):
        settings, large = config.rounds[max(number, 1) - 1], number == 1 and config.bootstrap is not None
        found[number] = assumed(settings, max(number, 1), gpus=gpus, large=large)
        for name in found[number]:
            alone = name == _SEARCH_SPEED and config.bootstrap is not None
            known = _nearest(here, name, number, alone=alone)
            known = known or _nearest(there, name, number, alone=alone, place=place)
            if name in _GENERATION and tokens_per_second is not None:
                known = Rate(tokens_per_second, "given")
            if known is not None:
                found[number][name] = known
    return found


def _nearest(measured: Measured, name: str, number: int, *, alone: bool, place: str = "") -> Rate | None:
    """The rate of this round, else of the newest before it, else of the first after it.

    `alone` keeps the first round apart from the others, because another policy searches there.
    """
    rounds = [each for each in measured if name in measured[each]]
    if alone:
        rounds = [each for each in rounds if (each == 1) == (number == 1)]
    if not rounds:
        return None
    best = min(rounds, key=lambda each: (each > number, abs(each - number)))
    return Rate(measured[best][name], f"measured in round {best}{place}")


def measured_rates(so_far: SoFar) -> Measured:
    """Rates by round, 0 for the base model's evaluation; a rate that nothing was measured for is absent.

    Raises:
        ConfigError: The settings of a round are none of this version's.
    """
    found: Measured = {}
    for number, row in so_far.rounds.items():
        config = parse_config(
            row.config, origin=f"the settings of round {number} of {so_far.name}", stored=True
        )
        rates = _of_evaluations(so_far, number, config)
        if 0 < number <= len(config.rounds):
            settings = config.rounds[number - 1]
            rates |= _of_search(so_far, number, settings) | _of_training(so_far, number, settings)
        found[number] = {name: value for name, value in rates.items() if value is not None}
    return found


def _of_search(so_far: SoFar, number: int, settings: RoundConfig) -> dict[str, float | None]:
    """Tokens, nodes and speed of the shards that are done, and which share of problems went on."""
    kinds = [(number, search_kind(level)) for level in range(len(settings.escalation) + 1)]
    done = {level: so_far.done[key] for level, key in enumerate(kinds) if key in so_far.done}
    rollouts = sum(tally.problems * new_rollouts(level, settings) for level, tally in done.items())
    slots = rollouts * settings.search.num_candidates
    tokens = sum(tally.tokens for tally in done.values())
    candidates = sum(so_far.candidates.get(key, 0) for key in kinds)
    rates = {
        "tokens_per_rollout_and_candidate": _ratio(tokens, slots),
        "nodes_per_rollout": _ratio(candidates, slots),
        "search_tokens_per_second": _ratio(tokens, so_far.seconds.get((number, SEARCH_STAGE))),
    }
    for level, key in enumerate(kinds[1:], start=1):
        if level - 1 in done:
            rates[share_of(level)] = so_far.planned(key).problems / done[level - 1].problems
    return rates


def _of_evaluations(so_far: SoFar, number: int, config: CampaignConfig) -> dict[str, float | None]:
    """Tokens and speed of the policy alone and of System 2."""
    given = config.evaluation
    slots = given.num_trees * given.num_rollouts * given.num_candidates
    label = f"r{number}" if number else "base"
    greedy, tokens = so_far.evaluated.get((number, label), (0, 0))
    system2, system2_tokens = so_far.evaluated.get((number, SYSTEM2), (0, 0))
    seconds = so_far.seconds
    return {
        "greedy_tokens_per_problem": _ratio(tokens, greedy),
        "greedy_tokens_per_second": _ratio(tokens, seconds.get((number, f"evaluate {label}"))),
        "system2_tokens_per_rollout_and_candidate": _ratio(system2_tokens, system2 * slots),
        "system2_tokens_per_second": _ratio(system2_tokens, seconds.get((number, f"evaluate {SYSTEM2}"))),
    }


def _of_training(so_far: SoFar, number: int, settings: RoundConfig) -> dict[str, float | None]:
    """Examples a problem, tokens an example and speed, of the models that the round has trained."""
    searched = so_far.done.get((number, search_kind(0)))
    problems = searched.problems if searched else 0
    policy, ppm = so_far.models.get((number, "policy")), so_far.models.get((number, "ppm"))
    rates: dict[str, float | None] = {}
    if policy is not None and settings.sft is not None:
        examples = policy.num_examples or 0
        rates["sft_examples_per_problem"] = _ratio(examples, problems)
        rates["sft_tokens_per_example"] = _ratio(tokens_of(policy), examples * settings.sft.num_epochs)
        rates["sft_tokens_per_second"] = _ratio(tokens_of(policy), seconds_of(policy))
    if ppm is not None and settings.ppm is not None:
        pairs = ppm.num_examples or 0
        learnt = pairs * (1 - settings.ppm.eval_fraction) * settings.ppm.num_epochs
        rates["ppm_pairs_per_problem"] = _ratio(pairs, problems)
        rates["ppm_tokens_per_pair"] = _ratio(tokens_of(ppm), learnt)
        rates["ppm_tokens_per_second"] = _ratio(tokens_of(ppm), seconds_of(ppm))
    return rates


def tokens_of(model: ModelRow) -> int:
    """Tokens that its training read; 0 if that was not written down."""
    return int(model.metrics.get("num_tokens") or 0)


def seconds_of(model: ModelRow) -> float:
    """Wall time of its training, loading and saving included; 0 if that was not written down."""
    return float(model.metrics.get("seconds") or 0)


def _ratio(amount: float, of: float | None) -> float | None:
    """None where there is nothing to divide, or nothing was counted."""
    return amount / of if amount and of else None
