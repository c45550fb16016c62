"""`rstar solve`: a question answered by System 2 with the newest models of a campaign."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.console import make_display
from flows.tree_view import printed
from flows.visible import visible
from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import RoundRow
from infra.configuration import apply_overrides, parse_config
from infra.models.registry import base_policy, scorer_of, trained_policy
from infra.services import PolicySpec, close_services, open_services
from infra.system2 import ask_trees
from rstar_core.budget import derive_seed, system2_search
from rstar_core.errors import ConfigError, SearchError
from rstar_core.tags import ALL_TAGS, END_OF_CODE
from rstar_core.types import StepKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.system2 import Ballot
    from rstar_core.config import CampaignConfig, SearchConfig
    from rstar_core.voting import AnswerRule, Vote

_STAGE = "solve"
_TAGS = re.compile("|".join(ALL_TAGS))


@dataclass(frozen=True, slots=True)
class Solver:
    """What a campaign has to answer with.

    Attributes:
        config: Its settings.
        policy: Its newest policy, or the base model.
        ppm: Its newest PPM; None if it has none.
        search: Settings of each tree.
        spent: What the campaign has cost so far.
        rule: Whose answer is given: the campaign's rule, or without a PPM that of most trees.
    """

    config: CampaignConfig
    policy: PolicySpec
    ppm: ModelRow | None
    search: SearchConfig
    spent: float
    rule: AnswerRule


def solve_question(campaign: str, question: str, changes: Mapping[str, int], *, as_json: bool) -> None:
    """Answer a question and print how.

    Args:
        campaign: Folder of the campaign.
        question: The question.
        changes: Settings of its evaluation that are replaced.
        as_json: For programs.

    Raises:
        ConfigError: The question is blank or no text, or no round of the campaign has begun.
        SearchError: No tree reached an answer.
    """
    if not question.strip():
        raise ConfigError("the question is blank; write one in quotation marks")
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the question is not valid UTF-8 text; check the terminal's encoding") from error
    solver = _solver(campaign, changes)
    started = time.perf_counter()
    ballot = _ask(solver, question)
    chosen = ballot.elect(solver.rule)
    if chosen is None:
        raise SearchError(
            f"no answer: none of {_trees(len(ballot.grown))} reached one; try more --rollouts or --trees"
        )
    found = _as_dict(question, solver, ballot, chosen, time.perf_counter() - started)
    if as_json:
        print(json.dumps(found))
    else:
        show(found)


def _solver(campaign: str, changes: Mapping[str, int]) -> Solver:
    with Catalog.open(campaign, read_only=True) as catalog:
        rounds = catalog.fetch(RoundRow, order_by="round_id DESC")
        if not rounds:
            raise ConfigError(f"no round of the campaign in {campaign} has begun; start it with: rstar run")
        config = apply_overrides(
            parse_config(rounds[0].config, origin="the catalog", stored=True),
            {f"evaluation.{name}": value for name, value in changes.items()},
        )
        trained = catalog.fetch(ModelRow, "role IN ('policy', 'ppm')", order_by="round_id DESC")
        made = next((row.round_id for row in trained if row.role == "policy"), None)
        policy = None if made is None else trained_policy(catalog, config, made)
        spent = catalog.cost()
    ppm = next((row for row in trained if row.role == "ppm"), None)
    search = config.rounds[(made or 1) - 1].search
    return Solver(
        config=config,
        policy=policy or base_policy(config),
        ppm=ppm,
        search=system2_search(search, config.evaluation, with_ppm=ppm is not None),
        spent=spent,
        rule="majority" if ppm is None else config.evaluation.answer_rule,
    )


def _ask(solver: Solver, question: str) -> Ballot:
    seeds = [
        derive_seed(solver.config.seed, _STAGE, question, index)
        for index in range(solver.config.evaluation.num_trees)
    ]
    display = make_display()
    try:
        ppm = None if solver.ppm is None else scorer_of(solver.ppm, solver.config)
        services = open_services(solver.policy, solver.config.sandbox, ppm, solver.spent)
        display.begin(_STAGE, len(seeds), "trees")
        return asyncio.run(
            ask_trees(_STAGE, question, solver.search, services, seeds, lambda: display.advance(_STAGE))
        )
    finally:
        display.close()
        close_services()


def _as_dict(question: str, solver: Solver, ballot: Ballot, chosen: Vote, seconds: float) -> dict[str, Any]:
    """The answer and how it came about, as plain values."""
    tree = ballot.grown[chosen.tree].tree
    scored = chosen.score is not None
    steps = [
        {
            "text": step.text,
            "score": tree.prior_of(node) if scored else None,
            "output": printed(step.text) if step.kind is StepKind.FINAL_CODE else None,
        }
        for node, step in zip(chosen.trajectory.node_ids, chosen.trajectory.steps, strict=True)
    ]
    return {
        "question": question,
        "answer": chosen.answer,
        "score": chosen.score,
        "rule": solver.rule,
        "steps": steps,
        "num_agreeing": ballot.agreeing(chosen),
        "num_trees": len(ballot.grown),
        "num_trajectories": sum(vote.num_trajectories for vote in ballot.votes),
        "answers": [{"answer": vote.answer, "score": vote.score} for vote in ballot.votes],
        "policy": solver.policy.model_id,
        "ppm": None if solver.ppm is None else solver.ppm.model_id,
        "num_tokens": sum(each.tree.num_tokens for each in ballot.grown),
        "seconds": seconds,
    }


def show(found: dict[str, Any]) -> None:
    """The same for a person; every word of a model is made visible and taken literally."""
    console = Console(highlight=False)
    for step in found["steps"]:
        score = "" if step["score"] is None else f"PPM {step['score']:+.2f}  "
        code, output = _body(step["text"]), step["output"]
        text = Text()
        for number, line in enumerate(code.split("\n")):
            text.append(f"{score if number == 0 else '':{len(score)}}", "bold")
            text.append(f"{line}\n", "dim" if line.lstrip().startswith("#") else "")
        for line in [] if output is None else visible(output).split("\n"):
            text.append(f"{'':{len(score)}}→ {line}\n", "cyan")
        console.print(text)
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found):
        facts.add_row(Text(name, style="dim"), Text(value, style="bold green" if name == "answer" else ""))
    console.print(facts)


def _body(text: str) -> str:
    """A step without its tags and the block that the executor wrote."""
    shown = visible(text.partition(END_OF_CODE)[0])
    return _TAGS.sub("", shown).strip("\n")


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    score = found["score"]
    facts = [
        ("answer", visible(found["answer"])),
        (
            "agreed",
            f"{found['num_agreeing']} of {_trees(found['num_trees'])}"
            + ("" if score is None else f", chosen by rule {found['rule']!r} with PPM {score:+.2f}"),
        ),
        (
            "search",
            f"{found['num_trajectories']} solutions, {found['num_tokens']} tokens, {found['seconds']:.1f} s",
        ),
        (
            "models",
            visible(f"policy {found['policy']}, {'no PPM' if score is None else 'PPM ' + found['ppm']}"),
        ),
    ]
    if score is None:
        facts.append(("note", "the campaign has no PPM: plain search, and the majority of the trees"))
    return facts


def _trees(number: int) -> str:
    return f"{number} tree{'' if number == 1 else 's'}"
