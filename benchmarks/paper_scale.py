"""A campaign of the paper's size, written shard by shard the way a search writes it.

The trees are really grown, by the real search from a table of replies, a few hundred of each kind; then each
problem of each round gets one of them under its own id. Which problems a round solves follows Table 2 of the
paper.
"""

from __future__ import annotations

import random
import time
from dataclasses import astuple, dataclass
from functools import cache
from typing import TYPE_CHECKING

from infra.catalog import Catalog, NodeRow, ShardRow, ShardStatus, TrajectoryRow, TreeRow
from infra.driver import GrownTree, TreeJob
from infra.tree_rows import node_rows, trajectory_rows, tree_row
from rstar_core.config import SearchConfig
from rstar_core.requests import Execute, Grade, Propose, Reply, Request, Score
from rstar_core.search import search
from rstar_core.types import Completion, Execution, ExecutionStatus, Problem, Split, Tier, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUM_PROBLEMS = 747_000
PROBLEMS_PER_SHARD = 256
# Share of each tier's problems that a round solves, in percent; `other` is what is left to the paper's "all".
SOLVED_PERCENT = {
    1: {"gsm": 96.61, "math": 67.36, "olympiad": 20.99, "other": 55.72},
    2: {"gsm": 97.88, "math": 67.40, "olympiad": 56.04, "other": 45.08},
    3: {"gsm": 98.15, "math": 88.69, "olympiad": 62.16, "other": 62.44},
    4: {"gsm": 98.15, "math": 94.53, "olympiad": 80.58, "other": 87.74},
}
TIERS = ("gsm", "math", "olympiad", "other")
_POOL = 300
_SHORT = SearchConfig(num_candidates=4, num_rollouts=6, max_depth=4)
_LONG = SearchConfig(num_candidates=8, num_rollouts=17, max_depth=4)
_RAN = Execution(ExecutionStatus.OK, "7\n", "", 0.0)
_SILENT = Execution(ExecutionStatus.OK, "", "", 0.0)


@dataclass(frozen=True, slots=True)
class Template:
    """A grown tree as rows without their ids."""

    tree: tuple[object, ...]
    nodes: tuple[tuple[object, ...], ...]
    trajectories: tuple[tuple[object, ...], ...]


def tier_of(number: int) -> str:
    """Tier of the problem of this number; a quarter each."""
    return TIERS[number % len(TIERS)]


def problem_id(number: int) -> str:
    """16 digits spread like those of a content hash, in the order in which shards are cut."""
    return f"{number * (2**64 // NUM_PROBLEMS):016x}"


def is_solved(round_id: int, number: int, num_problems: int) -> bool:
    """Whether the round solves it: the first problems of each tier are the easy ones."""
    rank = number // len(TIERS) * len(TIERS)
    return rank < SOLVED_PERCENT[min(round_id, len(SOLVED_PERCENT))][tier_of(number)] / 100 * num_problems


def problems(num_problems: int) -> Iterator[Problem]:
    """The problems, with short texts."""
    for number in range(num_problems):
        tier = tier_of(number)
        yield Problem(
            problem_id(number), f"Question {number}?", "2", Tier(tier), f"{tier}-source", "MIT", Split.TRAIN
        )


def shards(round_id: int, num_problems: int) -> list[ShardRow]:
    """A round's shards, as its plan would cut them."""
    found = []
    for number, first in enumerate(range(0, num_problems, PROBLEMS_PER_SHARD)):
        ids = tuple(map(problem_id, range(first, min(num_problems, first + PROBLEMS_PER_SHARD))))
        found.append(
            ShardRow(round_id, f"search-{number:05d}", "search", 0, ShardStatus.PENDING, len(ids), ids)
        )
    return found


def write_shard(catalog: Catalog, shard: ShardRow, num_problems: int, *, long: bool = False) -> float:
    """Search, start and commit a shard, of longer trees if asked; returns the commit's seconds."""
    first = int(shard.shard_id.rpartition("-")[2]) * PROBLEMS_PER_SHARD
    trees, nodes, trajectories = [], [], []
    for offset, each in enumerate(shard.problem_ids):
        number = first + offset
        pool = templates(solved=is_solved(shard.round_id, number, num_problems), long=long)
        template = pool[(number * 31 + shard.round_id * 7) % len(pool)]
        head = (shard.round_id, shard.shard_id, each, 0)
        trees.append(TreeRow(*head, *template.tree))  # type: ignore[arg-type]
        nodes += [NodeRow(*head, *rest) for rest in template.nodes]  # type: ignore[arg-type]
        trajectories += [TrajectoryRow(*head, *rest) for rest in template.trajectories]  # type: ignore[arg-type]
    started = catalog.start_shard(shard)
    before = time.perf_counter()
    catalog.commit_shard(started, trees=trees, nodes=nodes, trajectories=trajectories)
    return time.perf_counter() - before


def write_round(folder: Path, round_id: int, num_problems: int, writer: int, num_writers: int) -> list[float]:
    """One writer's part of what is missing of a round; the seconds of each commit."""
    with Catalog.open(folder) as catalog:
        missing = catalog.missing_shards(round_id)
        mine = [row for row in missing if int(row.shard_id[-5:]) % num_writers == writer]
        return [write_shard(catalog, row, num_problems) for row in mine]


@cache
def templates(*, solved: bool, long: bool) -> tuple[Template, ...]:
    """Trees with or without a correct trajectory, of about 40 or about 150 nodes."""
    found, seed = [], 0
    while len(found) < _POOL:
        seed += 1
        template = _template(seed, "2" if solved else "9", _LONG if long else _SHORT)
        if bool(template.tree[5]) == solved:
            found.append(template)
    return tuple(found)


def _template(seed: int, reference: str, config: SearchConfig) -> Template:
    job = TreeJob("", "", reference, 0, seed, config)
    searching = search("q", reference, config, random.Random(seed))  # noqa: S311 - a recorded seed
    request = next(searching)
    chance = random.Random(-seed)  # noqa: S311 - a recorded seed
    while True:
        try:
            request = searching.send(_reply(request, chance))
        except StopIteration as end:
            grown = GrownTree(job, end.value, 1.5)
            break
    return Template(
        astuple(tree_row(grown, 0, ""))[4:],
        tuple(astuple(row)[4:] for row in node_rows(grown, 0, "", scored=False)),
        tuple(astuple(row)[4:] for row in trajectory_rows(grown, 0, "")),
    )


def _reply(request: Request, chance: random.Random) -> Reply:
    match request:
        case Propose():
            numbers = [chance.randrange(1000) for _ in range(request.num_candidates)]
            return tuple(_completion(len(request.steps), number) for number in numbers)
        case Execute():
            return tuple(_RAN if "print" in code else _SILENT for code in request.candidates)
        case Grade():
            return tuple(Verdict(each == request.reference, "exact", 0.0) for each in request.predictions)
        case Score():
            return (0.0,) * len(request.candidates)
    raise AssertionError(request)


def _completion(depth: int, number: int) -> Completion:
    if depth == 0:
        text = f"# Step 1: take a number\nx = {number}\n<end_of_step>"
    elif depth == 1:
        text = f"# Now print the final answer\nprint(x + {number})\n<end_of_code>"
    else:
        text = f"<answer>The answer is \\boxed{{{number % 6}}}.<end_of_answer>"
    return Completion(text, 12, finished=True)
