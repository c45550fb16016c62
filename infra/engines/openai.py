"""Any OpenAI-compatible completions server as a policy: vLLM first.

The factory talks plain HTTP, so the server keeps its own environment and its own torch.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx

from infra.engines.base import EngineStats
from rstar_core.errors import ConfigError, EngineError, EngineUnavailableError
from rstar_core.prompts import PromptStyle, render
from rstar_core.tags import STOP_TAGS
from rstar_core.types import Completion

if TYPE_CHECKING:
    from rstar_core.config import PolicyConfig
    from rstar_core.requests import Propose

_ATTEMPTS = 5
_SLOT_POLL_SECONDS = 0.02
_PROMPT_TOO_LONG = re.compile(r"context[ _](?:length|size|window)|maximum model length", re.IGNORECASE)
"""How vLLM, SGLang, llama.cpp and OpenAI say it; each with a status of its own."""
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}


class OpenAIPolicy:
    """Policy over `POST {base_url}/completions`.

    Raises:
        ConfigError: The configuration names no address.
    """

    def __init__(self, style: PromptStyle, config: PolicyConfig) -> None:
        if config.base_url is None:
            raise ConfigError(
                "policy.engine is 'openai' but policy.base_url is missing; give the server's address"
            )
        self._style, self._config = style, config
        self._url = config.base_url.rstrip("/")
        key = os.environ.get(config.api_key_env)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._tls = httpx.create_ssl_context()  # 50 ms of CPU, so once and not per request
        self._slots = threading.Semaphore(config.max_concurrency)
        self._lock = threading.Lock()
        self._stats = EngineStats()
        self._in_flight = 0
        self._busy_since = 0.0

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """Sample candidates, retrying what may pass with jittered back-off.

        Raises:
            EngineUnavailableError: The server stayed unreachable or overloaded.
            EngineError: The server refused the request or answered nonsense.
        """
        body = {
            "model": self._config.model,
            "prompt": "".join(render(request.question, request.steps, self._style)),
            "n": request.num_candidates,
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            "stop": list(STOP_TAGS),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,  # where the tags are special tokens they still belong to the text
        }
        # Requests of many event loops share the slots: neither asyncio's primitives nor a waiting thread fit.
        while not self._slots.acquire(blocking=False):  # noqa: ASYNC110  # see above
            await asyncio.sleep(_SLOT_POLL_SECONDS)
        self._begin()
        try:
            reply = await self._post(body)
        finally:
            self._slots.release()
            self._end()
        if reply.is_error:
            return (Completion("", 0, finished=False),) * request.num_candidates
        return self._read(reply)

    def stats(self) -> EngineStats:
        """Counters since the start."""
        return self._stats

    def close(self) -> None:
        """Nothing is held between requests."""

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        """One request, tried again while its failure is one that can pass.

        The reply is an error only where the prompt is too long for the model.
        """
        failure = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0.5, 1.5) * 2 ** (attempt - 1))  # noqa: S311 - jitter
            try:
                async with httpx.AsyncClient(
                    timeout=self._config.timeout_seconds, verify=self._tls
                ) as client:
                    response = await client.post(f"{self._url}/completions", json=body, headers=self._headers)
            except httpx.HTTPError as error:
                failure = f"{type(error).__name__} {error}".strip()
                continue
            if response.status_code in _PASSING:
                failure = f"status {response.status_code}"
                continue
            if response.is_error and not _PROMPT_TOO_LONG.search(response.text):
                raise EngineError(
                    f"the server at {self._url} refused a request for model '{body['model']}' "
                    f"with status {response.status_code}: {response.text[:300]}"
                )
            return response
        raise EngineUnavailableError(
            f"the server at {self._url} did not answer after {_ATTEMPTS} attempts ({failure}); "
            "check that it runs and rerun the same command"
        )

    def _read(self, response: httpx.Response) -> tuple[Completion, ...]:
        """As many completions as the server sent; the search knows how many it asked for."""
        try:
            reply = response.json()
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            texts = [_with_tag(choice) for choice in choices]
            finished = [choice.get("finish_reason") == "stop" for choice in choices]
            usage = reply.get("usage") or {}
            total = int(usage.get("completion_tokens", 0))
            prompt = int(usage.get("prompt_tokens", 0))
            cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(
                f"the server at {self._url} answered {response.text[:200]!r}, which is no list of completions"
            ) from error
        with self._lock:
            old = self._stats
            self._stats = EngineStats(
                old.generated_tokens + total,
                old.prompt_tokens + prompt - cached,
                old.reused_tokens + cached,
                old.busy_seconds,
            )
        share, rest = divmod(total, max(1, len(texts)))  # the server counts tokens of all choices together
        return tuple(
            Completion(text, share + (index < rest), ended)
            for index, (text, ended) in enumerate(zip(texts, finished, strict=True))
        )

    def _begin(self) -> None:
        with self._lock:
            if self._in_flight == 0:
                self._busy_since = time.perf_counter()
            self._in_flight += 1

    def _end(self) -> None:
        with self._lock:
            self._in_flight -= 1
            if self._in_flight == 0:
                old = self._stats
                busy = old.busy_seconds + time.perf_counter() - self._busy_since
                self._stats = EngineStats(old.generated_tokens, old.prompt_tokens, old.reused_tokens, busy)


def _with_tag(choice: dict[str, Any]) -> str:
    """The text with its stop tag: vLLM keeps it on request, other servers only say which one it was."""
    text, reason = str(choice["text"]), choice.get("stop_reason")
    return text + reason if isinstance(reason, str) and not text.endswith(reason) else text
