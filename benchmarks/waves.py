"""What several rollouts in flight per tree give and take: how full the engine is, and what the trees find."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.simulation.clock import run_virtual
from benchmarks.simulation.runner import SimulatedRunner
from benchmarks.simulation.script import REFERENCE, FirstPreferred, write
from benchmarks.simulation.server import BatchServer, SimulatedPolicy
from infra.driver import Services, TreeJob, grow_trees
from infra.engines.scripted import ScriptedPolicy
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig
from rstar_core.trajectories import trajectories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.driver import GrownTree
    from rstar_core.requests import Propose

IN_FLIGHT = (1, 2, 4, 8)
NUM_PROBLEMS = 64
"""Few trees on purpose: with hundreds the engine is full without any of this."""
NUM_PLANTED = 400
NUM_STEPS = 4


def waves() -> list[Figure]:
    """Engine busy share with few trees, and share of correct trajectories, by rollouts in flight (40 s)."""
    figures = []
    for count in IN_FLIGHT:
        name = f"{count} rollouts in flight"
        busy, makespan = simulated(count)
        solved, right, better = planted(count)
        figures += [
            Figure(f"{name}: simulated engine busy share", busy, "1"),
            Figure(f"{name}: simulated makespan", makespan, "s"),
            Figure(f"{name}: planted problems solved", solved, "1"),
            Figure(f"{name}: planted trajectories correct", right, "1"),
            Figure(f"{name}: planted rollouts that ended correct", better, "1"),
        ]
    return figures


def simulated(in_flight: int) -> tuple[float, float]:
    """Busy share and makespan in virtual seconds of a small search."""
    server = BatchServer()
    config = SearchConfig(
        num_candidates=8,
        num_rollouts=16,
        max_step_tokens=8192,
        annotation="ppm",
        answer_step="output",
        rollouts_in_flight=in_flight,
    )
    services = Services(SimulatedPolicy(server, write), SimulatedRunner(), ExactGrader(), FirstPreferred())
    _, makespan = run_virtual(_grow(NUM_PROBLEMS, config, services))
    return server.busy_share(makespan), makespan


def planted(in_flight: int) -> tuple[float, float, float]:
    """Shares of problems solved, of trajectories correct and of rollouts that ended correct.

    A solution is right if each of its four steps is good; how often a step is good is the problem's own.
    """
    config = SearchConfig(num_candidates=8, num_rollouts=16, rollouts_in_flight=in_flight)

    def run(prefix: str, code: str) -> object:
        return printed(REFERENCE if "bad" not in prefix + code else "0") if "print" in code else printed("")

    services = Services(ScriptedPolicy(_planted_steps), ScriptedRunner(run), ExactGrader())
    trees = asyncio.run(_grow(NUM_PLANTED, config, services))
    found = [trajectories(each.job.problem_id, each.tree) for each in trees]
    right = sum(each.correct for many in found for each in many)
    visits = sum(leaf.visits for each in trees for leaf in each.tree.answers() if leaf.correct)
    return (
        sum(any(each.correct for each in many) for many in found) / len(trees),
        right / sum(map(len, found)),
        visits / sum(each.tree.num_rollouts for each in trees),
    )


async def _grow(count: int, config: SearchConfig, services: Services) -> Sequence[GrownTree]:
    jobs = [TreeJob(f"p{n}", f"Problem {n}", REFERENCE, 0, n, config) for n in range(count)]
    return [each async for each in grow_trees(jobs, services)]


def _planted_steps(request: Propose) -> list[str]:
    chance = random.Random(request.question).uniform(0.1, 0.7)  # noqa: S311 - a planted world
    rng = random.Random(request.seed)  # noqa: S311 - a recorded seed
    texts = []
    for index in range(request.num_candidates):
        if request.steps and "<end_of_code>" in request.steps[-1]:
            answer = request.steps[-1].split("<output>")[1].split("<end_of_output>")[0]
            texts.append(f"<answer>\\boxed{{{answer}}}<end_of_answer>")
            continue
        code = f"x = '{'good' if rng.random() < chance else 'bad'}{index}'"
        last = len(request.steps) + 1 == NUM_STEPS
        texts.append(f"{code}\nprint(x)\n<end_of_code>" if last else f"{code}\n<end_of_step>")
    return texts
