"""kill -9 at random moments of a shard: what was written so far is kept, and the trees come out the same."""

import asyncio
import os
import random
import signal
import time

from infra.driver import Services, TreeJob, grow_tree, grow_trees
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.replay_log import Belonging, ShardLog, read_log
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig

NUM_KILLS = 30
CONFIG = SearchConfig(num_candidates=4, num_rollouts=16, max_depth=6)
JOBS = [TreeJob(f"p{number}", f"Question {number}?", "2", 0, 7 + number, CONFIG) for number in range(24)]
BELONGING = Belonging(1, "search-00000", "base", None, {}, [[job.problem_id, 0, job.seed] for job in JOBS])


class Slow(ScriptedPolicy):
    """Takes its time, a different time for each request, so that the trees interleave."""

    async def propose(self, request):
        await asyncio.sleep(request.seed % 7 / 1000)
        return await super().propose(request)


def services(policy):
    def run(prefix, code):
        return printed(f"{len(prefix) % 3}" if "print(x)" in code else "")

    return Services(policy(random_arithmetic), ScriptedRunner(run), ExactGrader())


async def grow(log):
    return {each.job.problem_id: each.tree async for each in grow_trees(JOBS, services(Slow), log.trees)}


def run_and_kill(path, seconds):
    """One run in a process of its own, killed after this time; whether it was still running."""
    child = os.fork()
    if child == 0:
        with ShardLog(path, BELONGING) as log:
            asyncio.run(grow(log))
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_shard_killed_at_thirty_random_moments_has_the_trees_of_one_that_nobody_touched(tmp_path):
    rng = random.Random(5)
    path = tmp_path / "search-00000.log"
    held, killed = [0], 0
    for _ in range(NUM_KILLS):
        killed += run_and_kill(path, rng.uniform(0.005, 0.08))
        held.append(len(read_log(path)[1]) if path.exists() else 0)
    assert killed >= NUM_KILLS // 2, "the shard ended before it could be killed often enough"
    assert held == sorted(held), "a restarted shard forgot what it had"
    with ShardLog(path, BELONGING) as log:
        resumed = asyncio.run(grow(log))

    async def undisturbed():
        return {job.problem_id: (await grow_tree(job, services(ScriptedPolicy))).tree for job in JOBS}

    assert resumed == asyncio.run(undisturbed())
