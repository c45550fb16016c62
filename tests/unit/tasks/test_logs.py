"""What a shard writes to the log says which round, shard and problem it is about, for people and programs."""

import asyncio
import logging
from dataclasses import replace

from infra.catalog.rows import ShardRow
from infra.driver import Services, TreeJob, grow_tree
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig
from tasks.logs import ShardLines

SHARD = ShardRow(2, "search-00007", "search", 3, "running", 2, ("p0", "p1"))
SERVICES = Services(
    ScriptedPolicy(random_arithmetic),
    ScriptedRunner(lambda _, code: printed("2" if "print" in code else "")),
    ExactGrader(),
)


def grown(problem, reference):
    config = SearchConfig(num_candidates=4, num_rollouts=8, max_depth=6)
    return asyncio.run(grow_tree(TreeJob(problem, "Guess?", reference, 0, 1, config), SERVICES))


def test_each_line_names_its_round_shard_and_problem(caplog):
    caplog.set_level(logging.DEBUG, logger="rstar.shards")
    lines = ShardLines(SHARD)
    lines.begins(SHARD, 2)
    follow_up = replace(SHARD, shard_id="search-00007.1", num_problems=1)
    lines.searched([grown("p0", "2"), grown("p1", "9")], 12.4, follow_up)
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0] == "round 2, search-00007: attempt 3, 2 problems, 2 trees"
    assert texts[1:3] == [
        "round 2, search-00007, problem p0: solved",
        "round 2, search-00007, problem p1: unsolved",
    ]
    assert texts[3].startswith("round 2, search-00007: 1 of 2 problems solved, ")
    assert texts[3].endswith(" tokens, 12 s; 1 go on in search-00007.1")
    assert {(record.round, record.shard) for record in caplog.records} == {(2, "search-00007")}
    assert [getattr(record, "problem", None) for record in caplog.records] == [None, "p0", "p1", None]
