"""The embedded policy: a transformers model in this process, batched across all trees and shards.

One thread owns the decoder; any event loop in any thread may call `propose`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from infra.engines.base import EngineStats
from infra.models.layout import loading
from infra.tokens import check_tags, encode_pieces
from rstar_core.errors import EngineError
from rstar_core.prompts import PromptStyle, render
from rstar_core.tags import STOP_TAGS
from rstar_core.types import Completion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infra.engines.decoder import Candidate, Decoder, DecodeRequest
    from rstar_core.engine_config import PolicyConfig
    from rstar_core.requests import Propose

_TAIL_TOKENS = 24  # enough for the longest tag in a byte-level vocabulary
_NO_LIMIT = 1 << 31
_MEBIBYTE = 1 << 20


class InProcessPolicy:
    """Policy over a model directory, decoded by `Decoder`.

    Raises:
        ModelError: The directory holds no model.
    """

    def __init__(self, model_dir: Path, style: PromptStyle, config: PolicyConfig) -> None:
        with loading(model_dir):
            model, self._tokenizer = _load(model_dir, config)
            check_tags(self._tokenizer, model_dir)
        from infra.engines.decoder import Decoder  # noqa: PLC0415 - torch loads only when a model is needed

        self._style = style
        self._decoder: Decoder = Decoder(
            model, max_sequences=config.max_sequences, cache_bytes=config.cache_mb * _MEBIBYTE
        )
        self._max_positions: int = getattr(model.config, "max_position_embeddings", None) or _NO_LIMIT
        self._eos = {self._tokenizer.eos_token_id}
        vocabulary = range(len(self._tokenizer))
        self._closing = {
            t for t, text in enumerate(self._tokenizer.batch_decode([[t] for t in vocabulary])) if ">" in text
        }
        self._inbox: queue.Queue[tuple[DecodeRequest, Future[tuple[Completion, ...]]] | None] = queue.Queue()
        self._futures: dict[DecodeRequest, Future[tuple[Completion, ...]]] = {}
        self._busy_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="rstar-decoder", daemon=True)
        self._thread.start()

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """Sample candidates; waits in a queue while the batch is full.

        Raises:
            EngineError: The model failed or the policy was closed.
        """
        if not self._thread.is_alive():
            raise EngineError("the in-process policy is closed; open a new one before proposing")
        from infra.engines.decoder import DecodeRequest  # noqa: PLC0415 - as above

        pieces = render(request.question, request.steps, self._style)
        shared = pieces[:1] if self._style == "bootstrap" else ()
        prefix = tuple(encode_pieces(self._tokenizer, shared))
        prompt = tuple(encode_pieces(self._tokenizer, pieces[len(shared) :]))
        room = self._max_positions - len(prefix) - len(prompt)
        if room < 1:
            return (Completion("", 0, finished=False),) * request.num_candidates
        future: Future[tuple[Completion, ...]] = Future()
        decode = DecodeRequest(
            prefix=prefix,
            prompt=prompt,
            num_candidates=request.num_candidates,
            seed=request.seed,
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=min(request.max_tokens, room),
            stops=self._stops,
            on_done=self._finish,
        )
        self._inbox.put((decode, future))
        return await asyncio.wrap_future(future)

    def stats(self) -> EngineStats:
        """Counters since the start."""
        counts = self._decoder.stats
        return EngineStats(
            generated_tokens=counts.generated_tokens,
            prompt_tokens=counts.prompt_tokens,
            reused_tokens=counts.reused_tokens,
            busy_seconds=self._busy_seconds,
        )

    def close(self) -> None:
        """Stop the thread; requests in flight fail with EngineError."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._take():
            started = time.perf_counter()
            try:
                self._decoder.step()
            except Exception as error:  # noqa: BLE001 - whatever the model raises belongs to its callers
                self._fail(f"the in-process model failed: {error}")
            self._busy_seconds += time.perf_counter() - started
        self._fail("the in-process policy was closed while a request was in flight")

    def _take(self) -> bool:
        """Move new requests to the decoder, waiting for one if it is idle; False when told to stop."""
        while True:
            try:
                item = self._inbox.get(block=self._decoder.num_unfinished == 0)
            except queue.Empty:
                return True
            if item is None:
                return False
            decode, future = item
            if not future.set_running_or_notify_cancel():
                continue
            self._futures[decode] = future
            try:
                self._decoder.add(decode)
            except ValueError as error:
                self._futures.pop(decode).set_exception(EngineError(str(error)))

    def _finish(self, request: DecodeRequest) -> None:
        completions = tuple(self._completion(each) for each in request.sequences)
        self._futures.pop(request).set_result(completions)

    def _fail(self, message: str) -> None:
        self._decoder.drop_all()
        while not self._inbox.empty():  # first, for whoever hears of a failure may ask again at once
            item = self._inbox.get_nowait()
            if item is not None and item[1].set_running_or_notify_cancel():
                item[1].set_exception(EngineError(message))
        for future in self._futures.values():
            future.set_exception(EngineError(message))
        self._futures.clear()

    def _stops(self, tokens: Sequence[int]) -> bool:
        if tokens[-1] in self._eos:
            return True
        if tokens[-1] not in self._closing:
            return False
        tail = self._tokenizer.decode(tokens[-_TAIL_TOKENS:])
        return any(tag in tail for tag in STOP_TAGS)

    def _completion(self, candidate: Candidate) -> Completion:
        tokens = candidate.tokens
        kept = tokens[:-1] if tokens and tokens[-1] in self._eos else tokens
        return Completion(self._tokenizer.decode(kept), len(tokens), candidate.finished)


def _load(model_dir: Path, config: PolicyConfig) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415 - as above
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - as above

    from infra.engines.attention import ATTENTION_NAME, register  # noqa: PLC0415 - as above

    register()
    gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=torch.bfloat16 if gpu else torch.float32,  # a CPU without bf16 units is 3 times slower in bf16
        attn_implementation=ATTENTION_NAME,
        local_files_only=True,
    ).eval()
    if gpu:
        model = model.to("cuda")
    else:
        _store_transposed(model)
    if not gpu and config.quantization == "int8":
        quantize = torch.ao.quantization.quantize_dynamic
        model = quantize(model, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return model, AutoTokenizer.from_pretrained(model_dir, local_files_only=True)


def _store_transposed(model: Any) -> None:  # noqa: ANN401  # transformers is untyped
    """Lay each linear weight out as (in, out) in memory; shapes stay.

    A CPU's matrix product with a few dozen rows then runs 1.2 to 1.7 times faster (docs/log.md).
    """
    import torch  # noqa: PLC0415  # as above

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight.data.t().contiguous().t()
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
