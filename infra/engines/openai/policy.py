"""What a request says, and how its reply is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.engines.openai.addresses import read_addresses
from infra.engines.openai.replicas import Replicas
from infra.engines.openai.spending import Spending, Usage
from infra.engines.openai.stop_tags import StopTags, with_tag
from infra.engines.openai.transport import Failure, Transport
from rstar_core.errors import EngineError
from rstar_core.prompts import PromptStyle, render
from rstar_core.tags import STOP_TAGS
from rstar_core.types import Completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.engines.base import EngineStats
    from infra.engines.openai.addresses import Address
    from infra.engines.openai.transport import Answer
    from rstar_core.engine_config import PolicyConfig
    from rstar_core.requests import Propose

    Encode = Callable[[tuple[str, ...]], str | list[int]]

_OF_VLLM: Final = {
    "include_stop_str_in_output": True,
    "skip_special_tokens": False,  # where the tags are special tokens they still belong to the text
}
"""Fields that OpenAI's own servers do not know."""


class OpenAIPolicy:
    """Policy over `POST {base_url}/completions` of one server or of several with the same model.

    Args:
        style: How a question and its steps become a prompt.
        config: Where the servers are, and what they serve.
        encode: From the pieces of a prompt to what is sent: their text, or token ids.
        spent: What the campaign has cost before, in the currency of the prices.

    Raises:
        ConfigError: The configuration names no address, or one that cannot be used.
    """

    def __init__(
        self, style: PromptStyle, config: PolicyConfig, encode: Encode = "".join, *, spent: float = 0.0
    ) -> None:
        addresses, self._secrets = read_addresses(config)
        self._style, self._model, self._encode = style, config.model, encode
        self._spending = Spending(
            input_price=config.price_per_million_input / 1e6,
            output_price=config.price_per_million_output / 1e6,
            cap=config.spending_cap,
            spent=spent,
        )
        transport = Transport(self._secrets, config.timeout_seconds)
        self._replicas = Replicas(
            addresses, transport, self._spending, config, config.model, optional=tuple(_OF_VLLM)
        )
        self._tags = StopTags(self._spending)

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """Sample candidates, waiting for servers that are away or have too much to do.

        Raises:
            EngineUnavailableError: No server answered for too long.
            EngineStoppedError: The spending cap has no room for the request, or a server takes stop tags off.
            EngineError: A server refused the request, has another model or answered nonsense.
        """
        prompt = self._encode(render(request.question, request.steps, self._style))
        body = {
            "model": self._model,
            "prompt": prompt,
            "n": request.num_candidates,
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            "stop": list(STOP_TAGS),
            **_OF_VLLM,
        }
        most = self._spending.price(_most_tokens(prompt), request.num_candidates * request.max_tokens)
        address, reply = await self._replicas.ask("/completions", body, request.question, most)
        if isinstance(reply, Failure):
            if reply.is_too_long:
                return (Completion("", 0, finished=False),) * request.num_candidates
            raise EngineError(
                f"the server at {address.shown} refused a request for model '{self._model}' "
                f"with {reply.reason}"
            )
        return self._read(address, reply)

    def stats(self) -> EngineStats:
        """Counters since the start."""
        return self._spending.stats

    def close(self) -> None:
        """Nothing is held between requests."""

    def _read(self, address: Address, answer: Answer) -> tuple[Completion, ...]:
        """As many completions as the server sent; the search knows how many it asked for."""
        try:
            choices = sorted(answer.content["choices"], key=lambda choice: choice["index"])
            texts = [with_tag(choice) for choice in choices]
            finished = [choice.get("finish_reason") == "stop" for choice in choices]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            shown = self._secrets.hide(str(answer.content))[:200]
            raise EngineError(
                f"the server at {address.shown} answered {shown!r}, which is no list of completions"
            ) from error
        usage = Usage.of(answer.content)
        self._spending.check_told(usage, address.shown)
        self._tags.check(choices, texts, address.shown)
        share, rest = divmod(usage.generated_tokens, max(1, len(texts)))  # counted for all choices together
        return tuple(
            Completion(text, share + (index < rest), ended)
            for index, (text, ended) in enumerate(zip(texts, finished, strict=True))
        )


def _most_tokens(prompt: str | list[int]) -> int:
    """A bound: a token is a byte at least, and a tokenizer puts at most two marks in front of a text."""
    if isinstance(prompt, str):
        return len(prompt.encode("utf-8", "surrogatepass")) + 2
    return len(prompt)
