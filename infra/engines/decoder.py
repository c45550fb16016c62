"""Continuous batching on one model: every step advances all sequences by a token and reads new prompts.

The decoder is a plain object driven by one thread: `add` requests, call `step` until they are done. It knows
token ids only; text, stop tags and the outside world are its caller's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from infra.engines.attention import PromptSpan, StepLayout
from infra.engines.kv_slots import KvBlock, KvSlots
from infra.engines.prompt_cache import PromptCache
from infra.engines.sampling import sample, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True, eq=False)
class Candidate:
    """One candidate: its slot and what it generated."""

    request: DecodeRequest
    candidate: int
    slot: int
    length: int
    tokens: list[int] = field(default_factory=list)
    finished: bool = False


@dataclass(slots=True, eq=False)
class DecodeRequest:
    """A prompt of which `num_candidates` continuations are wanted.

    Attributes:
        prefix: Tokens shared by many requests, read once.
        prompt: Tokens after the prefix; at least one.
        num_candidates: Continuations to sample.
        seed: Candidate i depends on (prompt, seed, i) alone.
        temperature: 0 for greedy.
        top_p: Nucleus mass.
        max_tokens: Limit per continuation.
        stops: Says whether generated tokens end the continuation.
        on_done: Called with the request when all its sequences are complete.
        sequences: The candidates, in order.
    """

    prefix: tuple[int, ...]
    prompt: tuple[int, ...]
    num_candidates: int
    seed: int
    temperature: float
    top_p: float
    max_tokens: int
    stops: Callable[[Sequence[int]], bool]
    on_done: Callable[[DecodeRequest], None]
    sequences: list[Candidate] = field(default_factory=list)


@dataclass(slots=True)
class DecoderStats:
    """Counters since the start: tokens generated, prompt tokens computed and reused, steps."""

    generated_tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    steps: int = 0


class Decoder:
    """Batched decoding of one causal language model."""

    def __init__(self, model: Any, *, max_sequences: int, cache_bytes: int) -> None:  # noqa: ANN401 - untyped library
        config = model.config
        self._model = model
        self._max_sequences = max_sequences
        self._slots = KvSlots(
            num_layers=config.num_hidden_layers,
            kv_heads=config.num_key_value_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            dtype=model.dtype,
            device=model.device,
        )
        self._cache = PromptCache(cache_bytes)
        self._prefixes: dict[tuple[int, ...], KvBlock] = {}
        self._prefix: tuple[int, ...] = ()
        self._free = list(range(max_sequences))
        self._waiting: deque[DecodeRequest] = deque()
        self._active: list[Candidate] = []
        self.stats = DecoderStats()

    @property
    def num_unfinished(self) -> int:
        """Sequences being decoded plus those waiting."""
        return len(self._active) + sum(request.num_candidates for request in self._waiting)

    def add(self, request: DecodeRequest) -> None:
        """Queue a request.

        Raises:
            ValueError: It asks for more candidates than there are slots, or its prompt is empty.
        """
        if not request.prompt or not 1 <= request.num_candidates <= self._max_sequences:
            raise ValueError(
                f"a request needs a prompt and 1 to {self._max_sequences} candidates, "
                f"not {len(request.prompt)} tokens and {request.num_candidates}"
            )
        self._waiting.append(request)

    def drop_all(self) -> list[DecodeRequest]:
        """Forget all requests, for example after an error; returns them."""
        dropped = list({id(each.request): each.request for each in self._active}.values())
        dropped += self._waiting
        self._waiting.clear()
        self._active.clear()
        self._free = list(range(self._max_sequences))
        return dropped

    @torch.inference_mode()
    def step(self) -> None:
        """Advance every sequence by one token, and begin as many waiting requests as fit."""
        admitted = self._admit()
        if not admitted and not self._active:
            return
        layout, tokens, positions = self._layout(admitted)
        decoding = len(self._active)
        keep = list(range(decoding))
        end = decoding
        for span in layout.prompts:
            end += span.count
            keep.append(end - 1)
        logits = self._forward(tokens, positions, torch.tensor(keep), layout)
        for sequence in self._active:
            sequence.length += 1
        rows = list(range(decoding))
        for index, request in enumerate(admitted):
            rows += [decoding + index] * request.num_candidates
            self._fork(request)
        self._sample(logits[torch.tensor(rows, device=logits.device)])
        self.stats.steps += 1

    def _admit(self) -> list[DecodeRequest]:
        """Requests to begin now: first come first served, of one prefix at a time."""
        admitted: list[DecodeRequest] = []
        free = len(self._free)
        while self._waiting and self._waiting[0].num_candidates <= free:
            request = self._waiting[0]
            if request.prefix != self._prefix:
                if self._active or admitted:
                    break
                self._use_prefix(request.prefix)
            self._waiting.popleft()
            free -= request.num_candidates
            admitted.append(request)
        for request in admitted:
            self._free.sort(reverse=True)
            for candidate in range(request.num_candidates):
                request.sequences.append(Candidate(request, candidate, self._free.pop(), 0))
        return admitted

    def _layout(self, admitted: list[DecodeRequest]) -> tuple[StepLayout, list[int], list[int]]:
        prompts, tokens, positions = [], [], []
        for sequence in self._active:
            tokens.append(sequence.tokens[-1])
            positions.append(len(self._prefix) + sequence.length)
        slots = [each.slot for each in self._active] + [s.slot for r in admitted for s in r.sequences]
        longest = max([each.length + 1 for each in self._active] + [len(r.prompt) for r in admitted])
        self._slots.reserve(max(slots) + 1, longest)
        for request in admitted:
            span = self._restore(request)
            prompts.append(span)
            tokens += request.prompt[span.start :]
            positions += range(len(self._prefix) + span.start, len(self._prefix) + len(request.prompt))
        return self._step_layout(prompts), tokens, positions

    def _step_layout(self, prompts: list[PromptSpan]) -> StepLayout:
        device = self._model.device
        slots = torch.tensor([each.slot for each in self._active], dtype=torch.long, device=device)
        lengths = torch.tensor([each.length for each in self._active], dtype=torch.long, device=device)
        rows = int(slots.max()) + 1 if self._active else 0
        length = int(lengths.max()) + 1 if self._active else 0
        visible = torch.zeros(rows, dtype=torch.long, device=device)
        visible[slots] = lengths + 1
        bias = torch.zeros(rows, 1, 1, length, dtype=self._model.dtype, device=device)
        hidden = torch.arange(length, device=device) >= visible.clamp_min(1).unsqueeze(1)
        bias.masked_fill_(hidden.view(rows, 1, 1, length), float("-inf"))
        return StepLayout(self._slots, slots, lengths, prompts, bias, length, rows)

    def _restore(self, request: DecodeRequest) -> PromptSpan:
        """Copy what the cache knows of a prompt into its first slot; one token or more is left to compute."""
        slot, start = request.sequences[0].slot, 0
        for block in self._cache.find(request.prompt[:-1]):
            self._slots.load(slot, start, block)
            start += block.num_tokens
        self.stats.reused_tokens += start
        self.stats.prompt_tokens += len(request.prompt) - start
        return PromptSpan(slot, start, len(request.prompt) - start)

    def _fork(self, request: DecodeRequest) -> None:
        """Give every candidate its own copy of the prompt that was just read."""
        first, length = request.sequences[0], len(request.prompt)
        for sequence in request.sequences:
            if sequence is not first:
                self._slots.copy(first.slot, sequence.slot, length)
            sequence.length = length
        self._remember(request.prompt, first.slot, 0, length)
        self._active += request.sequences

    def _sample(self, logits: torch.Tensor) -> None:
        """Draw the next token of every active sequence and retire the finished ones."""
        active = self._active
        seeds = np.array([each.request.seed for each in active], dtype=np.int64)
        candidates = np.array([each.candidate for each in active], dtype=np.int64)
        counts = np.array([len(each.tokens) for each in active], dtype=np.int64)
        chosen = sample(
            logits,
            torch.tensor(uniforms(seeds, candidates, counts), dtype=torch.float32, device=logits.device),
            torch.tensor([each.request.temperature for each in active], device=logits.device),
            torch.tensor([each.request.top_p for each in active], device=logits.device),
        ).tolist()
        self.stats.generated_tokens += len(chosen)
        self._active = []
        for sequence, token in zip(active, chosen, strict=True):
            sequence.tokens.append(token)
            stopped = sequence.request.stops(sequence.tokens)
            if stopped or len(sequence.tokens) >= sequence.request.max_tokens:
                self._retire(sequence, stopped=stopped)
            else:
                self._active.append(sequence)

    def _retire(self, sequence: Candidate, *, stopped: bool) -> None:
        request = sequence.request
        sequence.finished = stopped
        known = request.prompt + tuple(sequence.tokens[:-1])
        if stopped and len(sequence.tokens) > 1:
            self._remember(known, sequence.slot, len(request.prompt), len(known))
        self._free.append(sequence.slot)
        sequence.slot = -1
        if all(each.slot < 0 for each in request.sequences):
            request.on_done(request)

    def _remember(self, tokens: tuple[int, ...], slot: int, start: int, end: int) -> None:
        if self._cache.max_bytes:
            self._cache.store(tokens, start, self._slots.save(slot, start, end))

    def _use_prefix(self, prefix: tuple[int, ...]) -> None:
        """Switch to another shared prefix, computing its state if it is new."""
        self._prefix = ()
        self._cache.clear()
        self._slots.set_prefix(None)
        if prefix and prefix not in self._prefixes:
            self._slots.reserve(1, len(prefix))
            layout = self._step_layout([PromptSpan(0, 0, len(prefix))])
            self._forward(list(prefix), list(range(len(prefix))), torch.tensor([len(prefix) - 1]), layout)
            self._prefixes[prefix] = self._slots.save(0, 0, len(prefix))
        self._prefix = prefix
        self._slots.set_prefix(self._prefixes.get(prefix))

    def _forward(
        self, tokens: list[int], positions: list[int], keep: torch.Tensor, layout: StepLayout
    ) -> torch.Tensor:
        """Logits of the kept tokens, (len(keep), vocabulary)."""
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=keep.to(device),
            layout=layout,
        )
        logits: torch.Tensor = output.logits[0]
        return logits
