"""Which server is asked, how many requests at a time, and when again after it failed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.engines.openai.limit import AdaptiveLimit
from infra.engines.openai.models import ask_for_model
from infra.engines.openai.spending import NOTHING, UNKNOWN, Usage
from infra.engines.openai.transport import Answer, Failure, Kind
from rstar_core.errors import EngineError, EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from infra.engines.openai.addresses import Address
    from infra.engines.openai.spending import Spending
    from infra.engines.openai.transport import Transport
    from rstar_core.engine_config import ServerConfig

_POLL_SECONDS = 0.02
_MAX_PAUSE_SECONDS = 30.0
_MAX_ASKED_PAUSE_SECONDS = 300.0
_MAX_FAULTS = 5
"""How often a server may fail over one request while it answers others."""
_MAX_IN_A_ROW = 4
"""After so many failures without an answer in between it is not the requests."""


@dataclass(slots=True, eq=False)
class Replica:
    """One server as we know it. Times are of the event loops' clock, which is the same for all of them."""

    address: Address
    limit: AdaptiveLimit
    in_flight: int = 0
    failures: int = 0
    answers: int = 0
    quiet_until: float = 0.0
    is_known: bool = False
    is_trusted: bool = False
    is_set_aside: bool = False
    is_strict: bool = False

    def is_free(self, now: float) -> bool:
        """Whether it may be sent a request now."""
        return not self.is_set_aside and now >= self.quiet_until and self.in_flight < self.limit.value


@dataclass(slots=True, eq=False)
class _Place:
    """What one request holds until it ends: a place at a server, and the money that it may cost."""

    replica: Replica
    reserved: float
    usage: Usage = NOTHING


class Replicas:
    """Asks one of several servers of the same model; safe in many threads with an event loop each.

    Requests of one question go to the same server while it has room, because that server has the question's
    earlier steps in its prefix cache. A server that does not answer is left alone for a growing while and the
    others take over; when nobody answers, a request waits for `unavailable_seconds` from its first failure.
    A server that refuses fields which not every server knows, those in `optional`, is asked without them.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        transport: Transport,
        spending: Spending,
        config: ServerConfig,
        model: str,
        *,
        what: str = "policy server",
        models_path: str = "/models",
        optional: tuple[str, ...] = (),
    ) -> None:
        self._replicas = [Replica(each, AdaptiveLimit(config.max_concurrency)) for each in addresses]
        self._transport, self._spending, self._config = transport, spending, config
        self._model, self._what, self._models_path, self._optional = model, what, models_path, optional
        self._lock = threading.Lock()

    async def ask(
        self, path: str, body: dict[str, Any], home: str, most: float = 0.0
    ) -> tuple[Address, Answer | Failure]:
        """The answer and who gave it, or a failure of kind `REFUSED`, with which the caller deals.

        A request that may cost something is waited for even by a caller that is cancelled, so that its price
        is known; at most `timeout_seconds`, twice that at a server that is asked again without a field.

        Args:
            path: Below the servers' addresses.
            body: Of the request.
            home: Requests with the same value prefer the same server.
            most: What one try may cost.

        Raises:
            EngineUnavailableError: No server answered for too long, or one failed over this request alone.
            EngineStoppedError: The spending cap has no room for it.
            EngineError: A server has the wrong model.
        """
        loop = asyncio.get_running_loop()
        deadline, faults, attempts, last = float("inf"), 0, 0, None
        while True:
            place = await self._admit(most, home, deadline, last)
            replica, answers = place.replica, place.replica.answers
            try:
                reply = await self._exchange(place, path, body, again=attempts > 0)
            finally:
                self._leave(place)
            if isinstance(reply, Answer) or reply.kind is Kind.REFUSED:
                return replica.address, reply
            deadline = min(deadline, loop.time() + self._config.unavailable_seconds)
            attempts, last = attempts + 1, (replica, reply)
            if reply.is_ours:
                faults += replica.answers > answers
                if faults == _MAX_FAULTS:
                    raise self._unavailable(replica, reply, f"failed over one request {faults} times")
            if reply.kind is not Kind.GONE:  # else another server is asked at once
                await asyncio.sleep(_pause(attempts))

    async def _admit(
        self, most: float, home: str, deadline: float, last: tuple[Replica, Failure] | None
    ) -> _Place:
        """Wait until the cap has room for the request and a server too."""
        while not self._spending.reserve(most):  # noqa: ASYNC110 - many event loops, as in `_free`
            await asyncio.sleep(_POLL_SECONDS)
        try:
            return _Place(await self._free(home, deadline, last), most)
        except BaseException:
            self._spending.settle(most, NOTHING)
            raise

    def _leave(self, place: _Place) -> None:
        self._spending.settle(place.reserved, place.usage)
        with self._lock:
            place.replica.in_flight -= 1

    async def _free(self, home: str, deadline: float, last: tuple[Replica, Failure] | None) -> Replica:
        """Wait for a server with room and take a place there."""
        loop = asyncio.get_running_loop()
        order = sorted(self._replicas, key=lambda each: _distance(home, each.address.url))
        # Many event loops share the places: neither asyncio's primitives nor a waiting thread fit.
        while True:
            with self._lock:
                for replica in order:
                    if replica.is_free(loop.time()):
                        replica.in_flight += 1
                        return replica
            if last is not None and loop.time() > deadline and all(each.failures for each in order):
                waited = f"did not answer for {self._config.unavailable_seconds:g} s"
                raise self._unavailable(*last, waited, others=len(order) - 1)
            await asyncio.sleep(_POLL_SECONDS)

    async def _exchange(
        self, place: _Place, path: str, body: dict[str, Any], *, again: bool
    ) -> Answer | Failure:
        """One request to this server, before the first of which it has to show its models."""
        replica = place.replica
        sent_at = asyncio.get_running_loop().time()
        failure = await self._unknown_model(replica)
        if failure is None:
            sending = self._send(place, path, body, again=again)
            reply = await (_to_its_end(sending) if place.reserved else sending)
        else:
            reply = failure
        self._learn(replica, reply, sent_at)
        return reply

    async def _send(self, place: _Place, path: str, body: dict[str, Any], *, again: bool) -> Answer | Failure:
        """Send it and keep what it took, cancelled or not."""
        place.usage = UNKNOWN  # a server works on even if we end before it answers
        with self._spending.in_flight(again=again):
            reply = await self._post(place.replica, path, body)
        place.usage = _usage(reply)
        return reply

    async def _post(self, replica: Replica, path: str, body: dict[str, Any]) -> Answer | Failure:
        """One exchange, or a second one for the server that did not know an optional field."""
        if not replica.is_strict:
            reply = await self._transport.exchange(replica.address, path, body)
            if not (isinstance(reply, Failure) and reply.is_about(self._optional)):
                return reply
            replica.is_strict = True
        known = {name: value for name, value in body.items() if name not in self._optional}
        return await self._transport.exchange(replica.address, path, known)

    async def _unknown_model(self, replica: Replica) -> Failure | None:
        """Refuse a server with the wrong model; one that had the right one before is set aside instead.

        Raises:
            EngineError: It has the wrong model, and there is no reason to go on without it.
        """
        if replica.is_known:
            return None
        failure = await ask_for_model(self._transport, replica.address, self._model, self._models_path)
        if failure is None:
            replica.is_known = replica.is_trusted = True
            return None
        if failure.kind is not Kind.REFUSED:
            return failure
        sentence = f"the {self._what} at {replica.address.shown} is not used: {failure.reason}"
        if not replica.is_trusted:
            raise EngineError(sentence)
        replica.is_set_aside = True
        if all(each.is_set_aside for each in self._replicas):
            raise EngineError(sentence)
        logging.getLogger(__name__).warning("%s; the others go on", sentence)
        return Failure(Kind.GONE, failure.reason)

    def _learn(self, replica: Replica, reply: Answer | Failure, sent_at: float) -> None:
        """Adapt what the server gets next to what became of a request."""
        now = asyncio.get_running_loop().time()
        with self._lock:
            if isinstance(reply, Answer):
                replica.answers += 1
                replica.failures = 0
                replica.limit.went_well(replica.in_flight)
                return
            if reply.kind is Kind.REFUSED or sent_at < replica.quiet_until:
                return  # since this request was sent it is left alone already
            replica.failures += 1
            if reply.kind is Kind.BUSY:
                replica.limit.was_too_much(sent_at, now)
            if reply.status is None:
                # Whoever comes back there may be another server, with another model.
                replica.is_known = replica.is_strict = False
            pause = min(reply.retry_after or 0.0, _MAX_ASKED_PAUSE_SECONDS)
            if reply.kind is Kind.GONE or replica.failures >= _MAX_IN_A_ROW:
                pause = max(pause, _pause(replica.failures))
            replica.quiet_until = now + pause

    def _unavailable(
        self, replica: Replica, failure: Failure, what: str, others: int = 0
    ) -> EngineUnavailableError:
        beside = f", nor did the {others} others" if others else ""
        return EngineUnavailableError(
            f"the {self._what} at {replica.address.shown} {what} ({failure.reason}){beside}; "
            "check that it runs and rerun the same command"
        )


async def _to_its_end(work: Coroutine[Any, Any, Answer | Failure]) -> Answer | Failure:
    """Its result. If the caller is cancelled it ends all the same, unless its event loop ends before it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else hears of it
        raise


def _usage(reply: Answer | Failure) -> Usage:
    if isinstance(reply, Answer):
        return Usage.of(reply.content)
    return UNKNOWN if reply.may_cost else NOTHING


def _pause(attempts: int) -> float:
    """Seconds after so many failures: exponential, and not the same for all."""
    return random.uniform(0.5, 1.5) * min(2.0 ** min(attempts - 1, 10), _MAX_PAUSE_SECONDS)  # noqa: S311 - jitter


def _distance(home: str, url: str) -> bytes:
    """Rendezvous hashing: each question has an order of the servers; losing one moves only its own."""
    return hashlib.blake2b(f"{home}\0{url}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
