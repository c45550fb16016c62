"""vLLM as policy and as PPM: prompts as token ids, on servers of our own or on those that are there.

A prompt is tokenised here, piece by piece, as in training: the ids of a child's prompt extend its parent's
exactly, so the server finds them in its prefix cache, and it sees what the trainer saw.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from infra.engines.openai.addresses import read_addresses
from infra.engines.openai.policy import OpenAIPolicy
from infra.engines.openai.replicas import Replicas
from infra.engines.openai.spending import Spending
from infra.engines.openai.transport import Failure, Transport
from infra.engines.queueing import QueueTimes
from infra.models.layout import loading
from infra.ppm import as_scores, longest_input, score_inputs, scorer_tokenizer
from infra.serving import ModelServer
from infra.serving.environment import longest_served
from infra.tokens import check_tags, encode_pieces
from rstar_core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infra.engines.base import EngineStats
    from infra.engines.openai.addresses import Address
    from rstar_core.engine_config import PolicyConfig, ScorerConfig
    from rstar_core.prompts import PromptStyle
    from rstar_core.requests import Propose, Score
    from rstar_core.types import Completion


class VllmPolicy:
    """A policy served by vLLM; without an address a server is started, which `wait` waits for.

    Args:
        model_dir: The model; its tokenizer is used here even if it is served elsewhere.
        name: Under which name it is served.
        style: How a question and its steps become a prompt.
        config: Where, and how.
        spent: What the campaign has cost before.

    Raises:
        ConfigError: vLLM is not installed here, or an address cannot be used.
    """

    def __init__(
        self, model_dir: Path, name: str, style: PromptStyle, config: PolicyConfig, *, spent: float = 0.0
    ) -> None:
        encode = partial(encode_pieces, _tokenizer(model_dir))
        self._server = None if config.base_url else ModelServer(model_dir, name, "generate", config)
        with _closed_on_error(self._server):
            changes = {"model": name, "base_url": _addresses(self._server, config)}
            asked = config.model_copy(update=changes)
            self._policy = OpenAIPolicy(style, asked, encode, spent=spent)
            addresses, _ = read_addresses(asked, "policy")
            servers = [_without_version(each) for each in addresses]
            self._queues = QueueTimes(servers, ours=self._server is not None)

    def wait(self) -> None:
        """Return once a server of our own answers. Raises: ModelError: It does not start."""
        if self._server is not None:
            self._server.wait()

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """Sample candidates. Raises: EngineError: as `OpenAIPolicy` does, or our own server keeps ending."""
        asking = self._policy.propose(request)
        return await (asking if self._server is None else self._server.guard(asking))

    def stats(self) -> EngineStats:
        """Counters since the start; asks each server for its queue."""
        return replace(self._policy.stats(), queue_seconds=self._queues.seconds())

    def close(self) -> None:
        """Stop a server of our own."""
        if self._server is not None:
            self._server.close()


class VllmScorer:
    """A PPM served by vLLM in pooling mode; without an address a server is started.

    Args:
        model_dir: A one-label sequence classifier.
        name: Under which name it is served.
        config: Where, and how.

    Raises:
        ConfigError: vLLM is not installed here, or an address cannot be used.
        ModelError: The checkpoint is no step scorer.
    """

    def __init__(self, model_dir: Path, name: str, config: ScorerConfig) -> None:
        self._tokenizer, self._name = scorer_tokenizer(model_dir), name
        self._max_length = min(
            longest_input(self._tokenizer, model_dir),
            longest_served(model_dir, config.server_arguments, ours=not config.base_url),
        )
        self._server = None if config.base_url else ModelServer(model_dir, name, "pooling", config)
        asked = config.model_copy(update={"base_url": _addresses(self._server, config)})
        with _closed_on_error(self._server):
            addresses, self._secrets = read_addresses(asked, "scorer")
        self._spending = Spending()
        self._replicas = Replicas(
            [_without_version(each) for each in addresses],
            Transport(self._secrets, config.timeout_seconds),
            self._spending,
            asked,
            name,
            what="PPM server",
            models_path="/v1/models",
        )

    def wait(self) -> None:
        """Return once a server of our own answers. Raises: ModelError: It does not start."""
        if self._server is not None:
            self._server.wait()

    async def score(self, request: Score) -> tuple[float, ...]:
        """Score each candidate in [-1, 1]; equal candidates are computed once.

        Raises:
            EngineUnavailableError: No server answered for too long.
            EngineError: A server refused, has another model or answered nonsense, or our own keeps ending.
        """
        texts = list(dict.fromkeys(request.candidates))
        if not texts:
            return ()
        body = {
            "model": self._name,
            "task": "classify",
            "input": score_inputs(self._tokenizer, request, texts, self._max_length),
            "use_activation": False,  # the head's raw output: tanh is taken in one place
        }
        asking = self._replicas.ask("/pooling", body, home=request.question)
        address, reply = await (asking if self._server is None else self._server.guard(asking))
        if isinstance(reply, Failure):
            raise EngineError(f"the PPM server at {address.shown} refused a request with {reply.reason}")
        scores = dict(zip(texts, as_scores(self._read(address, reply.content, len(texts))), strict=True))
        return tuple(scores[candidate] for candidate in request.candidates)

    def close(self) -> None:
        """Stop a server of our own."""
        if self._server is not None:
            self._server.close()

    def _read(self, address: Address, content: Any, count: int) -> list[float]:  # noqa: ANN401 - any JSON
        try:
            rows = sorted(content["data"], key=lambda row: row["index"])
            found = [float(value) for row in rows for value in row["data"]]
        except (ValueError, KeyError, TypeError) as error:
            shown = self._secrets.hide(str(content))[:200]
            raise EngineError(
                f"the PPM server at {address.shown} answered {shown!r}, which is no list of scores"
            ) from error
        if len(found) != count:
            raise EngineError(
                f"the PPM server at {address.shown} answered {len(found)} scores for {count} steps; "
                "serve a one-label classifier with --runner pooling"
            )
        return found


@contextmanager
def _closed_on_error(server: ModelServer | None) -> Iterator[None]:
    """A client that cannot be made, for example with a key that nobody can send, leaves no server behind."""
    try:
        yield
    except BaseException:
        if server is not None:
            server.close()
        raise


def _without_version(address: Address) -> Address:
    """Where a server's own pages are, beside those of the OpenAI API."""
    url, shown = (each.removesuffix("/v1") for each in (address.url, address.shown))
    return replace(address, url=url, shown=shown)


def _addresses(server: ModelServer | None, config: PolicyConfig | ScorerConfig) -> tuple[str, ...]:
    return config.base_url if server is None else (server.url,)


def _tokenizer(model_dir: Path) -> Any:  # noqa: ANN401  # transformers is untyped
    from transformers import AutoTokenizer  # noqa: PLC0415 - heavy

    with loading(model_dir):
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        check_tags(tokenizer, model_dir)
        return tokenizer
