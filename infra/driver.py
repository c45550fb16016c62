"""Drives search generators: answers each request through the adapter that can, each tree on its own.

Trees never wait for each other: each is a coroutine, and the engine batches whatever is in flight.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rstar_core.errors import EngineStoppedError, SearchError
from rstar_core.requests import Execute, Grade, Propose, Reply, Request, Score, Together
from rstar_core.waves import start_search

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence

    from rstar_core.config import SearchConfig
    from rstar_core.protocols import CodeRunner, Grader, Policy, StepScorer
    from rstar_core.tree import Tree

T = TypeVar("T")


def _unheard() -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Services:
    """The world as the search sees it; `scorer` is None where no PPM is asked, `beat` hears of each reply."""

    policy: Policy
    runner: CodeRunner
    grader: Grader
    scorer: StepScorer | None = None
    beat: Callable[[], None] = _unheard

    async def answer(self, request: Request) -> Reply:
        """The reply to one request; `beat` is called when it is there.

        Raises:
            SearchError: A score was asked for and there is no PPM.
        """
        reply = await self._answer(request)
        self.beat()
        return reply

    async def _answer(self, request: Request) -> Reply:
        match request:
            case Propose():
                return await self.policy.propose(request)
            case Execute():
                return await self.runner.execute(request)
            case Grade():
                return await self.grader.grade(request)
            case Together(requests):
                return tuple(await together(map(self.answer, requests)))
            case Score():
                if self.scorer is None:
                    raise SearchError("the search asks for step scores but no PPM was given")
                return await self.scorer.score(request)


@dataclass(frozen=True, slots=True)
class TreeJob:
    """One tree to grow; `reference` is None at test time."""

    problem_id: str
    question: str
    reference: str | None
    tree_index: int
    seed: int
    config: SearchConfig


@dataclass(frozen=True, slots=True)
class GrownTree:
    """A finished tree, and the wall time from its first request to its end."""

    job: TreeJob
    tree: Tree
    seconds: float


class ReplyLog(Protocol):
    """Where a tree's replies are kept, so that a killed search goes on where it was."""

    def take(self, request: Request) -> Reply | None:
        """The reply that an earlier run had to this request; None from where its log ends."""
        ...

    def append(self, request: Request, reply: Reply) -> None:
        """Keep a new reply."""
        ...


async def grow_tree(job: TreeJob, services: Services, log: ReplyLog | None = None) -> GrownTree:
    """Run one search to its end, over what its log holds without asking anybody."""
    started = time.perf_counter()
    rng = random.Random(job.seed)  # noqa: S311 - a recorded seed
    searching = start_search(job.question, job.reference, job.config, rng)
    reply: Reply | None = None
    while True:
        try:
            request = searching.send(reply)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            return GrownTree(job, end.value, time.perf_counter() - started)
        reply = None if log is None else log.take(request)
        if reply is None:
            reply = await services.answer(request)
            if log is not None:
                log.append(request, reply)


async def grow_trees(
    jobs: Sequence[TreeJob], services: Services, logs: Sequence[ReplyLog | None] = ()
) -> AsyncIterator[GrownTree]:
    """Grow all trees at once, each with its log; yields each as it ends.

    The first error cancels the others. Where the engine stops, they go on to the ends of the requests that
    are in flight: those replies are paid for, and in the logs they are there for the next run.
    """
    each_log = logs or [None] * len(jobs)
    pending = {
        asyncio.create_task(grow_tree(job, services, log)) for job, log in zip(jobs, each_log, strict=True)
    }
    try:
        for finished in asyncio.as_completed(list(pending)):
            yield await finished
    except EngineStoppedError:
        await asyncio.wait(pending)
        raise
    finally:
        await _end(pending)


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, in order. An error ends the others as in `grow_trees`; none is left behind."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except EngineStoppedError:
        await asyncio.wait(tasks)
        raise
    finally:
        await _end(tasks)


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
