"""What the search itself costs: everything that is asked is answered at once, from tables."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
import tracemalloc
from functools import cache
from typing import TYPE_CHECKING

import psutil

from benchmarks.figures import Figure, at_least, at_most
from infra.driver import Services, TreeJob, grow_trees
from rstar_core.config import SearchConfig
from rstar_core.requests import Execute, Grade, Propose, Reply, Request, Score
from rstar_core.search import search
from rstar_core.types import Completion, Execution, ExecutionStatus, Verdict

if TYPE_CHECKING:
    from rstar_core.tree import Tree

CONFIG = SearchConfig(num_candidates=8, num_rollouts=16)
NUM_TREES = 200
NUM_REPEATS = 5
NUM_IN_FLIGHT = 10_000
CODE_STEPS = 3
GOAL_ROLLOUTS_PER_SECOND = 3000.0
GOAL_KIB_PER_TREE = 40.0
GOAL_GIB_IN_FLIGHT = 2.0

_SILENT = Execution(ExecutionStatus.OK, "", "", 0.0)
_PRINTS = Execution(ExecutionStatus.OK, "5\n", "", 0.0)


def grow(seed: int) -> Tree:
    """One tree of five levels: three steps, the print, the answer."""
    searching = search(f"q{seed}", "5", CONFIG, random.Random(seed))  # noqa: S311 - a recorded seed
    request = next(searching)
    while True:
        try:
            request = searching.send(answer(request))
        except StopIteration as end:
            tree: Tree = end.value
            return tree


def answer(request: Request) -> Reply:
    """The reply to any request, from a table."""
    match request:
        case Propose():
            return _completions(len(request.steps), int(request.question[1:]) % 50)
        case Execute():
            return tuple([_PRINTS if "print" in code else _SILENT for code in request.candidates])
        case Grade():
            return tuple([Verdict(each == "5", "exact", 0.0) for each in request.predictions])
        case Score():
            return (0.0,) * len(request.candidates)


@cache
def _completions(depth: int, number: int) -> tuple[Completion, ...]:
    if depth < CODE_STEPS:
        texts = [f"# Step {depth + 1}\nx = {number} + {i}\n<end_of_step>" for i in range(8)]
    elif depth == CODE_STEPS:
        texts = [f"# Now print the final answer\nprint(x + {i})\n<end_of_code>" for i in range(8)]
    else:
        texts = [f"<answer>The answer is \\boxed{{{i}}}.<end_of_answer>" for i in range(8)]
    return tuple([Completion(text, 12, finished=True) for text in texts])


def rollouts_per_second() -> float:
    """Rollouts a CPU-second; the median of several runs."""
    rates = []
    for repeat in range(NUM_REPEATS):
        started = time.process_time()
        rollouts = sum(grow(repeat * NUM_TREES + number).num_rollouts for number in range(NUM_TREES))
        rates.append(rollouts / (time.process_time() - started))
    return statistics.median(rates)


def kib_per_tree() -> float:
    """Memory of a finished tree, in KiB."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    trees = [grow(number) for number in range(NUM_TREES)]
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return size / len(trees) / 1024


class Stalling:
    """Answers as the table does, until every tree has been asking for a while: then all wait at once."""

    def __init__(self, patience: int) -> None:
        self.left = patience
        self.waiting = 0
        self.peak_bytes = 0
        self.all_wait = asyncio.Event()

    async def propose(self, request: Propose) -> Reply:
        """Completions; stalls once, and measures when all trees stall."""
        await asyncio.sleep(0)
        self.left -= 1
        if self.left <= 0:
            self.waiting += 1
            if self.waiting == NUM_IN_FLIGHT:
                self.peak_bytes = psutil.Process().memory_info().rss
                self.all_wait.set()
            await asyncio.Event().wait()
        return answer(request)

    async def execute(self, request: Execute) -> Reply:
        """Executions."""
        return answer(request)

    async def grade(self, request: Grade) -> Reply:
        """Verdicts."""
        return answer(request)


def gib_in_flight() -> float:
    """Resident memory that 10,000 trees in the middle of their search add through the driver, in GiB."""
    before = psutil.Process().memory_info().rss
    world = Stalling(NUM_IN_FLIGHT * 20)
    jobs = [TreeJob(f"p{n}", f"q{n}", "5", 0, n, CONFIG) for n in range(NUM_IN_FLIGHT)]

    async def run() -> None:
        trees = grow_trees(jobs, Services(world, world, world))
        waiting = asyncio.ensure_future(anext(trees))
        await world.all_wait.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await trees.aclose()

    asyncio.run(run())
    return (world.peak_bytes - before) / 2**30


def bookkeeping() -> list[Figure]:
    """Speed and memory of the search when every reply is there at once (30 s)."""
    return [
        at_least("bookkeeping alone", rollouts_per_second(), "rollouts/s", GOAL_ROLLOUTS_PER_SECOND),
        at_most("finished tree of 16 rollouts", kib_per_tree(), "KiB", GOAL_KIB_PER_TREE),
        at_most("10,000 trees in flight", gib_in_flight(), "GiB", GOAL_GIB_IN_FLIGHT),
    ]
