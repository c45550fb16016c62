"""What a PPM is worth: does it rank held-out steps better than chance, and does search with it solve more?

python benchmarks/ppm.py [--json] [--root runs] [--problems 96] [--heldout 40] [--rollouts 6]

A round of a campaign of its own is run first: search with the base model, selection, pairs, policy, PPM; the
same command goes on where it was stopped. Then every held-out problem is searched twice with the policy that
this round trained, with the same seeds, with the PPM's scores and without; once as a round searches, with the
reference answer, and once blind, as System 2 does. Tokens and successes are counted after each rollout, so
that both can be read at equal tokens.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, arguments, at_least, show
from flows.campaign import campaign_flow
from flows.running import prepare_environment
from infra.configuration import parse_config
from infra.models.registry import campaign_model, scorer_of, trained_policy
from infra.services import close_services, open_services
from infra.workspace import Workspace
from rstar_core.budget import derive_seed
from rstar_core.metrics import paired_difference
from rstar_core.requests import Grade
from rstar_core.search import search
from rstar_core.trajectories import trajectories
from rstar_core.types import Split
from rstar_core.voting import cast_vote

if TYPE_CHECKING:
    from infra.driver import Services
    from rstar_core.config import CampaignConfig, SearchConfig
    from rstar_core.requests import Reply
    from rstar_core.tree import Tree
    from rstar_core.types import Problem

_FAMILIES = [
    *("basic_arithmetic", "chain_sum", "products", "gcd"),
    *("lcm", "gcd_many", "lcm_many", "count_bits"),
]
_CHANCE = 0.5
_SAME = 1.01
"""Tokens count as equal up to a hundredth: rollouts are whole."""


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--root", default="runs")
    parser.add_argument("--problems", type=int, default=96)
    parser.add_argument("--heldout", type=int, default=40)
    parser.add_argument("--rollouts", type=int, default=6)
    options = parser.parse_args()
    prepare_environment()
    config = campaign(options.root, options.problems, options.heldout)
    campaign_flow(config)
    figures = ranking(config)
    for blind in (False, True):
        figures += searching(config, options.rollouts, blind=blind)
    close_services()
    show(figures, as_json=options.json)


def campaign(root: str, num_problems: int, num_heldout: int) -> CampaignConfig:
    """One round as in the demo, with more problems and more pairs."""
    source = {"kind": "builtin", "families": _FAMILIES}
    training = {"learning_rate": 2e-4, "batch_size": 4, "micro_batch_size": 4, "max_length": 512}
    search_settings = {
        "num_candidates": 5,
        "num_rollouts": 4,
        "rollouts_in_flight": 4,
        "answer_step": "output",
        "max_depth": 5,
        "max_step_tokens": 48,
        "temperature": 0.7,
    }
    return parse_config(
        {
            "name": "ppm-worth",
            "seed": 1,
            "root": root,
            "sources": [
                {**source, "split": "train", "num_problems": num_problems},
                {**source, "split": "heldout", "num_problems": num_heldout},
            ],
            "policy": {"engine": "transformers", "max_sequences": 80, "cache_mb": 1024},
            "sandbox": {"timeout_seconds": 2.0},
            "rounds": [
                {
                    "prompt": "bootstrap",
                    "escalation": [],
                    "search": search_settings,
                    # The policy may not learn what measures the PPM, which begins as this policy.
                    "sft": {**training, "num_epochs": 1, "eval_fraction": 0.25},
                    "ppm": {**training, "num_epochs": 3, "pairs_per_side": 2, "eval_fraction": 0.25},
                }
            ],
            "evaluation": {"num_problems": 8, "num_candidates": 3, "num_rollouts": 1},
        },
        origin="the benchmark",
    )


def ranking(config: CampaignConfig) -> list[Figure]:
    """How the PPM ranks the pairs of problems that it has not seen."""
    metrics = campaign_model(str(Workspace.of(config).root), "round-1/ppm").metrics
    names = {
        "num_pairs": "pairs that it learnt from",
        "num_eval_pairs": "held-out pairs",
        "num_eval_problems": "… of problems",
        "pair_accuracy": "held-out pairs ranked right",
        "pair_accuracy_high": "… 95 % interval, upper end",
    }
    figures = [Figure(text, metrics[name] or 0.0, "1") for name, text in names.items()]
    figures.append(at_least("… lower end", metrics["pair_accuracy_low"] or 0.0, "1", _CHANCE))
    by_depth = sorted(name for name in metrics if name.startswith("pair_accuracy_depth_"))
    return figures + [Figure(name.replace("_", " "), metrics[name], "1") for name in by_depth]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to search: after each rollout the tokens so far, and of each problem whether it succeeded."""

    tokens: list[int]
    hits: list[list[bool]]


def searching(config: CampaignConfig, num_rollouts: int, *, blind: bool) -> list[Figure]:
    """With the PPM and without, at some numbers of rollouts and at equal tokens.

    As the next round searches, one rollout after the other, a problem succeeds if a right trajectory was
    found; blind, as System 2 searches, without the reference answer, if the answer that is given is right: of
    the best-scored trajectory, or without a PPM of most trajectories.
    """
    what = "answered right" if blind else "solved"
    without, with_it = (run_arm(config, way, num_rollouts, blind=blind) for way in ("terminal", "ppm"))
    figures = []
    for count in sorted({1, 2, 4, 8, num_rollouts} & set(range(1, num_rollouts + 1))):
        for name, arm in (("without", without), ("with", with_it)):
            figures.append(Figure(f"{count} rollouts {name} PPM: tokens", arm.tokens[count - 1], "1"))
            figures.append(Figure(f"… {what}", sum(arm.hits[count - 1]), "1"))
    budget = _SAME * min(without.tokens[-1], with_it.tokens[-1])
    at = [max(i for i, spent in enumerate(arm.tokens) if spent <= budget) for arm in (without, with_it)]
    change, low, high = paired_difference(without.hits[at[0]], with_it.hits[at[1]])
    return [
        *figures,
        Figure("compared without the PPM at rollouts", at[0] + 1, "1"),
        Figure("… tokens of the policy", without.tokens[at[0]], "1"),
        Figure("compared with it at rollouts", at[1] + 1, "1"),
        Figure("… tokens of the policy", with_it.tokens[at[1]], "1"),
        Figure(f"share {what} with the PPM less without", change, "1"),
        Figure("… 95 % interval, lower end", low, "1"),
        Figure("… upper end", high, "1"),
    ]


def run_arm(config: CampaignConfig, annotation: str, num_rollouts: int, *, blind: bool) -> Arm:
    """Search every held-out problem with the policy that the round trained."""
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        problems = catalog.problems(Split.HELDOUT)
        policy = trained_policy(catalog, config, 1)
    if policy is None:
        raise SystemExit("the round found nothing to train on; give it more --problems")
    row = campaign_model(str(Workspace.of(config).root), "round-1/ppm")
    ppm = scorer_of(row, config) if annotation == "ppm" else None
    services = open_services(policy, config.sandbox, ppm)
    settings = config.rounds[0].search.model_copy(
        update={"annotation": annotation, "rollouts_in_flight": 1, "temperature": 1.0, "num_candidates": 4}
    )

    async def all_of_them() -> list[list[tuple[int, bool]]]:
        grown = (grow(each, settings, services, num_rollouts, blind=blind) for each in problems)
        return await asyncio.gather(*grown)

    moments = list(zip(*asyncio.run(all_of_them()), strict=True))
    return Arm(
        [sum(tokens for tokens, _ in moment) for moment in moments],
        [[hit for _, hit in moment] for moment in moments],
    )


async def grow(
    problem: Problem, settings: SearchConfig, services: Services, num_rollouts: int, *, blind: bool
) -> list[tuple[int, bool]]:
    """One tree, rollout by rollout: its tokens so far, and whether it has succeeded."""
    rng = random.Random(derive_seed(11, problem.problem_id))  # noqa: S311 - a recorded seed
    reference = None if blind else problem.answer
    tree, history = None, []
    for count in range(1, num_rollouts + 1):
        limited = settings.model_copy(update={"num_rollouts": count})
        tree = await drive(search(problem.question, reference, limited, rng, tree), services)
        if blind:
            vote = cast_vote(problem.problem_id, 0, tree, scored=settings.annotation == "ppm")
            hit = vote is not None and await is_right(vote.answer, problem.answer, services)
        else:
            hit = any(each.correct for each in trajectories(problem.problem_id, tree))
        history.append((tree.num_tokens, hit))
    return history


async def is_right(answer: str, reference: str, services: Services) -> bool:
    """What the answer check says; what it cannot decide is not right."""
    (verdict,) = await services.grader.grade(Grade((answer,), reference))
    return bool(verdict.correct)


async def drive(searching: Any, services: Services) -> Tree:  # noqa: ANN401 - a generator with a result
    """Answer what a search asks until it ends."""
    reply: Reply | None = None
    while True:
        try:
            request = searching.send(reply)
        except StopIteration as end:
            tree: Tree = end.value
            return tree
        reply = await services.answer(request)


if __name__ == "__main__":
    main()
