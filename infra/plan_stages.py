"""The stages of a campaign in turn: what the catalog has of each, and what is left by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from infra.campaigns import trains_alike
from infra.rates import SYSTEM2, seconds_of, tokens_of
from infra.so_far import Tally
from infra.synthesis import SEARCH_STAGE, search_kind
from rstar_core.assumptions import share_of
from rstar_core.estimate import (
    Work,
    cut,
    efforts,
    greedy_work,
    ppm_work,
    search_work,
    sft_work,
    system2_work,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.so_far import SoFar
    from rstar_core.config import CampaignConfig
    from rstar_core.estimate import Rates
    from rstar_core.training_config import PpmConfig, SftConfig


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a round; round 0 is the time before round 1."""

    round_id: int
    name: str
    done: Work
    left: Work

    @property
    def all(self) -> Work:
        """Done and left together."""
        return self.done + self.left

    @property
    def kind(self) -> str:
        """Kind of its shards."""
        return self.name.replace("evaluate ", "evaluate:")

    @property
    def is_evaluation(self) -> bool:
        """Whether it asks held-out problems."""
        return self.name.startswith("evaluate ")

    @property
    def is_search(self) -> bool:
        """Whether it grows trees of training problems."""
        return self.name == SEARCH_STAGE or self.is_escalation

    @property
    def is_escalation(self) -> bool:
        """Whether it goes on with what an effort before it has left unsolved."""
        return self.name.startswith("escalation-")


@dataclass(frozen=True, slots=True)
class Stages:
    """Makes the stages of a plan.

    Attributes:
        config: The campaign.
        so_far: What its catalog has.
        rates: Of each round.
        problems: Training problems of each round.
        heldout: Held-out problems that an evaluation asks.
        gpus: GPUs that work at a time.
    """

    config: CampaignConfig
    so_far: SoFar
    rates: dict[int, Rates]
    problems: dict[int, int]
    heldout: int
    gpus: int

    def __iter__(self) -> Iterator[Stage]:
        """In the order in which a campaign runs them; those that have nothing left are there too."""
        if self.heldout:
            yield self.evaluation(0, "base")
        for number, settings in enumerate(self.config.rounds, start=1):
            yield from self._searches(number)
            if settings.sft is None:
                continue
            yield self._sft(number, settings.sft)
            if settings.ppm is not None:
                yield self._ppm(number, settings.ppm)
            if self.heldout:
                yield self.evaluation(number, f"r{number}")
                if number == len(self.config.rounds) and settings.ppm is not None:
                    yield self.evaluation(number, SYSTEM2)

    def _searches(self, number: int) -> Iterator[Stage]:
        settings, rates = self.config.rounds[number - 1], self.rates[number]
        keys = [(number, search_kind(level)) for level in range(len(settings.escalation) + 1)]
        loads = self._left(number, keys)
        tallies = [self.so_far.done.get(key, Tally()) for key in keys]
        tokens = sum(tally.tokens for tally in tallies)
        seconds = self.so_far.seconds.get((number, SEARCH_STAGE), 0.0)
        for level, (key, tally, load) in enumerate(zip(keys, tallies, loads, strict=True)):
            expected = search_work(Work(tally.shards, tally.problems), level, settings, rates, self.gpus)
            spent = seconds * tally.tokens / tokens if tokens else 0.0
            done = replace(
                self._facts(expected, tally.tokens, spent), candidates=self.so_far.candidates.get(key, 0)
            )
            left = search_work(load, level, settings, rates, self.gpus)
            yield Stage(number, key[1], done, left)

    def _left(self, number: int, keys: list[tuple[int, str]]) -> list[Work]:
        """Shards and problems that are left of the search and of each escalation."""
        if self._over(number) and self.config.min_success_ratio < 1:
            return [Work()] * len(keys)  # the round went on without them
        rates = self.rates[number]
        unfinished = [self.so_far.unfinished.get(key, Tally()) for key in keys]
        known = self.so_far.planned(keys[0]).problems
        fresh = cut(max(0, self.problems[number] - known), self.config.shard_size)
        shares = [min(1.0, rates[share_of(level)].value) for level in range(1, len(keys))]
        return efforts(fresh, [Work(each.shards, each.problems) for each in unfinished], shares)

    def _sft(self, number: int, sft: SftConfig) -> Stage:
        examples = self._examples(number, "policy", "sft_examples_per_problem")
        return self._training(number, "sft", "policy", sft_work(examples, sft, self.rates[number], self.gpus))

    def _ppm(self, number: int, ppm: PpmConfig) -> Stage:
        pairs = self._examples(number, "ppm", "ppm_pairs_per_problem")
        return self._training(number, "ppm", "ppm", ppm_work(pairs, ppm, self.rates[number], self.gpus))

    def _examples(self, number: int, role: str, per_problem: str) -> int:
        """Those that were chosen already, or as many as are expected."""
        expected = round(self.problems[number] * self.rates[number][per_problem].value)
        return self.so_far.examples.get((number, role), expected)

    def _training(self, number: int, name: str, role: str, expected: Work) -> Stage:
        model = self.so_far.models.get((number, role))
        if model is None:  # a round that is over found nothing to train on
            return Stage(number, name, Work(), Work() if self._over(number) else expected)
        examples = Work(examples=model.num_examples or 0)
        return Stage(number, name, self._facts(examples, tokens_of(model), seconds_of(model)), Work())

    def evaluation(self, number: int, label: str) -> Stage:
        """The evaluation of a round's policy, or of System 2, under its label."""
        key, stage = (number, f"evaluate:{label}"), f"evaluate {label}"
        tally, rest = (side.get(key, Tally()) for side in (self.so_far.done, self.so_far.unfinished))
        nothing_to_ask = self._over(number) and number > 0 and (number, "policy") not in self.so_far.models
        fresh = cut(max(0, self.heldout - tally.problems - rest.problems), self.config.shard_size)
        load = Work() if nothing_to_ask else Work(rest.shards, rest.problems) + fresh
        expected = self._asking(number, label, Work(tally.shards, tally.problems))
        _, tokens = self.so_far.evaluated.get((number, label), (0, 0))
        seconds = self.so_far.seconds.get((number, stage), 0.0)
        done = self._facts(expected, tokens, seconds)
        return Stage(number, stage, done, self._asking(number, label, load))

    def _asking(self, number: int, label: str, load: Work) -> Work:
        rates = self.rates[number]
        if label == SYSTEM2:
            return system2_work(load, self.config.evaluation, rates, self.gpus)
        return greedy_work(load, rates, self.gpus)

    def _facts(self, expected: Work, tokens: int, seconds: float) -> Work:
        """Done work: what was measured in the place of what was expected."""
        return replace(expected, tokens=tokens, seconds=seconds, gpu_seconds=seconds * self.gpus)

    def _over(self, number: int) -> bool:
        row = self.so_far.rounds.get(number)
        return row is not None and row.status == "done" and trains_alike(row, self.config)
