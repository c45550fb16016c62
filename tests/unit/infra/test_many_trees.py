"""Five hundred trees at a time over a policy that answers in any order: each is the tree that it is alone."""

import asyncio
import random
import re

from infra.driver import Services, TreeJob, grow_tree, grow_trees
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.replay_log import Belonging, ShardLog
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig

CONFIG = SearchConfig(num_candidates=3, num_rollouts=3, max_depth=5, annotation="ppm")


def jobs(count, config=CONFIG):
    return [
        TreeJob(f"p{number // 2}", f"Question {number // 2}?", "2", number % 2, 7 * number, config)
        for number in range(count)
    ]


class Shuffled:
    """Collects the requests of all trees and answers them in an order of its own."""

    def __init__(self, seed):
        self.policy, self.rng = ScriptedPolicy(random_arithmetic), random.Random(seed)
        self.waiting, self.most = [], 0

    async def propose(self, request):
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self._answer_some)
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        self.most = max(self.most, len(self.waiting))
        await answer
        return await self.policy.propose(request)

    def _answer_some(self):
        self.rng.shuffle(self.waiting)
        for _ in range((len(self.waiting) + 1) // 2):
            self.waiting.pop().set_result(None)
        if self.waiting:
            asyncio.get_running_loop().call_soon(self._answer_some)


class LengthScorer:
    async def score(self, request):
        return tuple(len(text) % 7 / 7 for text in request.candidates)


def services(policy=None):
    def run(prefix, code):
        return printed(re.findall(r"x = (\d)", prefix)[-1] if "print(x)" in code else "")

    return Services(
        policy or ScriptedPolicy(random_arithmetic), ScriptedRunner(run), ExactGrader(), LengthScorer()
    )


async def test_a_tree_alone_equals_the_same_tree_among_five_hundred_answered_in_any_order():
    crowd, policy = jobs(500), Shuffled(1)
    among = [grown async for grown in grow_trees(crowd, services(policy))]
    assert policy.most > 250
    assert [grown.job for grown in among] != crowd  # they do not end in the order they began
    trees = {(grown.job.problem_id, grown.job.tree_index): grown.tree for grown in among}
    assert len(trees) == 500
    for job in crowd[::19]:
        assert trees[job.problem_id, job.tree_index] == (await grow_tree(job, services())).tree


async def test_a_log_cut_after_any_reply_gives_the_same_trees_and_in_the_end_the_same_log(tmp_path):
    crew = jobs(2)
    keys = [[job.problem_id, job.tree_index, job.seed] for job in crew]
    belonging = Belonging(round=1, shard="s", policy="p", ppm="q", search={}, trees=keys)
    path = tmp_path / "s.log"

    async def grow():
        with ShardLog(path, belonging) as log:
            grown = [each async for each in grow_trees(crew, services(Shuffled(2)), log.trees)]
        return {(each.job.problem_id, each.job.tree_index): each.tree for each in grown}

    undisturbed = await grow()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 30
    for cut in range(len(lines)):
        path.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) * (cut % 3) // 3])
        assert await grow() == undisturbed
        assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)
