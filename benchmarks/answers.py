"""The answer check's speed: the ladder, math-verify behind it, and a pair that would never end."""

from __future__ import annotations

import json
import os
import queue
import random
import re
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Figure, at_least, at_most
from infra.grading import ladder
from infra.grading.answer_check import AnswerCheck
from infra.grading.process import MathVerifyWorker
from infra.nursery import Nursery
from rstar_core.errors import GradingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Pair = tuple[str, str]

GOAL_LADDER: Final = 2000.0
GOAL_SETTLED: Final = 0.9
GOAL_MATH_VERIFY: Final = 100.0
HANGING: Final = ("\\sin(10^{10^{10}})", "0")
_DEADLINE_SECONDS: Final = 2.0
_REPEATS: Final = 5
_NUMBER: Final = re.compile(
    r"[-+]?\\?\$?(?:\d[\d,]*(?:\.\d*)?|\.\d+)(?:/\d+)?(?:\\?%)?|[-+]?\d*\\[dt]?frac\s*\{?\d+\}?\s*\{?\d+\}?"
)
_ALGEBRA: Final = (
    ("(x+{n})**2", "x^2+{twice}x+{square}"),
    ("sqrt({n})/{n}", "\\frac{{1}}{{\\sqrt{{{n}}}}}"),
    ("x = {n}", "{n}"),
    ("\\sqrt{{{n}}} + 1", "1 + \\sqrt{{{n}}}"),
    ("x + {n}", "x - {n}"),
)


def answers() -> list[Figure]:
    """Pairs a second on the ladder and through math-verify, and what a hanging pair does to the others."""
    pairs = published_pairs() or made_up_pairs()
    settled = [pair for pair in pairs if ladder.decide(*pair) is not None]
    numbers = [pair for pair in pairs if all(_NUMBER.fullmatch(side) for side in pair)]
    algebra = [pair for pair in pairs if pair not in set(settled)] or _algebra(60)
    nursery = Nursery("infra.grading.worker", "the answer check", GradingError)
    try:
        through = _through_math_verify(nursery, pairs)
    finally:
        nursery.close()
    alone, beside, hanging = _beside_a_hanging_pair(_algebra(400))
    in_settled = set(settled)
    return [
        at_least("pairs settled on the ladder", _ladder_rate(settled), "1/s", GOAL_LADDER),
        at_least(
            "share of pairs with a number on both sides settled there",
            sum(pair in in_settled for pair in numbers) / len(numbers),
            "1",
            GOAL_SETTLED,
        ),
        Figure("share of all pairs settled there", len(settled) / len(pairs), "1"),
        at_least("pairs through math-verify, all of them", len(pairs) / through[0], "1/s", GOAL_MATH_VERIFY),
        Figure("math-verify, median", statistics.median(through[1]), "s"),
        Figure("math-verify, slowest", max(through[1]), "s"),
        Figure("pairs in all", len(pairs), "1"),
        Figure("pairs that need math-verify", len(algebra), "1"),
        at_most("a hanging pair, its deadline being 2 s", hanging, "s", _DEADLINE_SECONDS + 0.25),
        Figure("400 pairs of algebra", 400 / alone, "1/s"),
        Figure("400 pairs of algebra while pairs hang", 400 / beside, "1/s"),
    ]


def published_pairs() -> list[Pair]:
    """Every pair of the published suites, empty without RSTAR_GRADING_DIR."""
    folder = os.environ.get("RSTAR_GRADING_DIR")
    pairs: list[Pair] = []
    for file in sorted(Path(folder).glob("*.jsonl")) if folder else ():
        for line in file.read_text().splitlines():
            row = json.loads(line)
            sides = (row.get("pred", row.get("a")), row.get("gold", row.get("b")))
            if None not in sides:
                pairs.append((str(sides[0]), str(sides[1])))
    return pairs


def made_up_pairs() -> list[Pair]:
    """Numbers in several spellings, right and wrong, and some algebra."""
    rng = random.Random(0)  # noqa: S311
    pairs: list[Pair] = []
    for _ in range(200):
        n, d = rng.randrange(1, 10**6), rng.choice((2, 4, 5, 8))
        pairs += [(str(n), f"{n:,}"), (str(n), str(n + 1)), (str(n / d), f"\\frac{{{n}}}{{{d}}}")]
    return pairs + _algebra(60)


def _algebra(count: int) -> list[Pair]:
    pairs = []
    for number in range(count):
        n = number + 2
        values = {"n": n, "twice": 2 * n, "square": n * n}
        one, other = _ALGEBRA[number % len(_ALGEBRA)]
        pairs.append((one.format(**values), other.format(**values)))
    return pairs


def _ladder_rate(pairs: Sequence[Pair]) -> float:
    rates = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        for pair in pairs:
            ladder.decide(*pair)
        rates.append(len(pairs) / (time.perf_counter() - started))
    return statistics.median(rates)


def _through_math_verify(nursery: Nursery, pairs: Sequence[Pair]) -> tuple[float, list[float]]:
    """Seconds for all pairs with two workers, and for each one."""
    idle: queue.LifoQueue[MathVerifyWorker] = queue.LifoQueue()
    for _ in range(2):
        worker = MathVerifyWorker(nursery)
        worker.compare("x+1", "1+x", timeout_seconds=60)
        idle.put(worker)
    each: list[float] = []

    def compare(pair: Pair) -> None:
        worker = idle.get()
        started = time.perf_counter()
        worker.compare(*pair, timeout_seconds=60)
        each.append(time.perf_counter() - started)
        idle.put(worker)

    seconds = _from_two_threads(compare, pairs)
    for _ in range(2):
        idle.get().close()
    return seconds, each


def _beside_a_hanging_pair(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Seconds for the pairs alone, for the same while one pair after the other hangs, and a hanging one's."""
    with AnswerCheck(timeout_seconds=_DEADLINE_SECONDS, num_workers=3) as answer_check:
        answer_check.check("x+1", "1+x")
        check = lambda pair: answer_check.check(*pair)  # noqa: E731
        alone = _from_two_threads(check, pairs)
        stop = threading.Event()
        hanging: list[float] = []

        def hang() -> None:
            while not stop.is_set():
                verdict = answer_check.check(*HANGING)
                if verdict.method != "timeout":
                    raise SystemExit(f"the pair that should hang was decided: {verdict}")
                hanging.append(verdict.seconds)

        thread = threading.Thread(target=hang)
        thread.start()
        beside = _from_two_threads(check, pairs)
        stop.set()
        thread.join()
    return alone, beside, max(hanging)


def _from_two_threads(check: Callable[[Pair], object], pairs: Sequence[Pair]) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, pairs))
    return time.perf_counter() - started
