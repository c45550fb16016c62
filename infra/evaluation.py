"""Held-out problems: the policy alone (greedy), and System 2 (search with the PPM, no reference answer).

System 2 with several trees is graded under several labels, one row each: the configured rule as `system2`,
the other rules as `system2-majority` and so on, `system2-maj@2` for the majority of the first 2 trees, and
`system2-pass@2` for whether any of the first 2 trees is right, which is a bound and no answer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING

from infra.catalog.round_rows import EvaluationRow
from infra.driver import TreeJob, together
from infra.progress import progress
from infra.system2 import grow_ballot
from rstar_core.budget import derive_seed
from rstar_core.requests import Grade
from rstar_core.voting import ANSWER_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from infra.catalog.rows import ShardRow
    from infra.driver import ReplyLog, Services
    from infra.pulse import Pulse
    from infra.system2 import Ballot
    from rstar_core.config import SearchConfig
    from rstar_core.types import Problem
    from rstar_core.voting import AnswerRule


def evaluation_jobs(
    problems: Sequence[Problem], config: SearchConfig, *, label: str, seed: int, num_trees: int = 1
) -> list[TreeJob]:
    """The trees of a shard, problem by problem; they know no reference answer."""
    return [
        TreeJob(
            each.problem_id,
            each.question,
            None,
            index,
            derive_seed(seed, label, each.problem_id, index),
            config,
        )
        for each in problems
        for index in range(num_trees)
    ]


def evaluate_problems(
    problems: Sequence[Problem],
    jobs: Sequence[TreeJob],
    services: Services,
    shard: ShardRow,
    *,
    label: str,
    pulse: Pulse,
    rule: AnswerRule = "best",
    logs: Sequence[ReplyLog | None] = (),
) -> list[EvaluationRow]:
    """Of each problem its answer and whether the answer check accepts it, under every label.

    Every tree gives one trajectory, the best by PPM score (greedy trees have only one), and the rule chooses
    among them. The reference answer is used for nothing but the verdict. A tree goes on from its log.

    Raises:
        ShardTimeoutError: It took too long, or nothing came back for too long.
    """
    heard = replace(services, beat=pulse.beat)
    trees: dict[str, list[tuple[TreeJob, ReplyLog | None]]] = defaultdict(list)
    for job, log in zip(jobs, logs or repeat(None), strict=False):
        trees[job.problem_id].append((job, log))

    async def one(problem: Problem) -> list[EvaluationRow]:
        ballot = await grow_ballot(trees[problem.problem_id], heard)
        answers = tuple(dict.fromkeys(vote.answer for vote in ballot.votes))
        verdicts = await services.grader.grade(Grade(answers, problem.answer)) if answers else ()
        pulse.beat()
        correct = {answer: verdict.correct for answer, verdict in zip(answers, verdicts, strict=True)}
        progress().advance(f"evaluate {label}")
        return list(_rows(problem, shard, ballot, correct, label, rule))

    async def run() -> list[EvaluationRow]:
        return [row for rows in await together(map(one, problems)) for row in rows]

    return asyncio.run(pulse.guard(run()))


def _rows(
    problem: Problem,
    shard: ShardRow,
    ballot: Ballot,
    correct: dict[str, bool | None],
    label: str,
    rule: AnswerRule,
) -> Iterator[EvaluationRow]:
    """One row a label; with a single tree all rules say the same, so there is one label."""
    num_trees = len(ballot.grown)

    def row(name: str, count: int, answer: str | None, verdict: bool | None) -> EvaluationRow:
        return EvaluationRow(
            round_id=shard.round_id,
            label=name,
            shard_id=shard.shard_id,
            problem_id=problem.problem_id,
            source=problem.source,
            tier=problem.tier,
            correct=verdict,
            answer=answer,
            num_trajectories=sum(vote.num_trajectories for vote in ballot.of_first(count)),
            num_tokens=sum(each.tree.num_tokens for each in ballot.grown[:count]),
            seconds=sum(each.seconds for each in ballot.grown[:count]),
        )

    def elected(name: str, count: int, by: AnswerRule) -> EvaluationRow:
        chosen = ballot.elect(by, num_trees=count)
        return row(
            name, count, *((None, False) if chosen is None else (chosen.answer, correct[chosen.answer]))
        )

    yield elected(label, num_trees, rule)
    if num_trees == 1:
        return
    for other in ANSWER_RULES:
        if other != rule:
            yield elected(f"{label}-{other}", num_trees, other)
    for count in _ladder(num_trees):
        votes = ballot.of_first(count)
        yield row(f"{label}-pass@{count}", count, None, _any(correct[vote.answer] for vote in votes))
        if 1 < count < num_trees:  # of one tree it is pass@1, of all it is the majority
            yield elected(f"{label}-maj@{count}", count, "majority")


def _ladder(num_trees: int) -> list[int]:
    """1, 2, 4, … below the number of trees, and that number."""
    return [*(1 << power for power in range((num_trees - 1).bit_length())), num_trees]


def _any(verdicts: Iterable[bool | None]) -> bool | None:
    """Whether any holds; None if none does and some are undecided."""
    known = set(verdicts)
    return True if True in known else None if None in known else False
