"""`rstar plan`: what a campaign would take, and what it has taken, before more is spent."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flows.tables import print_table
from infra.catalog.catalog import Catalog
from infra.plan import make_plan
from infra.so_far import read_so_far
from rstar_core.assumptions import paper_round
from rstar_core.estimate import Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.plan import Given, Plan
    from rstar_core.config import CampaignConfig

_COUNTS = ("shards", "problems", "trees", "rollouts", "candidates", "tokens")
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def print_plan(config: CampaignConfig, given: Given, rates_from: str | None, *, as_json: bool) -> None:
    """Print the plan as tables, or as JSON for programs; nothing is made or changed.

    Args:
        config: The campaign.
        given: Figures that are taken as they are.
        rates_from: Folder or address of another campaign to take rates from.
        as_json: Whether programs read it.

    Raises:
        RstarError: See `infra.plan.make_plan`; or there is no other campaign.
    """
    elsewhere = None
    if rates_from is not None:
        with Catalog.open(rates_from, read_only=True) as catalog:
            elsewhere = read_so_far(catalog)
    plan = make_plan(config, given, elsewhere)
    if as_json:
        print(json.dumps(_as_json(config, plan)))
        return
    _print_work(plan)
    print()
    _print_rates(plan)
    print()
    _print_paper(config, plan)


def _print_work(plan: Plan) -> None:
    names = ["stage", *_COUNTS, "time", *(["GPU-hours"] if plan.of.gpus else [])]
    rows = [(f"{each.round_id} {each.name}", each.done, each.left) for each in plan.stages]
    rows.append(("in all", *_totals(plan)))
    print_table(names, [[name, *_cells(done, left)][: len(names)] for name, done, left in rows])
    problems = sorted(set(plan.of.problems.values()))
    counts = " to ".join(f"{count:,}" for count in (problems[:1] + problems[-1:])[: len(problems)])
    print(f"\n{counts} problems to train on and {plan.of.heldout:,} held out, {plan.counted}.")
    if any(each.done.tokens or each.done.shards for each in plan.stages):
        print("a / b: a is done, b is left.")
    print(
        f"GPUs: {plan.of.gpus or 'none'} ({plan.gpus_from}).",
        "Choosing examples and pairs takes seconds to minutes and is left out.",
    )


def _print_rates(plan: Plan) -> None:
    by_rate: dict[str, list[tuple[int, float, str]]] = {}
    for number, rates in plan.of.rates.items():
        for name, rate in rates.items():
            if rate.value and (number or name.startswith("greedy")):  # before round 1 nothing else happens
                by_rate.setdefault(name, []).append((number, rate.value, rate.source))
    rows: list[list[object]] = []
    for name, found in by_rate.items():
        for (value, source), group in groupby(found, key=lambda each: each[1:]):
            numbers = [each[0] for each in group]
            span = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
            rows.append([name.replace("_", " "), span, value, source])
    print_table(("rate", "rounds", "value", "from"), rows)


def _print_paper(config: CampaignConfig, plan: Plan) -> None:
    rows = _beside_the_paper(config, plan)
    names = ("problems", "candidates", "rollouts", "gpu_hours", "seconds_per_problem", "seconds_per_rollout")
    unit = "GPU-s" if plan.of.gpus else "s"
    heads = ("problems", "candidates", "rollouts", "GPU-hours", f"{unit} a problem", f"{unit} a rollout")
    cells = [
        [row["round"], *(f"{_figure(row[name])} ({_figure(row['paper'][name])})" for name in names)]
        for row in rows
    ]
    print_table(("round", *heads), cells)
    machines = dict.fromkeys(f"{row['paper']['machines']}, {row['paper']['days']:g} days" for row in rows)
    print(f"\nThe search beside the paper's, in brackets, which ran on {'; '.join(machines)}.")
    print("Its seconds are GPU-seconds; rollouts are those of a problem's first tree.")


def _beside_the_paper(config: CampaignConfig, plan: Plan) -> list[dict[str, Any]]:
    """Each round's search with its escalations, and the paper's; GPU time where there are GPUs."""
    found = []
    for number, settings in enumerate(config.rounds, start=1):
        paper, search = paper_round(number), settings.search
        work = sum(
            (each.all for each in plan.stages if each.round_id == number and each.is_search),
            Work(),
        )
        problems = plan.of.problems[number]
        seconds = work.gpu_seconds if plan.of.gpus else work.seconds
        found.append(
            {
                "round": number,
                "problems": problems,
                "candidates": search.num_candidates,
                "rollouts": search.num_rollouts,
                "gpu_hours": work.gpu_seconds / 3600,
                **_shares(seconds, problems, search.num_rollouts),
                "paper": {
                    "problems": paper.num_problems,
                    "candidates": paper.num_candidates,
                    "rollouts": paper.num_rollouts,
                    "gpu_hours": paper.gpu_hours,
                    **_shares(paper.gpu_hours * 3600, paper.num_problems, paper.num_rollouts),
                    "machines": paper.machines,
                    "days": paper.days,
                },
            }
        )
    return found


def _shares(seconds: float, problems: int, rollouts: int) -> dict[str, float]:
    return {
        "seconds_per_problem": seconds / max(1, problems),
        "seconds_per_rollout": seconds / max(1, problems * rollouts),
    }


def _as_json(config: CampaignConfig, plan: Plan) -> dict[str, Any]:
    done, left = _totals(plan)
    return {
        "problems": {str(number): count for number, count in plan.of.problems.items()},
        "heldout": plan.of.heldout,
        "counted": plan.counted,
        "gpus": plan.of.gpus,
        "gpus_from": plan.gpus_from,
        "stages": [
            {"round": each.round_id, "stage": each.name, "done": _hours(each.done), "left": _hours(each.left)}
            for each in plan.stages
        ],
        "total": {"done": _hours(done), "left": _hours(left)},
        "rates": [
            {"round": number, "rate": name, "value": rate.value, "from": rate.source}
            for number, rates in plan.of.rates.items()
            for name, rate in rates.items()
        ],
        "paper": _beside_the_paper(config, plan),
    }


def _hours(work: Work) -> dict[str, float]:
    figures = asdict(work)
    seconds, gpu_seconds = figures.pop("seconds"), figures.pop("gpu_seconds")
    return figures | {"hours": seconds / 3600, "gpu_hours": gpu_seconds / 3600}


def _totals(plan: Plan) -> tuple[Work, Work]:
    done = sum((each.done for each in plan.stages), Work())
    return done, sum((each.left for each in plan.stages), Work())


def _cells(done: Work, left: Work) -> Iterator[str]:
    """A cell for each count, the time, and the GPU-hours."""
    for name in _COUNTS:
        yield _both(
            getattr(done, name),
            getattr(left, name),
            *map(_figure, (getattr(done, name), getattr(left, name))),
        )
    yield _both(done.seconds, left.seconds, duration(done.seconds), duration(left.seconds))
    hours = done.gpu_seconds / 3600, left.gpu_seconds / 3600
    yield _both(*hours, *map(_figure, hours))


def _both(done: float, left: float, done_text: str, left_text: str) -> str:
    if not done:
        return left_text if left else ""
    return f"{done_text} / {left_text}"


def _figure(value: float) -> str:
    """A number in at most five signs."""
    for size, unit in _UNITS:
        if value >= max(size, 10_000):
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1_000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever a person would say."""
    for size, unit in ((172_800.0, "days"), (5_400.0, "h"), (90.0, "min")):
        if seconds >= size:
            each = {"days": 86_400.0, "h": 3_600.0, "min": 60.0}[unit]
            return f"{seconds / each:.3g} {unit}"
    return f"{seconds:.0f} s"
