"""One HTTP exchange with one server, and what its end means: an answer, or a failure of one of four kinds.

This file knows nothing of replicas, repetition or what the bodies say.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import re
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from infra.engines.openai.addresses import Address, Secrets

_CONNECT_SECONDS = 10.0
_SHOWN_CHARACTERS = 300
_BUSY = {408, 409, 425, 429, 503}
_GONE = {502, 504}  # a gateway speaks for a server that is not there
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum model length|max_tokens must be at least 1, got 0",
    re.IGNORECASE,
)
"""How vLLM, SGLang, llama.cpp and OpenAI say it; each with a status of its own."""
_OURS = {httpx.UnsupportedProtocol, httpx.LocalProtocolError}  # what we would send is wrong: no server saw it
_UNSEEN = {*_OURS, httpx.ProxyError}
_WRONG_BODY = {400, 422}
_GIVEN_UP = {408, 504, 524}
"""Who answers waited in vain for the one who works on; other errors say that nothing was generated."""


class Kind(Enum):
    """What a failure says of the server, and so what is to be done."""

    GONE = "gone"
    """Nobody is there. Ask another one at once."""
    BUSY = "busy"
    """It is there and has too much to do. Ask later, and for less at a time."""
    BROKEN = "broken"
    """It took the request and failed over it. Ask again, but not for ever."""
    REFUSED = "refused"
    """It will say the same next time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of status 200.

    Attributes:
        content: The parsed JSON.
        headers: The reply's headers.
    """

    content: Any
    headers: httpx.Headers


@dataclass(frozen=True, slots=True)
class Failure:
    """No usable reply.

    Attributes:
        kind: What it says of the server.
        reason: A clause for a sentence: the status and the server's own words, or the connection's error.
        status: The HTTP status, or None.
        retry_after: Seconds for which the server asks not to be asked, or None.
        is_too_long: Whether the prompt is longer than the model's context.
        may_cost: Whether the server may have worked on the request, and bill it.
    """

    kind: Kind
    reason: str
    status: int | None = None
    retry_after: float | None = None
    is_too_long: bool = False
    may_cost: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it may be the request's fault: not where nobody is there, or they say to come later."""
        return self.kind is Kind.BROKEN or (self.kind is Kind.BUSY and self.status is None)

    def is_about(self, fields: tuple[str, ...]) -> bool:
        """Whether the server refuses what was sent, and names one of these fields of the body."""
        return self.status in _WRONG_BODY and any(each in self.reason for each in fields)


class Transport:
    """Exchanges JSON with servers; holds nothing between exchanges, so any thread's event loop may use it.

    Args:
        secrets: Sent with every request, and kept out of every reason.
        timeout_seconds: Limit of a whole exchange, however slowly it goes on.
    """

    def __init__(self, secrets: Secrets, timeout_seconds: float) -> None:
        self._secrets, self._seconds = secrets, timeout_seconds
        self._tls = httpx.create_ssl_context()  # 50 ms of CPU, so once and not per request

    async def exchange(self, address: Address, path: str, body: dict[str, Any] | None) -> Answer | Failure:
        """POST a body to `path` below the address, or GET it without one."""
        timeout = httpx.Timeout(self._seconds, connect=min(_CONNECT_SECONDS, self._seconds))
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpx.AsyncClient(
                    timeout=timeout,
                    verify=self._tls,
                    auth=address.auth,
                    trust_env=address.may_have_proxy,
                ) as client,
            ):
                response = await client.request(
                    "GET" if body is None else "POST",
                    f"{address.url}{path}",
                    json=body,
                    headers=self._secrets.headers,
                )
        except httpx.ConnectTimeout as error:
            return self._failure(Kind.GONE, error)
        except (TimeoutError, httpx.TimeoutException):
            return Failure(Kind.BUSY, f"no answer within {self._seconds:g} s", may_cost=True)
        except httpx.ConnectError as error:
            return self._failure(Kind.GONE, error)
        except httpx.HTTPError as error:
            kind = Kind.REFUSED if type(error) in _OURS else Kind.BROKEN
            return self._failure(kind, error, may_cost=type(error) not in _UNSEEN)
        return self._judge(response)

    def _judge(self, response: httpx.Response) -> Answer | Failure:
        status = response.status_code
        if status == httpx.codes.OK:
            try:
                return Answer(response.json(), response.headers)
            except ValueError:  # cut off on its way, or the page of a proxy
                text = self._short(response.text)
                return Failure(Kind.BROKEN, f"an answer that is no JSON: {text!r}", status, may_cost=True)
        is_too_long = bool(_TOO_LONG.search(response.text))
        words = self._short(_message(response.text))
        return Failure(
            Kind.REFUSED if is_too_long else _kind(status),
            f"status {status}" + (f": {words}" if words else ""),
            status,
            _retry_after(response.headers.get("Retry-After")),
            is_too_long,
            may_cost=status in _GIVEN_UP,
        )

    def _failure(self, kind: Kind, error: httpx.HTTPError, *, may_cost: bool = False) -> Failure:
        return Failure(kind, self._short(f"{type(error).__name__} {error}".strip()), may_cost=may_cost)

    def _short(self, text: str) -> str:
        """In one line, without secrets and not too long."""
        return self._secrets.hide(" ".join(text.split()))[:_SHOWN_CHARACTERS].rstrip(". ")


def _kind(status: int) -> Kind:
    if status in _BUSY:
        return Kind.BUSY
    if status in _GONE:
        return Kind.GONE
    return Kind.BROKEN if status >= httpx.codes.INTERNAL_SERVER_ERROR else Kind.REFUSED


def _message(text: str) -> str:
    """What the server says in words: OpenAI, vLLM and SGLang wrap it up in three different ways."""
    try:
        content = json.loads(text)
    except ValueError:
        return text
    for key in ("error", "message", "detail"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    return content if isinstance(content, str) else text


def _retry_after(value: str | None) -> float | None:
    """Seconds from the header, which gives them or a date; None if it gives neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())
