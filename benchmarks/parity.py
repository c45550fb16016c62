"""How often vLLM and transformers write the same greedy text, in float32 and in bfloat16.

python benchmarks/parity.py [--json] [--model smollm2-135m-instruct] [--prompts 24]

The same token ids go to both, and up to 24 tokens come back. In float32 the tests demand equal texts; in
bfloat16 two programs that add in another order may part at a near tie, so the share is stated here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, arguments, at_least, show
from flows.running import prepare_environment
from infra.engines.vllm import VllmPolicy
from infra.models.resolve import resolve_model
from infra.problems.builtin import generate
from infra.tokens import encode_pieces
from rstar_core.config import BuiltinSource
from rstar_core.engine_config import PolicyConfig
from rstar_core.prompts import render
from rstar_core.requests import Propose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FAMILIES = ("basic_arithmetic", "chain_sum", "products", "gcd")
_TOKENS = 24


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=24)
    options = parser.parse_args()
    prepare_environment()
    model = resolve_model(options.model)
    problems = generate(BuiltinSource(num_problems=options.prompts, families=_FAMILIES))
    questions = [each.question for each in problems]
    figures = []
    for dtype in ("float32", "bfloat16"):
        ours, theirs = by_transformers(model, dtype, questions), by_vllm(model, dtype, questions)
        equal = sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(questions)
        name = f"{dtype}: equal texts of {len(questions)}"
        figures.append(at_least(name, equal, "1", 1.0) if dtype == "float32" else Figure(name, equal, "1"))
        shared = sum(common_start(a, b) / max(len(a), 1) for a, b in zip(ours, theirs, strict=True))
        figures.append(Figure("… share of a text before the first difference", shared / len(questions), "1"))
    show(figures, as_json=options.json)


def by_vllm(model: Path, dtype: str, questions: Sequence[str]) -> list[str]:
    """Of a server that is started for it."""
    settings = {"engine": "vllm", "dtype": dtype}
    policy = VllmPolicy(model, "policy", "bootstrap", PolicyConfig.model_validate(settings))

    async def all_of_them() -> list[str]:
        requests = (Propose(each, (), 1, 0, 0.0, 1.0, _TOKENS) for each in questions)
        replies = await asyncio.gather(*map(policy.propose, requests))
        return [completion.text for (completion,) in replies]

    try:
        policy.wait()
        return asyncio.run(all_of_them())
    finally:
        policy.close()


def by_transformers(model: Path, dtype: str, questions: Sequence[str]) -> list[str]:
    """Of `generate`, each prompt alone, cut where the policy's stop tags end a step."""
    import torch  # noqa: PLC0415 - heavy
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - heavy

    from rstar_core.tags import STOP_TAGS  # noqa: PLC0415 - beside its use

    tokenizer = AutoTokenizer.from_pretrained(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
    found = []
    for question in questions:
        ids = torch.tensor([encode_pieces(tokenizer, render(question, (), "bootstrap"))], device=device)
        with torch.no_grad():
            out = loaded.generate(
                ids,
                max_new_tokens=_TOKENS,
                do_sample=False,
                stop_strings=list(STOP_TAGS),
                tokenizer=tokenizer,
            )
        text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        ends = [text.find(tag) + len(tag) for tag in STOP_TAGS if tag in text]
        found.append(text[: min(ends)] if ends else text)
    return found


def common_start(one: str, other: str) -> int:
    """Characters that both begin with."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


if __name__ == "__main__":
    main()
