import gzip
from dataclasses import replace

import pytest

from infra.driver import Services, TreeJob, grow_tree, grow_trees
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.replay_log import Belonging, ShardLog, packed_path, read_log
from infra.sandbox.fake import ScriptedRunner, printed
from rstar_core.config import SearchConfig
from rstar_core.errors import EngineError, ReplayError

CONFIG = SearchConfig(num_candidates=3, num_rollouts=6, max_depth=6, annotation="ppm")
JOBS = [TreeJob(f"p{number}", f"Question {number}?", "2", 0, 100 + number, CONFIG) for number in range(4)]
BELONGING = Belonging(
    round=1,
    shard="search-00000",
    policy="base (bootstrap)",
    ppm=None,
    search={"num_candidates": 3, "top_p": 0.95},
    trees=[[job.problem_id, job.tree_index, job.seed] for job in JOBS],
)


class LengthScorer:
    async def score(self, request):
        return tuple(len(text) % 7 / 7 for text in request.candidates)


class Strange(ScriptedPolicy):
    """Now and then a text that is hard to write down."""

    async def propose(self, request):
        first, *rest = await super().propose(request)
        return (replace(first, text=f"# é\u2028\n{first.text}\ud800\x00"), *rest)


class DiesAfter(Strange):
    """A policy that ends the run at the given request."""

    def __init__(self, number):
        super().__init__(random_arithmetic)
        self.left = number

    async def propose(self, request):
        if not self.left:
            raise EngineError("killed")
        self.left -= 1
        return await super().propose(request)


def services(policy=None):
    def run(prefix, code):
        return printed(f"{len(prefix) % 3}" if "print(x)" in code else "")

    return Services(policy or Strange(random_arithmetic), ScriptedRunner(run), ExactGrader(), LengthScorer())


async def grow(log, policy=None):
    found = [each async for each in grow_trees(JOBS, services(policy), log.trees)]
    return {each.job.problem_id: each.tree for each in found}


@pytest.fixture
async def undisturbed():
    return {job.problem_id: (await grow_tree(job, services())).tree for job in JOBS}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "search-00000.log"


async def test_a_search_killed_at_any_request_goes_on_to_the_same_trees(path, undisturbed):
    for number in (1, 2, 3, 4, 5):
        with ShardLog(path, BELONGING) as log, pytest.raises(EngineError, match="killed"):
            await grow(log, DiesAfter(number))
    with ShardLog(path, BELONGING) as log:
        held = sum(len(tree.logged) for tree in log.trees)
        assert await grow(log) == undisturbed
    assert 20 < held < len(read_log(path)[1])
    with ShardLog(path, BELONGING) as log:
        assert await grow(log, DiesAfter(0)) == undisturbed


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 200])
async def test_a_torn_last_line_is_forgotten_and_written_again(path, undisturbed, cut):
    with ShardLog(path, BELONGING) as log:
        await grow(log)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with ShardLog(path, BELONGING) as log:
        assert await grow(log) == undisturbed
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


async def test_a_log_that_was_torn_before_its_first_line_was_whole_begins_anew(path, undisturbed):
    with ShardLog(path, BELONGING):
        pass
    path.write_bytes(path.read_bytes()[:20])
    with ShardLog(path, BELONGING) as log:
        assert await grow(log) == undisturbed


async def test_a_damaged_line_in_the_middle_is_located(path):
    with ShardLog(path, BELONGING) as log:
        await grow(log)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[6] = lines[6].replace(b"[", b"{", 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(ReplayError, match=r"line 7 of the replay log .*search-00000\.log is damaged; remove"):
        ShardLog(path, BELONGING)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"round": 2}, r"another round \(1, not 2\)"),
        ({"shard": "search-00001"}, r"another shard \('search-00000', not 'search-00001'\)"),
        ({"policy": "round-1/policy (finetuned)"}, "another policy"),
        ({"ppm": "round-2/ppm"}, "another ppm"),
        ({"search": {"num_candidates": 4, "top_p": 0.95}}, r"another search \(num_candidates 3, not 4\)"),
        ({"trees": [["p9", 0, 1], *BELONGING.trees[1:]]}, r"another trees \(such as tree 0 of problem p0\)"),
    ],
)
def test_a_log_of_something_else_is_refused_by_name(path, changes, sentence):
    with ShardLog(path, BELONGING):
        pass
    with pytest.raises(ReplayError, match=sentence):
        ShardLog(path, replace(BELONGING, **changes))


def test_a_log_of_another_format_is_refused_by_name(path, monkeypatch):
    monkeypatch.setattr("infra.replay_log.FORMAT", 0)
    with ShardLog(path, BELONGING):
        pass
    monkeypatch.undo()
    with pytest.raises(ReplayError, match="has format 0, and this version reads 1"):
        ShardLog(path, BELONGING)


async def test_a_log_that_answers_other_requests_is_refused(path):
    with ShardLog(path, BELONGING) as log:
        await grow_tree(JOBS[0], services(), log.trees[0])
    with (
        ShardLog(path, BELONGING) as log,
        pytest.raises(ReplayError, match="reply 1 of tree 0 of problem p0"),
    ):
        await grow_tree(replace(JOBS[0], question="Changed?"), services(), log.trees[0])


async def test_a_tree_that_grows_on_starts_with_what_an_earlier_log_holds(path, undisturbed):
    with ShardLog(path, BELONGING) as log:
        await grow(log)
        log.finish()
    assert not path.exists()
    longer = [replace(job, config=CONFIG.model_copy(update={"num_rollouts": 12})) for job in JOBS[2:]]
    next_path = path.with_name("search-00000.1.log")
    belonging = replace(BELONGING, shard="search-00000.1", trees=BELONGING.trees[2:])
    with ShardLog(next_path, belonging, [path]) as log:
        held = sum(len(tree.logged) for tree in log.trees)
        grown = [await grow_tree(job, services(), tree) for job, tree in zip(longer, log.trees, strict=True)]
    assert held > 20
    for each, job in zip(grown, longer, strict=True):
        assert each.tree == (await grow_tree(job, services())).tree
        assert len(each.tree) > len(undisturbed[job.problem_id])


async def test_a_finished_log_is_compressed_and_can_still_be_read(path):
    with ShardLog(path, BELONGING) as log:
        await grow(log)
        before = read_log(path)
        size = path.stat().st_size
        log.finish()
    assert packed_path(path).stat().st_size < size / 4
    assert gzip.decompress(packed_path(path).read_bytes())
    assert read_log(path) == before
