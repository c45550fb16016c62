import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.engines.openai import OpenAIPolicy
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import ConfigError, EngineError, EngineUnavailableError
from rstar_core.prompts import render
from rstar_core.tags import STOP_TAGS
from rstar_core.types import Completion
from tests.unit.infra.completions_server import (
    ASK,
    KEY,
    KEY_VARIABLE,
    PATIENCE,
    Server,
    environment,
    good,
    policy_of,
    run,
)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def test_a_request_carries_everything_that_the_search_asked_for(server):
    server.replies = [(200, good())]
    run(policy_of(server).propose(ASK))
    path, body = server.requests[0]
    assert path == "/v1/completions"
    assert body == {
        "model": "tiny",
        "prompt": "".join(render(ASK.question, ASK.steps, "finetuned")),
        "n": 2,
        "seed": 7,
        "temperature": 0.8,
        "top_p": 0.95,
        "max_tokens": 64,
        "stop": list(STOP_TAGS),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
    }


def test_a_good_reply_becomes_completions_in_order_and_is_counted(server):
    usage = {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}}
    reply = good("a\n<end_of_step>", "b", **usage)
    reply["choices"][1]["finish_reason"] = "length"
    reply["choices"].reverse()
    server.replies = [(200, reply)]
    policy = policy_of(server)
    assert run(policy.propose(ASK)) == (
        Completion("a\n<end_of_step>", 5, finished=True),
        Completion("b", 4, finished=False),
    )
    stats = policy.stats()
    assert (stats.generated_tokens, stats.prompt_tokens, stats.reused_tokens) == (9, 10, 20)
    assert stats.busy_seconds > 0.0


def test_a_stop_tag_that_the_server_took_off_is_put_back(server):
    reply = good("a\n", "b\n<end_of_code>")
    reply["choices"][0]["stop_reason"] = "<end_of_step>"
    reply["choices"][1]["stop_reason"] = "<end_of_code>"
    server.replies = [(200, reply)]
    texts = [each.text for each in run(policy_of(server).propose(ASK))]
    assert texts == ["a\n<end_of_step>", "b\n<end_of_code>"]


def test_what_may_pass_is_tried_again(server):
    server.replies = [(500, "oops"), (429, "later"), (200, good())]
    assert len(run(policy_of(server).propose(ASK))) == 2
    assert len(server.requests) == 3
    assert server.requests[0] == server.requests[2]


def test_a_server_that_stays_overloaded_is_unavailable(server):
    server.replies = [(503, "busy")]
    with environment(KEY_VARIABLE, KEY):
        policy = policy_of(server, unavailable_seconds=60)
    complaint = r"did not answer for 60 s \(status 503: busy\); check that it runs"
    with pytest.raises(EngineUnavailableError, match=complaint) as failed:
        run(policy.propose(ASK))
    assert 4 <= len(server.requests) <= 12  # it was asked less and less often
    assert KEY not in str(failed.value)


def test_a_refused_connection_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers here
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        policy = OpenAIPolicy(
            "finetuned",
            PolicyConfig(engine="openai", base_url=url, timeout_seconds=PATIENCE, unavailable_seconds=60),
        )
        with pytest.raises(EngineUnavailableError, match=f"{url} did not answer .*ConnectError"):
            run(policy.propose(ASK))


def test_a_refused_request_is_not_tried_again_and_says_why(server):
    server.replies = [(400, "max_tokens is too large: 64")]
    with pytest.raises(EngineError, match="status 400: max_tokens is too large: 64") as refused:
        run(policy_of(server).propose(ASK))
    assert not isinstance(refused.value, EngineUnavailableError)
    assert "'tiny'" in str(refused.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_choices_than_asked_for_is_passed_on_for_the_search_to_count(server, count):
    server.replies = [
        (
            200,
            {
                "choices": good(*(f"{each}<end_of_step>" for each in "abc"))["choices"][:count],
                "usage": {"completion_tokens": 7},
            },
        )
    ]
    policy = policy_of(server)
    assert "".join(each.text[0] for each in run(policy.propose(ASK))) == "abc"[:count]
    assert policy.stats().generated_tokens == 7


@pytest.mark.parametrize(
    "refusal",
    [
        "maximum context length is 8",
        "the maximum model length of 8.",
        "context_length_exceeded",
        "max_tokens must be at least 1, got 0.",  # vLLM's words where the prompt fills the context exactly
    ],
)
def test_a_prompt_too_long_for_the_model_is_a_step_cut_before_its_first_token(server, refusal):
    server.replies = [(400, refusal)]
    assert run(policy_of(server).propose(ASK)) == (Completion("", 0, finished=False),) * 2
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        "<html>a proxy's page</html>",
        {"choices": [{"text": "no index"}] * 2},
        {"choices": [{"index": 0, "message": "chat"}, {"index": 1, "message": "chat"}]},
        {"choices": None},
        [],
    ],
)
def test_nonsense_is_an_engine_error(server, nonsense):
    server.replies = [(200, nonsense)]
    with pytest.raises(EngineError):
        run(policy_of(server, unavailable_seconds=60).propose(ASK))


def test_an_address_is_needed():
    with pytest.raises(ConfigError, match=r"policy\.base_url is missing"):
        OpenAIPolicy("finetuned", PolicyConfig(engine="openai"))


def test_the_key_comes_from_the_environment_and_stands_in_no_error(server):
    with environment(KEY_VARIABLE, KEY):
        policy = policy_of(server)
    server.replies = [(401, "who are you?")]
    with pytest.raises(EngineError) as refused:
        run(policy.propose(ASK))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in str(refused.value) + repr(policy)


def test_without_a_key_no_authorization_is_sent(server):
    server.replies = [(200, good())]
    run(policy_of(server).propose(ASK))
    assert "Authorization" not in server.headers[0]


def test_no_more_requests_are_in_flight_than_allowed(server):
    server.replies = [(200, good())]
    policy = policy_of(server, max_concurrency=2)

    async def four():
        server.gate.clear()
        tasks = [asyncio.create_task(policy.propose(ASK)) for _ in range(4)]
        await asyncio.to_thread(server.asked.wait, 10)
        await asyncio.sleep(30)  # 30 ms in which a third one could come
        in_flight = len(server.requests)
        server.gate.set()
        return in_flight, await asyncio.gather(*tasks)

    in_flight, replies = run(four())
    assert in_flight <= 2
    assert (len(replies), len(server.requests)) == (4, 4)


def test_a_request_cancelled_while_it_waits_gives_its_place_back(server):
    server.replies = [(200, good())]
    policy = policy_of(server, max_concurrency=1)

    async def story():
        server.gate.clear()
        first, second = (asyncio.create_task(policy.propose(ASK)) for _ in range(2))
        await asyncio.to_thread(server.asked.wait, 10)
        second.cancel()
        server.gate.set()
        await first
        return await policy.propose(ASK)

    assert len(run(story())) == 2


def test_requests_that_wait_do_not_keep_the_others_from_connecting(server):
    server.replies = [(200, good())]
    policy = policy_of(
        server, max_concurrency=1, base_url=f"http://localhost:{server.address.rpartition(':')[2]}/v1"
    )

    async def many():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        return await asyncio.gather(*(policy.propose(ASK) for _ in range(5)))

    assert len(run(many())) == 5
