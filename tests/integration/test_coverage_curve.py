"""The curve after k rollouts is what separate searches of k rollouts find, on a few hundred real trees."""

import asyncio
import random
import re

from infra.catalog import Catalog, ShardRow, ShardStatus
from infra.driver import Services, TreeJob, grow_tree
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, failed, printed
from infra.tree_rows import trajectory_rows, tree_row
from rstar_core.config import SearchConfig
from rstar_core.types import Problem, Split, Tier

NUM_PROBLEMS = 240
NUM_ROLLOUTS = 12
STEPS = (1, 2, 4, 8, NUM_ROLLOUTS)
NAMES = tuple(f"p{number:03}" for number in range(NUM_PROBLEMS))


def run_arithmetic(prefix, code):
    """Prints the sum of all numbers so far: many different answers, some of them far down."""
    if "x = 0" in code:
        return failed("ValueError: zero")
    return printed(str(sum(map(int, re.findall(r"x = (\d)", prefix)))) if "print(x)" in code else "")


async def grow(number, num_rollouts):
    config = SearchConfig(num_candidates=4, num_rollouts=num_rollouts, max_depth=6)
    services = Services(ScriptedPolicy(random_arithmetic), ScriptedRunner(run_arithmetic), ExactGrader())
    reference = str(random.Random(number).randrange(2, 12))  # some of them are hardly ever printed
    return await grow_tree(
        TreeJob(NAMES[number], f"Question {number}?", reference, 0, number, config), services
    )


async def grow_all(num_rollouts):
    return [await grow(number, num_rollouts) for number in range(NUM_PROBLEMS)]


def tier_of(number):
    return (Tier.GSM, Tier.MATH)[number % 2]


def test_the_curve_at_k_is_what_searches_of_k_rollouts_find(tmp_path, empty_catalog):
    expected = {}
    for rollouts in STEPS:
        grown = asyncio.run(grow_all(rollouts))
        solved = [tree_row(each, 1, "s").solved for each in grown]
        expected["gsm", rollouts], expected["math", rollouts] = sum(solved[::2]), sum(solved[1::2])
        expected["all", rollouts] = sum(solved)
    assert 0 < expected["all", 1] < expected["all", 4] < expected["all", NUM_ROLLOUTS] < NUM_PROBLEMS

    shard = ShardRow(1, "s", "search", 1, ShardStatus.RUNNING, NUM_PROBLEMS, NAMES)
    with Catalog.open(empty_catalog(tmp_path / "c")) as catalog:
        catalog.add_problems(
            Problem(name, "q", "1", tier_of(number), "here", "MIT", Split.TRAIN)
            for number, name in enumerate(NAMES)
        )
        catalog.commit_shard(
            shard,
            trees=[tree_row(each, 1, "s") for each in grown],
            trajectories=[row for each in grown for row in trajectory_rows(each, 1, "s")],
        )
        curve = catalog.coverage(by="rollouts")
    assert {(row["tier"], row["rollouts"]): row["solved"] for row in curve} == expected
    assert {row["problems"] for row in curve if row["tier"] == "all"} == {NUM_PROBLEMS}
    assert all(row["coverage"] == row["solved"] / row["problems"] for row in curve)
