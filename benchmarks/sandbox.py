"""How fast verification is: programs in the sandbox, and pairs of answers.

python benchmarks/sandbox.py [--json] [--only programs|answers]

RSTAR_GRADING_DIR names the folder with the published pairs; without it the answers are made up.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.answers import answers
from benchmarks.figures import Figure, at_least, at_most, run_sections
from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute

GOAL_PLAIN: Final = 250.0
GOAL_SYMPY: Final = 100.0
GOAL_SIBLINGS: Final = 5.0
GOAL_P99_SECONDS: Final = 0.050
_REPEATS: Final = 5
_NUM_PROGRAMS: Final = 300
_NUM_HARD: Final = 100
_NUM_COLD: Final = 8
_PLAIN: Final = PREAMBLE + "price = {n} * 3\ntotal = price + math.gcd({n}, 12)\nprint(total / 2)\n"
_SOLVING: Final = (
    "x = sympy.symbols('x')\nprint(sympy.solve(2*x + {n}, x))\n",
    "x = sympy.symbols('x')\nprint(sympy.solve(sympy.Eq(3*x + {n}, 20), x))\n",
    "x = sympy.symbols('x')\nprint(sympy.solve(x**2 - {n}**2, x))\n",
    "x, y = sympy.symbols('x y')\nprint(sympy.solve([x + y - {n}, x - y - 1], [x, y]))\n",
)
# sympy itself computes 20 to 30 ms for two irrational roots; no sandbox can be faster than that.
_HARD: Final = PREAMBLE + "x = sympy.symbols('x')\nprint(sympy.solve(x**2 - {n}*x + 6, x))\n"
_SLOW_PREFIX: Final = (
    PREAMBLE + "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
)


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    run_sections(__doc__, SECTIONS)


def programs() -> list[Figure]:
    """Programs a second, siblings of a slow prefix, and the longest waits (a minute)."""
    plain = [_PLAIN.format(n=n) for n in range(_NUM_PROGRAMS)]
    solving = [PREAMBLE + _SOLVING[n % len(_SOLVING)].format(n=n + 5) for n in range(_NUM_PROGRAMS)]
    with Sandbox(SandboxConfig(timeout_seconds=10, num_workers=2)) as sandbox:
        for code in (plain[0], solving[0]):  # the images start with the first of each
            sandbox.run(Execute("", (code,)))
        plain_rates, plain_waits = _rates(sandbox, plain)
        solving_rates, _ = _rates(sandbox, solving)
        hard_rates, _ = _rates(sandbox, [_HARD.format(n=n + 50) for n in range(_NUM_HARD)])
        together, apart = _siblings(sandbox)
    cold_plain, cold_sympy = _cold(plain[0].replace("import sympy\n", "")), _cold(solving[0])
    rate, solving_rate = statistics.median(plain_rates), statistics.median(solving_rates)
    waits = sorted(plain_waits)
    return [
        at_least("plain steps", rate, "1/s", GOAL_PLAIN),
        Figure("plain steps, slowest of the repeats", min(plain_rates), "1/s"),
        Figure("plain steps / python -c without sympy, one core each", rate / 2 * cold_plain, "1"),
        at_least("steps with sympy's solvers", solving_rate, "1/s", GOAL_SYMPY),
        Figure("steps with sympy's solvers, slowest of the repeats", min(solving_rates), "1/s"),
        Figure("steps with sympy's solvers / python -c, one core each", solving_rate / 2 * cold_sympy, "1"),
        Figure("quadratic equations with irrational roots", statistics.median(hard_rates), "1/s"),
        Figure("the same in one warm process, two of them", 2 / _computing_seconds(), "1/s"),
        at_least("8 siblings after 200 ms: prefix each time / once", apart / together, "1", GOAL_SIBLINGS),
        Figure("8 siblings after 200 ms, prefix once", together, "s"),
        at_most("plain step, 99th percentile", waits[int(len(waits) * 0.99)], "s", GOAL_P99_SECONDS),
        Figure("plain step, median", statistics.median(waits), "s"),
        Figure("python -c without sympy", cold_plain, "s"),
        Figure("python -c with sympy", cold_sympy, "s"),
    ]


def _rates(sandbox: Sandbox, codes: list[str]) -> tuple[list[float], list[float]]:
    """Programs a second of each repeat, and what each program took from its start on."""
    rates, waits = [], []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:  # as the search does with two workers
            executions = list(pool.map(lambda code: sandbox.run(Execute("", (code,)))[0], codes))
        rates.append(len(codes) / (time.perf_counter() - started))
        failed = [each for each in executions if each.status.value != "ok"]
        if failed:
            raise SystemExit(f"a program of the benchmark failed: {failed[0]}")
        waits += [each.seconds for each in executions]
    return rates, waits


def _siblings(sandbox: Sandbox) -> tuple[float, float]:
    """Seconds for eight candidates after one prefix of 200 ms: the prefix run once, and eight times."""
    candidates = tuple(f"print({n})" for n in range(8))
    together, apart = [], []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        sandbox.run(Execute(_SLOW_PREFIX, candidates))
        middle = time.perf_counter()
        for candidate in candidates:
            sandbox.run(Execute(_SLOW_PREFIX, (candidate,)))
        together.append(middle - started)
        apart.append(time.perf_counter() - middle)
    return statistics.median(together), statistics.median(apart)


def _computing_seconds() -> float:
    """Median seconds that sympy takes for a hard program where everything is warm and nothing isolated."""
    import sympy  # noqa: PLC0415 - only here

    x, seconds = sympy.symbols("x"), []
    for n in range(20, 60):
        started = time.perf_counter()
        sympy.solve(x**2 - n * x + 6, x)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[10:])


def _cold(code: str) -> float:
    """Median seconds of the same program in an interpreter of its own."""
    seconds = []
    for _ in range(_NUM_COLD):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


SECTIONS: Final = {"programs": programs, "answers": answers}


if __name__ == "__main__":
    main()
