"""What every engine tells of itself, and the life of an engine that several tasks share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters since the engine started.

    Attributes:
        generated_tokens: Tokens sampled.
        prompt_tokens: Prompt tokens computed.
        reused_tokens: Prompt tokens taken from a cache.
        busy_seconds: Time with at least one request being worked on.
        requests: Requests sent to a server, repetitions included.
        retries: Those of them that repeated one that had failed.
        cost: Price of the tokens, in the currency of the configuration's prices.
        queue_seconds: Time that all requests together waited inside the servers, where these say it.
    """

    generated_tokens: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    busy_seconds: float = 0.0
    requests: int = 0
    retries: int = 0
    cost: float = 0.0
    queue_seconds: float = 0.0


class Closable(Protocol):
    """Something that holds threads, processes or memory."""

    def close(self) -> None:
        """Give everything back."""


ServiceT = TypeVar("ServiceT", bound=Closable)


class SharedServices:
    """At most one live service of each role in this process, shared by all shards.

    A model fills memory, so asking for another one of the same role closes the one before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services: dict[str, tuple[Hashable, Closable]] = {}

    def get(self, role: str, key: Hashable, build: Callable[[], ServiceT]) -> ServiceT:
        """The service of `role` built for `key`, building it now if there is none."""
        with self._lock:
            held = self._services.get(role)
            if held is not None and held[0] == key:
                return cast("ServiceT", held[1])
            if held is not None:
                del self._services[role]
                held[1].close()
            service = build()
            self._services[role] = (key, service)
            return service

    def held(self, role: str) -> Closable | None:
        """The service of `role`, if there is one; never waits for one that is being built."""
        held = self._services.get(role)
        return None if held is None else held[1]

    def close(self, *roles: str) -> None:
        """Close the services of these roles; of all roles if none is named."""
        with self._lock:
            for role in roles or tuple(self._services):
                held = self._services.pop(role, None)
                if held is not None:
                    held[1].close()
