"""How fast the in-process policy decodes, and what prompt reuse saves: a batch of search-like requests.

python benchmarks/engine.py [--json] [--model smollm2-135m-instruct] [--problems 24]
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.figures import Figure, at_least, show
from flows.running import prepare_environment

GOAL_TOKENS_PER_SECOND = 150.0


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=24)
    options = parser.parse_args()
    prepare_environment()
    with_cache, reused = measure(options.model, options.problems, cache_mb=1024)
    without, _ = measure(options.model, options.problems, cache_mb=0)
    figures = [
        at_least("generated tokens per second", with_cache, "1/s", GOAL_TOKENS_PER_SECOND),
        Figure("generated tokens per second without prompt reuse", without, "1/s"),
        Figure("share of prompt tokens reused", reused, "1"),
    ]
    show(figures, as_json=options.json)


def measure(model: str, num_problems: int, *, cache_mb: int) -> tuple[float, float]:
    """(generated tokens per second, share of prompt tokens reused) of a two-level expansion."""
    from infra.engines.in_process import InProcessPolicy  # noqa: PLC0415 - after the environment is prepared
    from infra.models.resolve import resolve_model  # noqa: PLC0415 - as above
    from infra.problems.builtin import generate  # noqa: PLC0415 - as above
    from rstar_core.config import BuiltinSource  # noqa: PLC0415 - as above
    from rstar_core.engine_config import PolicyConfig  # noqa: PLC0415 - as above
    from rstar_core.requests import Propose  # noqa: PLC0415 - as above

    problems = list(generate(BuiltinSource(num_problems=num_problems, seed=0)))
    policy = InProcessPolicy(resolve_model(model), "bootstrap", PolicyConfig(cache_mb=cache_mb))

    async def expand(question: str, seed: int) -> None:
        steps: tuple[str, ...] = ()
        for depth in range(3):
            request = Propose(question, steps, 5, seed + depth, 0.8, 0.95, 64)
            steps += ((await policy.propose(request))[0].text + "\n",)

    async def run() -> None:
        await asyncio.gather(*(expand(each.question, 7 * index) for index, each in enumerate(problems)))

    started = time.perf_counter()
    asyncio.run(run())
    seconds = time.perf_counter() - started
    stats = policy.stats()
    policy.close()
    return stats.generated_tokens / seconds, stats.reused_tokens / (stats.reused_tokens + stats.prompt_tokens)


if __name__ == "__main__":
    main()
