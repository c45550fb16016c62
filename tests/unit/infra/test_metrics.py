"""Metrics on request: a real scrape of this process."""

import asyncio
import socket
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra import metrics
from infra.catalog.rows import ShardRow
from infra.services import PolicySpec, close_services, open_services
from rstar_core.config import SandboxConfig
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import ConfigError
from rstar_core.requests import Grade, Propose

SHARD = ShardRow(
    round_id=2, shard_id="s", kind="search", attempt=1, status="done", num_problems=1, problem_ids=("p",)
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process that serves nothing yet."""
    monkeypatch.setattr(metrics, "_EXPORTER", metrics._Exporter())


@pytest.fixture
def port(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    monkeypatch.setenv("RSTAR_METRICS_PORT", str(number))
    return number


def scrape(port):
    """Values by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_nothing_is_served_unless_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("RSTAR_METRICS_PORT", raising=False)
    assert metrics.serve_metrics() is None


def test_a_scrape_shows_what_this_process_did_and_how_far_the_round_is(port):
    close_services()  # other tests' engines count too
    assert metrics.serve_metrics() == metrics.serve_metrics() == port
    before = scrape(port)
    services = open_services(
        PolicySpec("base", "", "finetuned", PolicyConfig(engine="scripted")), SandboxConfig()
    )
    try:
        request = Propose("How many?", (), 3, 7, 0.8, 0.95, 64)
        words = sum(each.num_tokens for each in asyncio.run(services.policy.propose(request)))
        for _ in range(2):
            asyncio.run(services.grader.grade(Grade(("1", "2"), "1")))
        coverage = [{"tier": "gsm", "problems": 5, "solved": 3}]
        metrics.keep_round("demo", 2, [SHARD, replace(SHARD, status="failed"), SHARD], coverage)
        seen = scrape(port)
    finally:
        close_services()
    assert before["rstar_generated_tokens_total",] == 0
    assert seen["rstar_generated_tokens_total",] == words > 0
    assert (seen["rstar_answers_total",], seen["rstar_answers_compared_total",]) == (4, 2)
    assert seen["rstar_shards", "2", "demo", "done"] == 2
    assert seen["rstar_shards", "2", "demo", "failed"] == 1
    assert seen["rstar_shards", "2", "demo", "running"] == 0
    assert seen["rstar_problems", "2", "demo", "gsm"] == 5
    assert seen["rstar_problems_solved", "2", "demo", "gsm"] == 3


def test_a_second_process_takes_the_next_port(port):
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert port < metrics.serve_metrics() < port + 16


@pytest.mark.parametrize(
    ("wanted", "host", "says"),
    [("many", "127.0.0.1", "RSTAR_METRICS_PORT is 'many'"), ("9464", "203.0.113.1", "serve metrics at 203")],
)
def test_what_cannot_be_served_is_a_sentence(monkeypatch, wanted, host, says):
    monkeypatch.setenv("RSTAR_METRICS_PORT", wanted)
    monkeypatch.setenv("RSTAR_METRICS_HOST", host)
    with pytest.raises(ConfigError, match=says):
        metrics.serve_metrics()
