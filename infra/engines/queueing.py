"""How long requests waited inside vLLM servers, as their Prometheus pages say."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.engines.openai.addresses import Address

_METRIC = "vllm:request_queue_time_seconds"
_TIMEOUT_SECONDS = 2.0
_FRESH_SECONDS = 3.0


class QueueTimes:
    """Seconds that requests spent in the queues of some servers since this was made.

    They are asked at most every few seconds. One that does not answer, or is none of vLLM, adds nothing; one
    that was started again counts from 0; what others ask of a shared server counts too.

    Args:
        addresses: Of the servers, without `/v1`.
        ours: Whether they are started by us; of others what they had counted before is left out.
    """

    def __init__(self, addresses: Sequence[Address], *, ours: bool) -> None:
        self._addresses = addresses
        self._lock = threading.Lock()
        self._total, self._asked_at = 0.0, -math.inf
        self._last: dict[str, float] = dict.fromkeys((each.url for each in addresses), 0.0) if ours else {}
        if not ours:
            self.seconds()

    def seconds(self) -> float:
        """The sum over all requests and servers."""
        with self._lock:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                for address in self._addresses:
                    self._ask(address)
                self._asked_at = time.monotonic()
            return self._total

    def _ask(self, address: Address) -> None:
        found = _read(address)
        if found is None:
            return
        before = self._last.get(address.url, found)
        self._total += found - before if found >= before else found
        self._last[address.url] = found


def _read(address: Address) -> float | None:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - for vLLM alone

    try:
        page = httpx.get(
            f"{address.url}/metrics",
            auth=address.auth,
            timeout=_TIMEOUT_SECONDS,
            trust_env=address.may_have_proxy,
        )
        page.raise_for_status()
        families = [each for each in text_string_to_metric_families(page.text) if each.name == _METRIC]
    except (httpx.HTTPError, ValueError):
        return None
    sums = [sample.value for each in families for sample in each.samples if sample.name == f"{_METRIC}_sum"]
    return sum(sums) if sums else None
