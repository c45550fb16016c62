"""System 2: a question is answered by several trees and a vote, without a reference answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.driver import GrownTree, ReplyLog, Services, TreeJob, grow_tree, together
from rstar_core.requests import Grade
from rstar_core.voting import AnswerRule, Vote, cast_vote, elect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rstar_core.config import SearchConfig
    from rstar_core.protocols import Grader


@dataclass(frozen=True, slots=True)
class Ballot:
    """What the trees of one question say.

    Attributes:
        grown: The trees, in order.
        votes: One of each tree that reached an answer, in order.
        groups: For each answer the first one that the answer check calls equal, best-scored first.
    """

    grown: tuple[GrownTree, ...]
    votes: tuple[Vote, ...]
    groups: dict[str, str]

    def elect(self, rule: AnswerRule, *, num_trees: int | None = None) -> Vote | None:
        """The vote whose answer is given, by all or the first `num_trees`; None without an answer."""
        return elect(self.of_first(num_trees), self.groups, rule)

    def of_first(self, num_trees: int | None) -> list[Vote]:
        """Votes of the first trees."""
        return [vote for vote in self.votes if num_trees is None or vote.tree < num_trees]

    def agreeing(self, chosen: Vote) -> int:
        """How many trees give an answer equal to this one."""
        return sum(self.groups[vote.answer] == self.groups[chosen.answer] for vote in self.votes)


async def ask_trees(
    problem_id: str,
    question: str,
    config: SearchConfig,
    services: Services,
    seeds: Sequence[int],
    advance: Callable[[], None] = lambda: None,
) -> Ballot:
    """Grow one tree for each seed, all at once, and let them vote; `advance` is called as each tree ends."""
    jobs = (TreeJob(problem_id, question, None, index, seed, config) for index, seed in enumerate(seeds))
    return await grow_ballot([(job, None) for job in jobs], services, advance)


async def grow_ballot(
    trees: Sequence[tuple[TreeJob, ReplyLog | None]],
    services: Services,
    advance: Callable[[], None] = lambda: None,
) -> Ballot:
    """Grow the trees of one question, all at once, and let them vote.

    Args:
        trees: Each without a reference answer; one that has a log goes on from there.
        services: Who answers.
        advance: Called as each tree ends.
    """

    async def one(job: TreeJob, log: ReplyLog | None) -> GrownTree:
        grown = await grow_tree(job, services, log)
        advance()
        return grown

    grown = await together(one(*each) for each in trees)
    cast = (
        cast_vote(each.job.problem_id, index, each.tree, scored=each.job.config.annotation == "ppm")
        for index, each in enumerate(grown)
    )
    votes = tuple(vote for vote in cast if vote is not None)
    ranked = sorted(votes, key=lambda vote: -(vote.score or 0.0))
    return Ballot(tuple(grown), votes, await group_answers((vote.answer for vote in ranked), services.grader))


async def group_answers(answers: Iterable[str], grader: Grader) -> dict[str, str]:
    """For each answer the first one before it that the answer check calls equal, or itself.

    Answers that cannot be compared stay apart.
    """
    groups: dict[str, str] = {}
    left = list(dict.fromkeys(answers))
    while left:
        first, *others = left
        verdicts = await grader.grade(Grade(tuple(others), first)) if others else ()
        equal = {answer for answer, verdict in zip(others, verdicts, strict=True) if verdict.correct}
        groups |= dict.fromkeys((first, *equal), first)
        left = [answer for answer in others if answer not in equal]
    return groups
