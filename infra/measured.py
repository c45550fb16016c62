"""Rates that a campaign has shown so far, read from its catalog: what a plan multiplies with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.catalog.round_rows import EvaluationRow, ModelRow, StageRow
from infra.catalog.rows import RoundRow
from infra.catalog.statements import ask
from infra.catalog.transactions import read
from infra.configuration import parse_config
from infra.synthesis import SEARCH_STAGE, level_of, search_kind
from rstar_core.assumptions import share_of
from rstar_core.estimate import new_rollouts

if TYPE_CHECKING:
    from infra.catalog.reader import CatalogReader
    from infra.catalog.rows import ShardRow
    from rstar_core.config import CampaignConfig, RoundConfig

Measured = dict[int, dict[str, float]]
SYSTEM2 = "system2"


def measured_rates(catalog: CatalogReader) -> Measured:
    """Rates by round, 0 for the base model's evaluation; a rate that nothing was measured for is absent."""
    stages = {(row.round_id, row.stage): row.seconds for row in catalog.fetch(StageRow)}
    found: Measured = {}
    for row in catalog.fetch(RoundRow, order_by="round_id"):
        config = parse_config(row.config, origin=f"round {row.round_id} of {catalog.location.root}")
        number = row.round_id
        rates = _of_evaluations(catalog, number, config, stages)
        if 0 < number <= len(config.rounds):
            settings = config.rounds[number - 1]
            shards = [each for each in catalog.shards(number) if not each.kind.startswith("evaluate")]
            rates |= _of_search(catalog, shards, settings, stages.get((number, SEARCH_STAGE)))
            searched = sum(each.num_problems for each in shards if level_of(each) == 0 and _done(each))
            rates |= _of_training(catalog, number, settings, searched)
        found[number] = {name: value for name, value in rates.items() if value is not None}
    return found


def _of_search(
    catalog: CatalogReader, shards: list[ShardRow], settings: RoundConfig, seconds: float | None
) -> dict[str, float | None]:
    """Tokens, nodes and speed of the shards that are done, and which share of problems went on."""
    done = [row for row in shards if _done(row)]
    rollouts = sum(row.num_problems * new_rollouts(level_of(row), settings) for row in done)
    slots = rollouts * settings.search.num_candidates
    tokens = sum(row.num_tokens or 0 for row in done)
    query = """
        SELECT coalesce(sum(num_candidates), 0)::BIGINT FROM trees WHERE round_id = ? AND shard_id IN (
            SELECT shard_id FROM shards WHERE round_id = ? AND status = 'done')"""
    number = shards[0].round_id if shards else 0
    _, rows = read(catalog.location, lambda: ask(catalog.connection, query, (number, number)))
    rates = {
        "tokens_per_rollout_and_candidate": _ratio(tokens, slots),
        "nodes_per_rollout": _ratio(rows[0][0], slots),
        "search_tokens_per_second": _ratio(tokens, seconds),
    }
    for level in range(1, len(settings.escalation) + 1):
        tried = sum(row.num_problems for row in done if row.kind == search_kind(level - 1))
        hard = sum(row.num_problems for row in shards if row.kind == search_kind(level))
        rates[share_of(level)] = hard / tried if tried else None
    return rates


def _of_evaluations(
    catalog: CatalogReader, number: int, config: CampaignConfig, stages: dict[tuple[int, str], float]
) -> dict[str, float | None]:
    """Tokens and speed of the policy alone and of System 2."""
    rows = catalog.fetch(EvaluationRow, "round_id = ?", (number,))
    greedy_label = f"r{number}" if number else "base"
    greedy = [row.num_tokens for row in rows if row.label == greedy_label]
    system2 = [row.num_tokens for row in rows if row.label == SYSTEM2]
    given = config.evaluation
    slots = given.num_trees * given.num_rollouts * given.num_candidates
    return {
        "greedy_tokens_per_problem": _ratio(sum(greedy), len(greedy)),
        "greedy_tokens_per_second": _ratio(sum(greedy), stages.get((number, f"evaluate {greedy_label}"))),
        "system2_tokens_per_rollout_and_candidate": _ratio(sum(system2), len(system2) * slots),
        "system2_tokens_per_second": _ratio(sum(system2), stages.get((number, f"evaluate {SYSTEM2}"))),
    }


def _of_training(
    catalog: CatalogReader, number: int, settings: RoundConfig, searched: int
) -> dict[str, float | None]:
    """Examples a problem, tokens an example and speed, of the models that the round has trained."""
    models = {row.role: row for row in catalog.fetch(ModelRow, "round_id = ?", (number,))}
    rates: dict[str, float | None] = {}
    policy, ppm = models.get("policy"), models.get("ppm")
    if policy is not None and settings.sft is not None:
        examples = policy.num_examples or 0
        rates["sft_examples_per_problem"] = _ratio(examples, searched)
        rates["sft_tokens_per_example"] = _ratio(
            _figure(policy.metrics, "num_tokens"), examples * settings.sft.num_epochs
        )
        rates["sft_tokens_per_second"] = _ratio(
            _figure(policy.metrics, "num_tokens"), _figure(policy.metrics, "seconds")
        )
    if ppm is not None and settings.ppm is not None:
        pairs = ppm.num_examples or 0
        learnt = pairs * (1 - settings.ppm.eval_fraction) * settings.ppm.num_epochs
        rates["ppm_pairs_per_problem"] = _ratio(pairs, searched)
        rates["ppm_tokens_per_pair"] = _ratio(_figure(ppm.metrics, "num_tokens"), learnt)
        rates["ppm_tokens_per_second"] = _ratio(
            _figure(ppm.metrics, "num_tokens"), _figure(ppm.metrics, "seconds")
        )
    return rates


def _done(row: ShardRow) -> bool:
    return row.status == "done"


def _figure(metrics: dict[str, Any], name: str) -> float:
    return float(metrics.get(name) or 0)


def _ratio(amount: float, of: float | None) -> float | None:
    """None where there is nothing to divide, or nothing was counted."""
    return amount / of if amount and of else None
