"""The process preference model (PPM) at work: steps in, scores in [-1, 1] out.

`TransformersScorer` batches the requests of all trees on one worker thread; `ScriptedScorer` is its fake.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.models.layout import loading, max_positions
from infra.packing import PackedRow, classify, micro_batches, pack
from infra.tokens import encode_piece, encode_pieces, keep_newest
from rstar_core.errors import EngineError, ModelError
from rstar_core.prompts import render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch

    from rstar_core.requests import Score

_MAX_REQUESTS = 64
_MAX_TOKENS = 8192
_DEFAULT_MAX_LENGTH = 2048
_NO_LIMIT = 10**9
"""Tokenizers without a limit of their own say something beyond this."""


def step_scores(logits: torch.Tensor) -> torch.Tensor:
    """Scores in [-1, 1] from the head's output: the one tanh of training, serving and tests."""
    return logits.tanh()


def as_scores(raw: Sequence[float]) -> list[float]:
    """Scores in [-1, 1] from outputs of the head that came as numbers, for example from a server."""
    import torch  # noqa: PLC0415  # heavy

    scores: list[float] = step_scores(torch.tensor(raw, dtype=torch.float32)).tolist()
    return scores


def scorer_tokenizer(model_dir: Path) -> Any:  # noqa: ANN401  # transformers is untyped
    """Tokenizer of a PPM checkpoint.

    Raises:
        ModelError: The checkpoint cannot be read or is no step scorer.
    """
    from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415  # heavy

    with loading(model_dir):
        config = AutoConfig.from_pretrained(model_dir)
        architecture = (config.architectures or ["unknown"])[0]
        if not architecture.endswith("ForSequenceClassification") or config.num_labels != 1:
            raise ModelError(
                f"{model_dir} holds a {architecture}, not a step scorer; train one with the ppm job."
            )
        return AutoTokenizer.from_pretrained(model_dir)


def load_scorer(model_dir: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a PPM checkpoint; float32, on the GPU if there is one.

    Raises:
        ModelError: The checkpoint cannot be loaded or is no step scorer.
    """
    import torch  # noqa: PLC0415  # heavy
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415  # heavy

    tokenizer = scorer_tokenizer(model_dir)
    with loading(model_dir):
        model = AutoModelForSequenceClassification.from_pretrained(model_dir, dtype=torch.float32)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def longest_input(tokenizer: Any, model_dir: Path) -> int:  # noqa: ANN401
    """Tokens of the longest input that the model takes, in training and wherever it scores.

    That is what the tokenizer says (of a PPM: what it was trained with), or 2048 if it does not, and never
    more than the model has positions.

    Raises:
        ModelError: The model's configuration cannot be read.
    """
    trained = int(tokenizer.model_max_length)
    longest = trained if trained < _NO_LIMIT else _DEFAULT_MAX_LENGTH
    return min(longest, max_positions(model_dir) or longest)


def score_inputs(
    tokenizer: Any,  # noqa: ANN401
    request: Score,
    candidates: Sequence[str],
    max_length: int,
) -> list[list[int]]:
    """Token ids of each candidate with the path before it; too long ones keep their newest step."""
    prefix = encode_pieces(tokenizer, render(request.question, request.steps, "finetuned"))
    return [keep_newest([*prefix, *encode_piece(tokenizer, each)], max_length) for each in candidates]


def pack_request(
    tokenizer: Any,  # noqa: ANN401
    request: Score,
    candidates: Sequence[str],
    max_length: int,
) -> list[PackedRow]:
    """Candidates of one request in order: one row, or one row a candidate where the limit cuts them."""
    prefix = encode_pieces(tokenizer, render(request.question, request.steps, "finetuned"))
    endings = [encode_piece(tokenizer, candidate) for candidate in candidates]
    if len(prefix) + max(map(len, endings)) <= max_length and all(endings):
        return [pack(prefix, endings)]
    return [pack((), [ids]) for ids in score_inputs(tokenizer, request, candidates, max_length)]


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Score
    future: Future[tuple[float, ...]]


class TransformersScorer:
    """A PPM checkpoint in this process; safe to use from several event loops and threads.

    Args:
        model_dir: A one-label sequence classifier, as `infra.training` leaves it.
        max_length: Longest input in tokens; None means what `longest_input` says.

    Raises:
        ModelError: The checkpoint cannot be loaded or is no step scorer.
    """

    def __init__(self, model_dir: Path, *, max_length: int | None = None) -> None:
        self._model, self._tokenizer = load_scorer(model_dir)
        self._max_length = max_length or longest_input(self._tokenizer, model_dir)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._worker = threading.Thread(target=self._serve, name="ppm-scorer", daemon=True)
        self._worker.start()

    async def score(self, request: Score) -> tuple[float, ...]:
        """Score each candidate in [-1, 1]."""
        waiting = _Waiting(request, Future())
        with self._lock:
            if self._closed:
                raise EngineError("The step scorer is closed; open a new one.")
            self._queue.put(waiting)
        return await asyncio.wrap_future(waiting.future)

    def score_batch(self, requests: Sequence[Score]) -> list[tuple[float, ...]]:
        """Scores of many requests at once, on the calling thread; equal candidates are computed once."""
        unique = [tuple(dict.fromkeys(request.candidates)) for request in requests]
        rows: list[PackedRow] = []
        owners: list[int] = []
        for owner, (request, candidates) in enumerate(zip(requests, unique, strict=True)):
            if candidates:
                packed = pack_request(self._tokenizer, request, candidates, self._max_length)
                rows += packed
                owners += [owner] * len(packed)
        scored: dict[int, list[float]] = {}
        for indices in micro_batches([len(row.ids) for row in rows], _MAX_TOKENS):
            logits = classify(self._model, [rows[index] for index in indices])
            scored.update(zip(indices, (step_scores(part).tolist() for part in logits), strict=True))
        flat: list[list[float]] = [[] for _ in requests]
        for index, owner in enumerate(owners):
            flat[owner] += scored[index]
        by_text = [dict(zip(texts, scores, strict=True)) for texts, scores in zip(unique, flat, strict=True)]
        return [
            tuple(scores[candidate] for candidate in request.candidates)
            for request, scores in zip(requests, by_text, strict=True)
        ]

    def close(self) -> None:
        """Answer what is waiting, then end the worker. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._worker.join()

    def _serve(self) -> None:
        while (waiting := self._queue.get()) is not None:
            batch = [waiting]
            while len(batch) < _MAX_REQUESTS and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)  # nothing can come after it: let the outer loop see it
                    break
                batch.append(following)
            self._answer([waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()])

    def _answer(self, batch: list[_Waiting]) -> None:
        try:
            replies = self.score_batch([waiting.request for waiting in batch])
        except Exception as error:  # noqa: BLE001  # whatever breaks must reach the callers, or they wait for ever
            for waiting in batch:
                waiting.future.set_exception(EngineError(f"The step scorer failed: {error!r}."))
            return
        for waiting, reply in zip(batch, replies, strict=True):
            waiting.future.set_result(reply)


class ScriptedScorer:
    """A scorer whose answers a test decides; it remembers what it was asked."""

    def __init__(self, rule: Callable[[Score, str], float]) -> None:
        self._rule = rule
        self.requests: list[Score] = []

    async def score(self, request: Score) -> tuple[float, ...]:
        """The rule's score of each candidate."""
        self.requests.append(request)
        return tuple(self._rule(request, candidate) for candidate in request.candidates)

    def close(self) -> None:
        """Nothing to free."""
