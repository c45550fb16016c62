"""What is counted as spent, and that a cap is never exceeded: by real requests to a small real server."""

import asyncio
import socket
from dataclasses import replace

import pytest
from pydantic import ValidationError

from infra.engines.openai.spending import NOTHING, UNKNOWN, Spending, Usage
from infra.services import PolicySpec, close_models, close_services, counts, open_services
from rstar_core.config import SandboxConfig
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import EngineStoppedError, EngineUnavailableError
from tests.unit.infra.completions_server import ASK, Server, good, policy_of, run

PER_TOKEN = {"price_per_million_output": 1e6}
MOST = ASK.num_candidates * ASK.max_tokens
"""What a request costs at most where a generated token costs 1."""


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def replies(tokens):
    return [(200, good(prompt_tokens=100, completion_tokens=tokens))]


def ask_many(policy, count):
    """What each of so many requests at a time came to: completions or an error."""

    async def all_of_them():
        asks = [policy.propose(replace(ASK, question=f"Question {number}?")) for number in range(count)]
        return await asyncio.gather(*asks, return_exceptions=True)

    return run(all_of_them())


def test_requests_wait_for_what_others_leave_and_stop_when_nobody_can_leave_anything():
    spending = Spending(output_price=1.0, cap=10.0)
    assert spending.reserve(4.0)
    assert spending.reserve(4.0)
    assert not spending.reserve(4.0)
    spending.settle(4.0, Usage(generated_tokens=1, is_told=True))
    assert spending.reserve(4.0)
    spending.settle(4.0, UNKNOWN)
    spending.settle(4.0, NOTHING)
    assert spending.stats.cost == 5.0
    assert spending.reserve(5.0)
    spending.settle(5.0, NOTHING)
    with pytest.raises(
        EngineStoppedError, match=r"cost 5\.00, another request may cost 5\.50, and spending_cap"
    ):
        spending.reserve(5.5)
    with pytest.raises(EngineStoppedError, match=r"another request may cost 5\.50"):
        spending.reserve(1.0)  # stopped is stopped


def test_a_cap_is_not_exceeded_by_the_requests_in_flight(server):
    server.replies = replies(MOST)  # every one costs what it may
    policy = policy_of(server, **PER_TOKEN, spending_cap=3.5 * MOST)
    answers = ask_many(policy, 12)
    assert sum(isinstance(each, tuple) for each in answers) == len(server.requests) == 3
    assert all(isinstance(each, tuple | EngineStoppedError) for each in answers)
    assert policy.stats().cost == 3 * MOST


def test_what_short_replies_leave_is_spent_by_others(server):
    server.replies = replies(MOST / 8)
    policy = policy_of(server, **PER_TOKEN, spending_cap=3 * MOST)
    answers = ask_many(policy, 40)
    assert 3 * MOST - MOST < policy.stats().cost <= 3 * MOST
    assert sum(isinstance(each, tuple) for each in answers) == len(server.requests) == 17


def test_an_engine_that_is_opened_again_counts_on_from_what_the_campaign_has_cost(server):
    server.replies = replies(MOST)
    config = PolicyConfig(
        engine="openai", model="tiny", base_url=server.url, **PER_TOKEN, spending_cap=3.5 * MOST
    )
    spec, cost = PolicySpec("base", "tiny", "finetuned", config), 0.0
    try:
        for _ in range(2):  # as two runs, or one that has trained meanwhile
            services = open_services(spec, SandboxConfig(), None, cost)
            again = open_services(spec, SandboxConfig(), None, cost + 99)
            assert again.policy is services.policy  # it is there, and has counted itself
            ask_many(services.policy, 2)
            cost += counts(services)["cost"]
            close_models()
    finally:
        close_services()
    assert cost == 3 * MOST
    assert len(server.requests) == 3


def test_a_prompt_is_paid_for_too(server):
    server.replies = replies(10)
    prices = {"price_per_million_input": 10_000.0, "price_per_million_output": 100_000.0}
    policy = policy_of(server, **prices, spending_cap=17.0)
    run(policy.propose(ASK))
    assert policy.stats().cost == pytest.approx(2.0)
    assert (policy.stats().requests, policy.stats().retries) == (1, 0)
    ask_many(policy, 1)
    complaint = r"has cost 4\.00, another request may cost 13\.\d\d, and spending_cap is 17\.00; raise it"
    with pytest.raises(EngineStoppedError, match=complaint):
        run(policy.propose(ASK))


def test_a_request_that_nobody_answered_in_time_counts_at_its_most(server):
    server.replies = replies(1)
    server.gate.clear()
    policy = policy_of(server, **PER_TOKEN, spending_cap=1.5 * MOST, timeout_seconds=300, max_concurrency=1)
    with pytest.raises(EngineStoppedError, match=r"has cost 128\.00"):
        run(policy.propose(ASK))
    assert len(server.requests) == 1
    server.gate.set()


@pytest.mark.parametrize(
    ("reply", "cost"),
    [((200, "cut off on its w"), MOST), ((504, "gateway"), MOST), ((500, "oops"), 0), ((429, "later"), 0)],
)
def test_what_may_have_been_generated_counts_and_what_was_refused_does_not(server, reply, cost):
    server.replies = [reply, *replies(1)]
    policy = policy_of(server, **PER_TOKEN)
    run(policy.propose(ASK))
    assert policy.stats().cost == cost + 1


def test_a_request_that_reached_nobody_costs_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        policy = policy_of(base_url=url, **PER_TOKEN, spending_cap=1.5 * MOST, unavailable_seconds=60)
        with pytest.raises(EngineUnavailableError):
            run(policy.propose(ASK))
    assert policy.stats().cost == 0


@pytest.mark.parametrize("prices", [PER_TOKEN, {}])
def test_a_reply_that_is_paid_for_counts_even_if_its_caller_was_cancelled(server, prices):
    server.replies = replies(7)
    policy = policy_of(server, **prices)

    async def story():
        await policy.propose(ASK)
        server.gate.clear()
        server.asked.clear()
        asking = asyncio.create_task(policy.propose(ASK))
        await asyncio.to_thread(server.asked.wait, 10)
        asking.cancel()
        asking.cancel()
        await asyncio.sleep(20)
        waits = not asking.done()
        server.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return waits

    assert run(story()) is bool(prices)
    assert policy.stats().cost == (14 if prices else 0)
    assert len(run(policy.propose(ASK))) == 2  # its place is free again


def test_an_event_loop_that_ends_waits_for_nothing_and_counts_the_most(server):
    server.replies = replies(7)
    policy = policy_of(server, **PER_TOKEN, max_concurrency=1)

    async def leaves():
        server.gate.clear()
        task = asyncio.create_task(policy.propose(ASK))
        await asyncio.to_thread(server.asked.wait, 10)
        return task

    run(leaves())
    server.gate.set()
    assert policy.stats().cost == MOST
    assert len(run(policy.propose(ASK))) == 2


def test_a_cap_needs_a_server_that_counts(server):
    server.replies = [(200, good())]
    policy = policy_of(server, **PER_TOKEN, spending_cap=5 * MOST)
    for _ in range(2):
        with pytest.raises(EngineStoppedError, match="does not say how many tokens"):
            run(policy.propose(ASK))
    assert len(server.requests) == 1


def test_a_cap_needs_prices():
    with pytest.raises(ValidationError, match="nothing costs anything; give the prices"):
        PolicyConfig(spending_cap=1.0)
