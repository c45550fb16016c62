"""What is remembered, what is not, and who runs when several ask at once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.grading.fake import ExactGrader
from infra.memo import RememberingGrader, RememberingRunner
from infra.sandbox.fake import ScriptedRunner, failed, printed
from infra.sandbox.source import without_comments
from rstar_core.errors import SandboxError
from rstar_core.requests import Execute, Grade
from rstar_core.types import Execution, ExecutionStatus, Verdict


class SlowRunner(ScriptedRunner):
    """Waits at a gate before it answers; fails while `broken`."""

    def __init__(self, script):
        super().__init__(script)
        self.gate = asyncio.Event()
        self.broken = False

    async def execute(self, request):
        self.requests.append(request)
        await self.gate.wait()
        if self.broken:
            raise SandboxError("broken")
        return tuple(self._one(request.prefix, candidate) for candidate in request.candidates)

    def close(self):
        pass


def opened(script):
    runner = SlowRunner(script)
    runner.gate.set()
    return runner, RememberingRunner(runner)


def numbered():
    """A script whose every run prints another number."""
    count = iter(range(1000))
    return lambda _prefix, _candidate: printed(str(next(count)))


async def test_the_same_program_runs_once():
    runner, remembering = opened({"a": printed("1\n"), "b": failed("ZeroDivisionError: division by zero")})
    first = await remembering.execute(Execute("p", ("a", "b")))
    assert await remembering.execute(Execute("p", ("b", "a"))) == (first[1], first[0])
    assert len(runner.requests) == 1
    assert remembering.memo.share_remembered == 0.5


async def test_only_the_new_candidates_are_run_and_all_come_back_in_order():
    runner, remembering = opened(lambda _prefix, candidate: printed(candidate))
    await remembering.execute(Execute("p", ("b",)))
    executions = await remembering.execute(Execute("p", ("a", "b", "c", "a")))
    assert [each.stdout for each in executions] == ["a", "b", "c", "a"]
    assert runner.requests[1] == Execute("p", ("a", "c"))


async def test_prefix_and_candidate_are_told_apart():
    _, remembering = opened(numbered())
    asked = [Execute("ab", ("c",)), Execute("a", ("bc",)), Execute("", ("abc",)), Execute("abc", ("",))]
    assert len({(await remembering.execute(request))[0].stdout for request in asked}) == 4


@pytest.mark.parametrize("status", [ExecutionStatus.TIMEOUT, ExecutionStatus.MEMORY, ExecutionStatus.KILLED])
async def test_what_the_machine_did_to_a_program_is_not_remembered(status):
    runner, remembering = opened(lambda _prefix, _candidate: Execution(status, "", "", 1.0))
    for _ in range(2):
        await remembering.execute(Execute("", ("a",)))
    assert len(runner.requests) == 2
    assert len(remembering.memo) == 0


async def test_equal_requests_in_flight_share_one_run():
    runner = SlowRunner(numbered())
    remembering = RememberingRunner(runner)
    asking = [asyncio.create_task(remembering.execute(Execute("", ("a", "b")))) for _ in range(5)]
    await asyncio.sleep(0)
    runner.gate.set()
    assert len({await task for task in asking}) == 1
    assert runner.requests == [Execute("", ("a", "b"))]


async def test_requests_that_wait_for_each_other_all_end():
    runner = SlowRunner(lambda _prefix, candidate: printed(candidate))
    remembering = RememberingRunner(runner)
    asked = [("a", "b"), ("b", "c"), ("c", "a")]
    asking = [asyncio.create_task(remembering.execute(Execute("", names))) for names in asked]
    await asyncio.sleep(0)
    runner.gate.set()
    replies = await asyncio.wait_for(asyncio.gather(*asking), 10)
    assert [tuple(each.stdout for each in reply) for reply in replies] == asked
    assert sum(len(request.candidates) for request in runner.requests) == 3


async def test_who_waits_for_a_cancelled_run_runs_it_again():
    runner = SlowRunner({"a": printed("1")})
    remembering = RememberingRunner(runner)
    first, second = (asyncio.create_task(remembering.execute(Execute("", ("a",)))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    runner.gate.set()
    assert await asyncio.wait_for(second, 10) == (printed("1"),)
    assert len(runner.requests) == 2


async def test_a_broken_sandbox_is_an_error_and_not_remembered():
    runner, remembering = opened({"a": printed("1")})
    runner.broken = True
    with pytest.raises(SandboxError):
        await remembering.execute(Execute("", ("a",)))
    runner.broken = False
    assert await remembering.execute(Execute("", ("a",))) == (printed("1"),)


def test_event_loops_in_several_threads_share_it():
    _, remembering = opened(numbered())

    async def ask():
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, one()) for _ in range(8)))

    async def one():
        return await remembering.execute(Execute("", ("a",)))

    assert len(set(asyncio.run(ask()))) == 1


async def test_the_least_recently_used_is_forgotten_first():
    runner = SlowRunner(numbered())
    runner.gate.set()
    remembering = RememberingRunner(runner, max_bytes=3 * 501)  # three executions that print one digit
    for candidate in ("a", "b", "c", "a", "d"):
        await remembering.execute(Execute("", (candidate,)))
    assert len(remembering.memo) == 3
    before = len(runner.requests)
    await remembering.execute(Execute("", ("a", "c", "d")))
    assert len(runner.requests) == before
    await remembering.execute(Execute("", ("b",)))
    assert len(runner.requests) == before + 1


async def test_a_reply_larger_than_the_memory_is_not_kept():
    runner = SlowRunner(lambda _prefix, _candidate: printed("x" * 9999))
    runner.gate.set()
    remembering = RememberingRunner(runner, max_bytes=1000)
    await remembering.execute(Execute("", ("a",)))
    assert len(remembering.memo) == 0


async def test_programs_that_differ_in_comment_lines_are_one():
    runner, remembering = opened(numbered())
    first = await remembering.execute(Execute("# Step 1: add\nx = 1\n", ("  # then\nprint(x)",)))
    assert await remembering.execute(Execute("# Step 1: sum up\nx = 1\n", ("# so\nprint(x)",))) == first
    assert len(runner.requests) == 1


@pytest.mark.parametrize(
    "source",
    ['x = """\n# text\n"""', "x = '''\n# text\n'''", "x = 'a\\\n# text'", "# a\rx = 1", "# a\0", "# \ud800"],
)
def test_a_line_that_may_be_no_comment_stays(source):
    assert without_comments(source) == source


def outcome(source):
    try:
        code = compile(source, "<program>", "exec")
    except (SyntaxError, ValueError) as error:
        return type(error), str(error)
    return code.co_code, code.co_consts, tuple(code.co_lines())


PIECES = [
    "x = 1",
    "# a",
    "  # b",
    "if x:",
    "  y = '#'",
    "(",
    ")",
    '"""',
    "'",
    "\\",
    "\t#\tc",
    "f'{x}#'",
    "'a",
    "",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_without_its_comments_a_program_compiles_to_the_same(lines):
    source = "\n".join(lines)
    assert outcome(source) == outcome(without_comments(source))


class CountingGrader(ExactGrader):
    async def grade(self, request):
        verdicts = await super().grade(request)
        undecided = Verdict(None, "timeout", 1.0)
        return tuple(undecided if p == "?" else v for p, v in zip(request.predictions, verdicts, strict=True))

    def close(self):
        pass


async def test_only_decided_pairs_are_remembered():
    grader = CountingGrader()
    remembering = RememberingGrader(grader)
    for _ in range(2):
        verdicts = await remembering.grade(Grade(("1", "2", "?"), "1"))
        assert [verdict.correct for verdict in verdicts] == [True, False, None]
    assert grader.requests == [Grade(("1", "2", "?"), "1"), Grade(("?",), "1")]


async def test_a_verdict_belongs_to_its_reference():
    remembering = RememberingGrader(CountingGrader())
    assert (await remembering.grade(Grade(("1",), "1")))[0].correct
    assert not (await remembering.grade(Grade(("1",), "2")))[0].correct
