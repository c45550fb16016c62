"""vLLM under search: tokens a second beside flat requests to the same server, cache hits, the cost of a PPM.

python benchmarks/serving.py [--json] [--model smollm2-135m-instruct] [--problems 24] [--sequences 32]
    [--turns 2] [--only throughput|scoring]

The flat requests are those of the search, sent without waiting for one another, with as many in flight, to a
server whose cache the search has filled. The server works on so many sequences at a time, which is less than
the trees of all problems ask for, as in a round. The PPM has the model's body. Its cost is the time of a
search with it over that of the same search with scores that are remembered.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, arguments, at_least, at_most, show
from flows.running import prepare_environment
from infra.driver import Services, TreeJob, grow_trees
from infra.engines.openai.transport import Answer
from infra.engines.vllm import VllmPolicy, VllmScorer
from infra.grading.answer_check import AnswerCheck
from infra.memo import RememberingGrader, RememberingRunner
from infra.models.resolve import resolve_model
from infra.problems.builtin import generate
from infra.sandbox.sandbox import Sandbox
from rstar_core.config import BuiltinSource, SandboxConfig, SearchConfig
from rstar_core.engine_config import PolicyConfig, ScorerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from rstar_core.protocols import StepScorer
    from rstar_core.requests import Propose, Score
    from rstar_core.types import Completion

_FAMILIES = ("basic_arithmetic", "chain_sum", "products", "gcd")
_SEARCH: dict[str, Any] = {
    "num_candidates": 4,
    "num_rollouts": 4,
    "rollouts_in_flight": 1,
    "max_depth": 6,
    "max_step_tokens": 48,
    "answer_step": "output",
}
_depth: ContextVar[int] = ContextVar("depth")


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--turns", type=int, default=2, help="of the search and of its requests without it")
    parser.add_argument("--only", choices=("throughput", "scoring"))
    parser.add_argument(
        "--argument", action="append", default=[], help="of vLLM, e.g. --argument=--block-size=128"
    )
    options = parser.parse_args()
    prepare_environment()
    model = resolve_model(options.model)
    with tempfile.TemporaryDirectory() as folder:
        ppm = make_ppm(model, Path(folder))
        more = tuple(options.argument)
        settings = PolicyConfig(engine="vllm", server_arguments=more, max_sequences=options.sequences)
        policy = VllmPolicy(model, "policy", "bootstrap", settings)
        scorer = VllmScorer(ppm, "ppm", ScorerConfig(engine="vllm", server_arguments=more))
        sandbox, grader = Sandbox(SandboxConfig()), RememberingGrader(AnswerCheck())
        sandbox.start()
        runner = RememberingRunner(sandbox)
        try:
            policy.wait()
            scorer.wait()
            asked = Asked(policy)
            parts = (asked, runner, grader)
            figures = []
            if options.only != "scoring":
                figures += throughput(asked, Services(*parts), options.problems, options.turns)  # type: ignore[arg-type]
            if options.only != "throughput":
                figures += scoring(parts, scorer, options.problems)
        finally:
            for each in (policy, scorer, runner, grader):
                each.close()
    show(figures, as_json=options.json)


def make_ppm(model: Path, folder: Path) -> Path:
    """A classifier with the model's body, as a round begins to train it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: PLC0415 - heavy

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.model_max_length = 2048
    AutoModelForSequenceClassification.from_pretrained(model, num_labels=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass
class Asked:
    """The policy, and what it was asked: requests in order, and prompt tokens by depth."""

    policy: VllmPolicy
    requests: list[Propose] = field(default_factory=list)
    prompt: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    cached: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        replicas = self.policy._policy._replicas  # noqa: SLF001 - depth is not in what a server counts
        ask = replicas.ask

        async def recorded(path: str, body: dict[str, Any], *more: Any) -> Any:  # noqa: ANN401 - passed on
            address, reply = await ask(path, body, *more)
            if isinstance(reply, Answer):
                usage = reply.content["usage"]
                self.prompt[_depth.get()] += usage["prompt_tokens"]
                self.cached[_depth.get()] += (usage.get("prompt_tokens_details") or {}).get(
                    "cached_tokens"
                ) or 0
            return address, reply

        replicas.ask = recorded  # type: ignore[method-assign]

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """As the policy does."""
        self.requests.append(request)
        _depth.set(len(request.steps))
        return await self.policy.propose(request)

    def hits_below(self, depth: int) -> float:
        """The share of prompt tokens from the cache, of steps as deep as this or deeper."""
        deep = [each for each in self.prompt if each >= depth]
        return sum(self.cached[each] for each in deep) / max(1, sum(self.prompt[each] for each in deep))


@dataclass
class Timed:
    """What one way of asking gave, turn by turn."""

    asked: Asked
    ask: Callable[[], Coroutine[Any, Any, None]]
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    busy: float = 0.0

    def turn(self) -> None:
        """Ask once more."""
        before, started = self.asked.policy.stats(), time.perf_counter()
        asyncio.run(self.ask())
        stats = self.asked.policy.stats()
        self.seconds.append(time.perf_counter() - started)
        self.tokens.append(stats.generated_tokens - before.generated_tokens)
        self.busy += stats.busy_seconds - before.busy_seconds

    def rates(self, name: str) -> list[Figure]:
        """One figure for each turn."""
        pairs = zip(self.tokens, self.seconds, strict=True)
        return [
            Figure(f"{name}, turn {turn}, tokens a second", tokens / seconds, "1/s")
            for turn, (tokens, seconds) in enumerate(pairs, 1)
        ]

    @property
    def rate(self) -> float:
        """Tokens a second over all turns."""
        return sum(self.tokens) / sum(self.seconds)


def throughput(asked: Asked, services: Services, num_problems: int, turns: int) -> list[Figure]:
    """Tokens a second of a search and of its requests without the search, each `turns` times.

    Every other turn goes the other way round, so that a machine that becomes slower favours neither.
    """
    search = Timed(asked, lambda: grow(services, num_problems, "terminal"))
    search.turn()
    requests, hits = tuple(asked.requests), asked.hits_below(2)
    flat = Timed(asked, lambda: propose_all(asked, requests, num_problems * _SEARCH["rollouts_in_flight"]))
    flat.turn()
    for turn in range(1, turns):
        for way in (flat, search) if turn % 2 else (search, flat):
            way.turn()
    return [
        Figure("requests of the search", len(requests), "1"),
        *search.rates("search"),
        *flat.rates("the same requests flat"),
        at_least("search over flat, all turns", search.rate / flat.rate, "1", 0.9),
        at_least("engine busy in the search", search.busy / sum(search.seconds), "1", 0.95),
        at_least("prompt tokens from the cache below depth 2", hits, "1", 0.8),
    ]


async def propose_all(policy: Asked, requests: Sequence[Propose], in_flight: int) -> None:
    """Send requests that wait for nothing but their place among those in flight."""
    places = asyncio.Semaphore(in_flight)

    async def one(request: Propose) -> None:
        async with places:
            await policy.propose(request)

    await asyncio.gather(*map(one, requests))


class Remembered:
    """A scorer that keeps what another one said, and then says it without asking."""

    def __init__(self, scorer: StepScorer) -> None:
        self._scorer, self._known = scorer, dict[Any, tuple[float, ...]]()

    async def score(self, request: Score) -> tuple[float, ...]:
        """As the other scorer did, or does."""
        if request not in self._known:
            self._known[request] = await self._scorer.score(request)
        return self._known[request]


def scoring(parts: tuple[Any, ...], scorer: StepScorer, num_problems: int) -> list[Figure]:
    """What the PPM adds to the wall time of a search."""
    services = Services(*parts, scorer=Remembered(scorer))
    timed_search(services, num_problems, "ppm")  # fills the caches of both
    without = timed_search(services, num_problems, "ppm")
    with_it = timed_search(Services(*parts, scorer=scorer), num_problems, "ppm")
    return [
        Figure("search with remembered scores", without, "s"),
        Figure("search with the PPM", with_it, "s"),
        at_most("what the PPM adds", 100 * (with_it / without - 1), "%", 15.0),
    ]


def timed_search(services: Services, num_problems: int, annotation: str) -> float:
    """Seconds in which one tree for each problem is grown."""
    started = time.perf_counter()
    asyncio.run(grow(services, num_problems, annotation))
    return time.perf_counter() - started


async def grow(services: Services, num_problems: int, annotation: str) -> None:
    """Grow one tree for each problem."""
    config = SearchConfig.model_validate({**_SEARCH, "annotation": annotation})
    problems = generate(BuiltinSource(num_problems=num_problems, families=_FAMILIES, seed=0))
    jobs = [TreeJob(each.question, each.question, each.answer, 0, 7, config) for each in problems]
    async for _ in grow_trees(jobs, services):
        pass


if __name__ == "__main__":
    main()
