"""Everything but the model: search, sandbox and answer check under a policy that costs nothing.

64 problems with numbers of their own, 16 rollouts, 8 candidates. A step is one or two lines of arithmetic or
sympy; some fail, some end the program. Siblings often differ in wording alone, as a model's do.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.figures import Figure, at_least, at_most
from infra.driver import Services, TreeJob, grow_trees
from infra.engines.scripted import ScriptedPolicy
from infra.grading.answer_check import AnswerCheck
from infra.memo import RememberingGrader, RememberingRunner
from infra.replay_log import Belonging, ShardLog
from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig, SearchConfig
from rstar_core.prompts import last_output_line
from rstar_core.requests import Execute, Grade

if TYPE_CHECKING:
    from infra.replay_log import TreeLog
    from rstar_core.requests import Propose, Reply, Request
    from rstar_core.tree import Tree

GOAL_ROLLOUTS_PER_SECOND: Final = 20.0
GOAL_LOG_SHARE: Final = 0.03
NUM_PROBLEMS: Final = 64
_NUM_STEPS: Final = 3  # after which the right chain of calculations has its answer
_LAST_DEPTH: Final = 5  # where every program ends
_OPERATORS: Final = ("*", "+", "-", "*", "+", "-")
_WORDINGS: Final = ("", ", as the question says", " from the value before", ": next quantity")
_RIGHT: Final = (
    "{new} = {old} {op} {n}",
    "n = {n}\n{new} = {old} {op} n",
    "{new} = ({old}) {op} ({n})",
    "{new} = int({old} {op} {n})",
)
_WRONG: Final = (
    "{new} = {old} + {n} + 1",
    "{new} = {old} // {n}",
    "{new} = {old} % {n}\n{new} += {n}",
    "{new} = abs({old} - 2 * {n})",
    "{new} = math.gcd(int({old}), {n}) + {old}",
)
_ALGEBRA: Final = (
    "{new} = sympy.Integer({old}) {op} {n}",
    "{new} = sympy.Rational({old} {op} {n}, 2) * 2",
    "x = sympy.symbols('x')\n{new} = sympy.solve(x - ({old} {op} {n}), x)[0]",
    "x = sympy.symbols('x')\n{new} = sympy.expand((x + {old}) * (x {op} {n})).subs(x, 1)",
)
_FAILING: Final = (
    "{new} = {old} {op} {n} + unknown",
    "{new} = {old} / ({n} - {n})",
    "{new} = ({old} {op} {n}",
    "{new} = sympy.simplfy({old} {op} {n})",
)
_KINDS: Final = (_RIGHT,) * 8 + (_WRONG,) * 4 + (_ALGEBRA,) * 2 + (_FAILING,) * 2
_LAST: Final = ("print({old})", "print(int({old}))", "answer = {old}\nprint(answer)", "print(f'{{{old}}}')")
_LAST_ROOT: Final = ("print(sympy.sqrt({old}))", "print(sympy.sqrt({old}))", "print(math.sqrt({old}))")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One made-up problem: a number that is taken through operations, and perhaps its root at the end."""

    question: str
    reference: str
    numbers: tuple[int, ...]
    wants_root: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the workload took; seconds of wall time and of all processes together."""

    rollouts: int
    seconds: float
    cpu_seconds: float
    programs: int
    remembered_programs: float
    remembered_pairs: float
    log_seconds: float
    log_bytes: int


class TimedLog:
    """A tree's replay log that counts the seconds it takes."""

    seconds = 0.0

    def __init__(self, log: TreeLog) -> None:
        self._log = log

    def take(self, request: Request) -> Reply | None:
        """As the log's."""
        started = time.perf_counter()
        reply = self._log.take(request)
        TimedLog.seconds += time.perf_counter() - started
        return reply

    def append(self, request: Request, reply: Reply) -> None:
        """As the log's."""
        started = time.perf_counter()
        self._log.append(request, reply)
        TimedLog.seconds += time.perf_counter() - started


def make_puzzles(count: int) -> list[Puzzle]:
    """Problems with numbers of their own; every fourth has an answer that takes algebra to compare."""
    rng = random.Random(0)  # noqa: S311 - a fixed workload
    puzzles = []
    for index in range(count):
        numbers = tuple(rng.randint(11, 999) for _ in range(_LAST_DEPTH + 1))
        value = numbers[0]
        for depth in range(_NUM_STEPS):
            operator, number = _OPERATORS[depth], numbers[depth + 1]
            value = value * number if operator == "*" else value + (number if operator == "+" else -number)
        wants_root = index % 4 == 3
        reference = f"\\sqrt{{{value}}}" if wants_root else str(value)
        puzzles.append(Puzzle(f"Problem {index}: {numbers}", reference, numbers, wants_root))
    return puzzles


class Script:
    """Writes a step from the request's seed, the problem's numbers and the depth alone."""

    def __init__(self, puzzles: list[Puzzle]) -> None:
        self._puzzles = {puzzle.question: puzzle for puzzle in puzzles}

    def __call__(self, request: Propose) -> list[str]:
        """One text for each candidate."""
        puzzle, depth = self._puzzles[request.question], len(request.steps)
        return [
            _candidate(
                puzzle, request.steps, hashlib.sha256(b"%d/%d" % (request.seed, index)).digest(), depth
            )
            for index in range(request.num_candidates)
        ]


def _candidate(puzzle: Puzzle, steps: tuple[str, ...], draw: bytes, depth: int) -> str:
    if steps and steps[-1].endswith("<end_of_output>\n"):
        answer = last_output_line(steps[-1])
        return f"<answer>The answer is \\boxed{{{answer[:-1] if draw[0] < 32 else answer}}}.<end_of_answer>"
    old = f"v{depth - 1}" if depth else str(puzzle.numbers[0])
    fields = {
        "old": old,
        "new": f"v{depth}",
        "op": _OPERATORS[depth],
        "n": puzzle.numbers[depth % _LAST_DEPTH + 1],
    }
    if depth == _LAST_DEPTH or (depth >= _NUM_STEPS - 1 and draw[0] < 96):
        last = _LAST_ROOT if puzzle.wants_root else _LAST
        code = last[draw[1] % len(last)].format(**fields)
        return f"# Now print the final answer\n{code}\n<end_of_code>"
    kind = _KINDS[draw[1] % len(_KINDS)]
    code = kind[draw[2] % len(kind)].format(**fields)
    return f"# Step {depth + 1}{_WORDINGS[draw[3] % len(_WORDINGS)]}\n{code}\n<end_of_step>"


def run_workload(num_problems: int, *, remembering: bool) -> Run:
    """Grow one tree for each problem with the real sandbox and answer check."""
    puzzles = make_puzzles(num_problems)
    config = SearchConfig(num_rollouts=16, num_candidates=8)
    jobs = [
        TreeJob(each.question, each.question, each.reference, 0, seed, config)
        for seed, each in enumerate(puzzles)
    ]
    sandbox, check = Sandbox(SandboxConfig()), AnswerCheck()
    runner, grader = RememberingRunner(sandbox), RememberingGrader(check)
    policy = ScriptedPolicy(Script(puzzles))
    services = Services(policy, runner if remembering else sandbox, grader if remembering else check)
    asyncio.run(_warm(sandbox, check))
    belonging = Belonging(1, "all-in", "script", None, {}, [[job.problem_id, 0, job.seed] for job in jobs])
    TimedLog.seconds = 0.0
    with tempfile.TemporaryDirectory() as folder, ShardLog(Path(folder) / "all-in.log", belonging) as log:
        cpu, started = _cpu_seconds(), time.perf_counter()
        trees = asyncio.run(_grow(jobs, services, log))
        seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
        log_bytes = log.path.stat().st_size
    runner.close()
    grader.close()
    return Run(
        rollouts=sum(tree.num_rollouts for tree in trees),
        seconds=seconds,
        cpu_seconds=cpu,
        programs=runner.memo.num_asked,
        remembered_programs=runner.memo.share_remembered,
        remembered_pairs=grader.memo.share_remembered,
        log_seconds=TimedLog.seconds,
        log_bytes=log_bytes,
    )


async def _warm(sandbox: Sandbox, check: AnswerCheck) -> None:
    await asyncio.gather(*(sandbox.execute(Execute("", ("print(1)",))) for _ in range(sandbox.num_workers)))
    await asyncio.gather(*(check.grade(Grade((f"x+{n}",), "1+x")) for n in range(check.num_workers)))


async def _grow(jobs: list[TreeJob], services: Services, log: ShardLog) -> list[Tree]:
    return [grown.tree async for grown in grow_trees(jobs, services, [TimedLog(each) for each in log.trees])]


def _cpu_seconds() -> float:
    """Processor time so far of this process, its children, and what they have reaped."""
    me = psutil.Process()
    own = me.cpu_times()
    seconds = own.user + own.system
    for child in me.children(recursive=True):
        times = child.cpu_times()
        seconds += times.user + times.system + times.children_user + times.children_system
    return float(seconds)


def all_in(num_problems: int = NUM_PROBLEMS) -> list[Figure]:
    """Speed of everything but the model, and what the replay log takes of it (1 to 3 minutes)."""
    run = run_workload(num_problems, remembering=True)
    plain = run_workload(max(1, num_problems // 4), remembering=False)
    return [
        at_least("rollouts a second, all in", run.rollouts / run.seconds, "1/s", GOAL_ROLLOUTS_PER_SECOND),
        Figure("rollouts a second, all in, nothing remembered", plain.rollouts / plain.seconds, "1/s"),
        Figure("processor time a rollout", 1000 * run.cpu_seconds / run.rollouts, "ms"),
        Figure(
            "processor time a rollout, nothing remembered", 1000 * plain.cpu_seconds / plain.rollouts, "ms"
        ),
        Figure("programs asked for a rollout", run.programs / run.rollouts, "1"),
        Figure("share of programs remembered", run.remembered_programs, "1"),
        Figure("share of pairs of answers remembered", run.remembered_pairs, "1"),
        at_most("replay log, share of the wall time", run.log_seconds / run.seconds, "1", GOAL_LOG_SHARE),
        Figure("replay log", run.log_bytes / run.rollouts / 1024, "KiB a rollout"),
    ]
