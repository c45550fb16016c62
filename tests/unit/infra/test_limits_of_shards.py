"""A shard to which nobody answers ends, its thread is free again, and what was heard until then is kept."""

import asyncio
import threading
import time

from infra.catalog.rows import ShardRow
from infra.driver import Services, TreeJob
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.evaluation import evaluate_problems, evaluation_jobs
from infra.grading.fake import ExactGrader
from infra.pulse import Pulse
from infra.replay_log import Belonging, ShardLog, read_log
from infra.sandbox.fake import ScriptedRunner, printed
from infra.synthesis import grow_shard
from rstar_core.budget import greedy_search
from rstar_core.config import SearchConfig
from rstar_core.errors import ShardTimeoutError
from rstar_core.types import Problem, Split, Tier

CONFIG = SearchConfig(num_candidates=4, num_rollouts=8, max_depth=6)
JOBS = [TreeJob(f"p{number}", f"Guess {number}?", "2", 0, number, CONFIG) for number in range(3)]
BELONGING = Belonging(1, "search-7", "base", None, {}, [[job.problem_id, 0, job.seed] for job in JOBS])
HELDOUT = [Problem("p0", "Guess 0?", "2", Tier.MATH, "s", "l", Split.HELDOUT)]
EVALUATION = ShardRow(0, "evaluate-7", "evaluate:base", 1, "running", 1, ("p0",))


class FallsSilent(ScriptedPolicy):
    """Answers so many requests, and then nobody any more."""

    def __init__(self, count):
        super().__init__(random_arithmetic)
        self.left = count

    async def propose(self, request):
        self.left -= 1
        if self.left < 0:
            await asyncio.Event().wait()
        return await super().propose(request)


def services(policy):
    return Services(
        policy, ScriptedRunner(lambda _, code: printed("2" if "print" in code else "")), ExactGrader()
    )


def pulse(shard, stall=0.2):
    return Pulse(shard, timeout_seconds=600, stall_seconds=stall)


def in_a_thread(work):
    """What the work raised in a thread like those of the shards, which must have ended."""
    raised = []

    def run():
        try:
            work()
        except ShardTimeoutError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the thread hangs"
    return raised[0]


def search(path, policy, **limits):
    with ShardLog(path, BELONGING) as log:
        return grow_shard(JOBS, services(policy), log, pulse("search-7", **limits))


def test_a_silent_search_frees_its_thread_and_goes_on_from_its_log(tmp_path):
    path = tmp_path / "search-7.log"
    error = in_a_thread(lambda: search(path, FallsSilent(10)))
    assert str(error).startswith("nothing came back to shard search-7 for 0.2 s (shard_stall_seconds)")
    held = len(read_log(path)[1])
    assert held >= 10

    asked = FallsSilent(10_000)
    resumed = search(path, asked, stall=60)
    alone = FallsSilent(10_000)
    fresh = search(tmp_path / "another.log", alone, stall=60)
    assert asked.left - alone.left == 10, "replies that were paid for were asked for again"
    key = {each.job.problem_id: each.tree for each in fresh}
    assert {each.job.problem_id: each.tree for each in resumed} == key


def test_a_silent_evaluation_frees_its_thread():
    def evaluate():
        jobs = evaluation_jobs(HELDOUT, greedy_search(CONFIG), label="base", seed=1)
        silent, limits = services(FallsSilent(1)), pulse("evaluate-7")
        evaluate_problems(HELDOUT, jobs, silent, EVALUATION, label="base", pulse=limits)

    assert "nothing came back to shard evaluate-7" in str(in_a_thread(evaluate))


def test_the_limit_counts_this_attempt_and_no_clock_that_is_set(tmp_path, monkeypatch):
    """Somebody sets the clock by years, forwards and back, while the shard runs."""
    jumps = iter([4e9, 0.0] * 100_000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    grown = search(tmp_path / "search-7.log", FallsSilent(10_000), stall=60)
    assert len(grown) == len(JOBS)
    assert all(0 <= each.seconds < 60 for each in grown)
