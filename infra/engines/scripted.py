"""A policy that plays a script: the fake for tests and for measuring everything but the model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from infra.engines.base import EngineStats
from rstar_core.types import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rstar_core.requests import Propose


class ScriptedPolicy:
    """Answers each request with `script(request)`, a list of texts as long as the candidates asked for."""

    def __init__(self, script: Callable[[Propose], Sequence[str]]) -> None:
        self._script = script
        self._tokens = 0

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """The script's texts as finished completions; a word counts as a token."""
        texts = self._script(request)
        completions = tuple(Completion(text, len(text.split()), finished=True) for text in texts)
        self._tokens += sum(each.num_tokens for each in completions)
        return completions

    def stats(self) -> EngineStats:
        """Only the tokens: a script is never busy."""
        return EngineStats(generated_tokens=self._tokens)

    def close(self) -> None:
        """Nothing to give back."""


def random_arithmetic(request: Propose) -> list[str]:
    """Small valid programs, partly wrong, that depend on the request's seed, question and path alone."""
    texts = []
    for index in range(request.num_candidates):
        label = f"{request.seed}/{index}/{request.question}/{''.join(request.steps)}"
        draw = int.from_bytes(hashlib.sha256(label.encode(errors="surrogatepass")).digest()[:4], "big")
        if request.steps and "<end_of_code>" in request.steps[-1]:
            printed = request.steps[-1].split("<output>")[-1].split("<end_of_output>")[0]
            texts.append(f"<answer>The answer is \\boxed{{{printed}}}.<end_of_answer>")
        elif len(request.steps) >= 1 + draw % 3:
            texts.append("# Now print the final answer\nprint(x)\n<end_of_code>")
        else:
            texts.append(f"# Step {len(request.steps) + 1}: pick a number\nx = {draw % 4}\n<end_of_step>")
    return texts
