"""Figures of this process for Prometheus, on request: `RSTAR_METRICS_PORT=9464` serves them at /metrics.

A scrape reads what engine, sandbox and answer check count anyway, and a round's state as its monitor last saw
it; only vLLM servers are asked for their queues, every few seconds.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.services import live_counts
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from infra.catalog.rows import ShardRow

_NUM_PORTS = 16
"""Each process of a machine serves its own figures, on the first free port from the one asked for."""
_COUNTERS = {
    "generated_tokens": ("rstar_generated_tokens", "Tokens sampled by the policy."),
    "prompt_tokens": ("rstar_prompt_tokens", "Prompt tokens computed."),
    "reused_tokens": ("rstar_reused_tokens", "Prompt tokens taken from a cache."),
    "busy_seconds": ("rstar_engine_busy_seconds", "Time with at least one request being worked on."),
    "requests": ("rstar_engine_requests", "Requests sent to policy servers, repetitions included."),
    "retries": ("rstar_engine_retries", "Requests that repeated one that had failed."),
    "cost": ("rstar_engine_cost", "Price of the tokens, in the currency of the configuration's prices."),
    "queue_seconds": ("rstar_engine_queue_seconds", "Time that requests waited inside policy servers."),
    "programs": ("rstar_programs", "Programs that the search asked for."),
    "programs_run": ("rstar_programs_run", "Programs that the sandbox ran; the others were remembered."),
    "answers": ("rstar_answers", "Answers that the search asked to be checked."),
    "answers_compared": ("rstar_answers_compared", "Answers that were compared; the others were remembered."),
}


@dataclass(frozen=True, slots=True)
class RoundState:
    """One round as its monitor last saw it.

    Attributes:
        shards: Search shards by status.
        coverage: Rows of the view `coverage`: tier, problems, solved.
    """

    shards: Mapping[str, int]
    coverage: Sequence[Mapping[str, Any]]


@dataclass(slots=True, eq=False)
class _Exporter:
    """What is served, and where; one a process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int | None = None
    rounds: dict[tuple[str, int], RoundState] = field(default_factory=dict)

    def collect(self) -> Iterator[Any]:
        """All figures as Prometheus wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - on request

        counts = live_counts()
        for key, (name, text) in _COUNTERS.items():
            yield CounterMetricFamily(name, text, value=counts.get(key, 0))
        labels = ("campaign", "round")
        shards = GaugeMetricFamily("rstar_shards", "Search shards by status.", labels=(*labels, "status"))
        tried = GaugeMetricFamily("rstar_problems", "Problems tried, by tier.", labels=(*labels, "tier"))
        solved = GaugeMetricFamily("rstar_problems_solved", "Problems solved.", labels=(*labels, "tier"))
        for (campaign, round_id), state in list(self.rounds.items()):
            which = (campaign, str(round_id))
            for status, count in state.shards.items():
                shards.add_metric((*which, status), count)
            for row in state.coverage:
                tried.add_metric((*which, row["tier"]), row["problems"])
                solved.add_metric((*which, row["tier"]), row["solved"])
        yield from (shards, tried, solved)


_EXPORTER = _Exporter()


def keep_round(
    campaign: str, round_id: int, shards: Sequence[ShardRow], coverage: Sequence[Mapping[str, Any]]
) -> None:
    """Remember a round's state for the next scrape."""
    statuses = Counter(row.status for row in shards)
    state = RoundState({name: statuses[name] for name in ("done", "running", "pending", "failed")}, coverage)
    _EXPORTER.rounds[campaign, round_id] = state


def serve_metrics() -> int | None:
    """Serve the figures of this process if RSTAR_METRICS_PORT asks for it; the port, or None.

    They are for this machine alone unless RSTAR_METRICS_HOST names another address. Only the first call acts.

    Raises:
        ConfigError: RSTAR_METRICS_PORT is no port, or none of the next 16 is free.
    """
    wanted = os.environ.get("RSTAR_METRICS_PORT", "")
    if not wanted:
        return None
    if not wanted.isdecimal() or not 0 < int(wanted) < 2**16:
        raise ConfigError(f"RSTAR_METRICS_PORT is '{wanted}'; give a port, for example 9464")
    with _EXPORTER.lock:
        if _EXPORTER.port is None:
            _EXPORTER.port = _listen(int(wanted), os.environ.get("RSTAR_METRICS_HOST", "127.0.0.1"))
        return _EXPORTER.port


def _listen(first: int, host: str) -> int:
    from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 - on request

    registry = CollectorRegistry()
    registry.register(_EXPORTER)
    reason: OSError | None = None
    for port in range(first, min(first + _NUM_PORTS, 2**16)):
        try:
            start_http_server(port, host, registry)
        except OSError as error:
            reason = error
        else:
            return port
    raise ConfigError(
        f"no port from {first} on can serve metrics at {host} (RSTAR_METRICS_PORT, RSTAR_METRICS_HOST): "
        f"{reason.strerror if reason else 'there is none'}"
    )
