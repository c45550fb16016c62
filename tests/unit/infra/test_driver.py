import asyncio
import re
from dataclasses import replace

import pytest

from infra.driver import Services, TreeJob, grow_tree, grow_trees, together
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig
from rstar_core.errors import EngineError, EngineStoppedError, SearchError
from rstar_core.requests import Propose

CONFIG = SearchConfig(num_candidates=3, num_rollouts=6, max_depth=6)
JOBS = [
    TreeJob(f"p{number}", f"Question {number}?", "2", number % 2, 100 + number, CONFIG) for number in range(6)
]


def run_arithmetic(prefix, code):
    """`print(x)` prints the last number that x was set to."""
    return printed(re.findall(r"x = (\d)", prefix)[-1] if "print(x)" in code else "")


class LengthScorer:
    async def score(self, request):
        return tuple(len(text) % 7 / 7 for text in request.candidates)


class Hesitant:
    """The same policy, but it gives other trees their turn before it answers, to some more often."""

    def __init__(self):
        self.policy, self.waiting, self.most = ScriptedPolicy(random_arithmetic), 0, 0

    async def propose(self, request):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        for _ in range(request.seed % 5 + 1):
            await asyncio.sleep(0)
        self.waiting -= 1
        return await self.policy.propose(request)


def services(policy=None, **changes):
    return Services(
        **{
            "policy": policy or ScriptedPolicy(random_arithmetic),
            "runner": ScriptedRunner(run_arithmetic),
            "grader": ExactGrader(),
            **changes,
        }
    )


def with_annotation(annotation):
    return [replace(job, config=job.config.model_copy(update={"annotation": annotation})) for job in JOBS]


async def collect(jobs, world):
    return [grown async for grown in grow_trees(jobs, world)]


@pytest.mark.parametrize("annotation", ["terminal", "ppm"])
async def test_a_tree_grown_alone_equals_the_same_tree_grown_among_many(annotation):
    jobs = with_annotation(annotation)
    alone = [await grow_tree(job, services(scorer=LengthScorer())) for job in jobs]
    policy = Hesitant()
    among = await collect(jobs, services(policy, scorer=LengthScorer()))
    assert policy.most == len(JOBS)
    assert sorted(grown.job.problem_id for grown in among) == [job.problem_id for job in JOBS]
    by_id = {grown.job.problem_id: grown for grown in among}
    for grown in alone:
        other = by_id[grown.job.problem_id]
        assert grown.job == other.job
        assert grown.tree == other.tree
        assert grown.seconds >= 0.0
    assert len({len(grown.tree) for grown in alone}) > 1
    assert any(node.correct for grown in alone for node in grown.tree.answers())


async def test_only_the_seed_makes_two_trees_of_a_problem_differ():
    job = JOBS[0]
    other = replace(job, tree_index=1, seed=job.seed + 1)
    first, again, second = [(await grow_tree(each, services())).tree for each in (job, job, other)]
    assert first == again
    assert first != second


async def test_trees_come_as_they_end():
    class Slow(Hesitant):
        async def propose(self, request):
            if request.question == "Question 0?":
                await asyncio.sleep(0.005)
            return await super().propose(request)

    grown = await collect(JOBS[:3], services(Slow()))
    assert grown[-1].job == JOBS[0]


class Breaks:
    """Fails for one question; for all others it waits for ever and notes that it was cancelled."""

    def __init__(self):
        self.cancelled = []

    async def propose(self, request):
        if request.question == "Question 3?":
            await asyncio.sleep(0)
            raise EngineError("the model is gone")
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.append(request.question)


async def test_the_first_error_cancels_the_others():
    policy = Breaks()
    with pytest.raises(EngineError, match="the model is gone"):
        await collect(JOBS, services(policy))
    assert sorted(policy.cancelled) == [job.question for job in JOBS if job.question != "Question 3?"]


class Stops:
    """Refuses from some request on; what was asked before is answered, but later than the refusal comes."""

    def __init__(self, count):
        self.policy, self.left, self.answered = ScriptedPolicy(random_arithmetic), count, 0

    async def propose(self, request):
        self.left -= 1
        if self.left < 0:
            raise EngineStoppedError("the money is spent")
        await asyncio.sleep(0.01 * (1 + self.left))
        self.answered += 1
        return await self.policy.propose(request)


class Log(list):
    def take(self, _):
        return None

    def append(self, _, reply):
        super().append(reply)


async def test_when_the_engine_stops_replies_in_flight_are_waited_for_and_logged():
    policy, logs = Stops(len(JOBS) - 1), [Log() for _ in JOBS]
    with pytest.raises(EngineStoppedError, match="the money is spent"):
        [grown async for grown in grow_trees(JOBS, services(policy), logs)]
    assert policy.answered == len(JOBS) - 1
    assert sum(bool(log) for log in logs) == len(JOBS) - 1


async def test_what_is_asked_together_ends_together():
    policy = Breaks()
    with pytest.raises(EngineError, match="the model is gone"):
        await together(policy.propose(Propose(job.question, (), 1, 1, 0.8, 0.95, 64)) for job in JOBS)
    assert len(policy.cancelled) == len(JOBS) - 1
    stops = Stops(len(JOBS) - 1)
    with pytest.raises(EngineStoppedError):
        await together(stops.propose(Propose(job.question, (), 1, 1, 0.8, 0.95, 64)) for job in JOBS)
    assert stops.answered == len(JOBS) - 1


async def test_a_caller_that_leaves_early_cancels_the_rest():
    class OneAnswers(Breaks):
        async def propose(self, request):
            if request.question == "Question 3?":
                return await ScriptedPolicy(random_arithmetic).propose(request)
            return await super().propose(request)

    policy = OneAnswers()
    trees = grow_trees(JOBS, services(policy))
    assert (await anext(trees)).job == JOBS[3]
    await trees.aclose()
    assert len(policy.cancelled) == len(JOBS) - 1


async def test_a_search_guided_by_a_ppm_needs_one():
    with pytest.raises(SearchError, match="no PPM was given"):
        await grow_tree(with_annotation("ppm")[0], services())


async def test_an_adapter_that_answers_too_little_is_found_out():
    class ScoresTheFirst(LengthScorer):
        async def score(self, request):
            return (await super().score(request))[:1]

    with pytest.raises(SearchError, match="of float were asked for"):
        await grow_tree(with_annotation("ppm")[0], services(scorer=ScoresTheFirst()))


async def test_no_jobs_are_no_trees():
    assert await collect([], services()) == []
