"""Several servers behind one policy: what each failure of one of them leads to."""

import asyncio
import socket
from dataclasses import replace

import pytest
from pydantic import ValidationError

from infra.configuration import parse_config
from infra.engines.openai.addresses import read_addresses
from infra.engines.openai.limit import AdaptiveLimit
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import ConfigError, EngineError, EngineUnavailableError
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

GOOD = (200, good(prompt_tokens=100, completion_tokens=10))


@pytest.fixture(autouse=True)
def patient_connections(monkeypatch):
    """Ten seconds of a fast loop are too few to connect when the machine is busy."""
    monkeypatch.setattr("infra.engines.openai.transport._CONNECT_SECONDS", PATIENCE)


@pytest.fixture
def servers():
    servers = [Server(), Server()]
    for each in servers:
        each.replies = [GOOD]
    yield servers
    for each in servers:
        each.close()


def questions(count):
    return [replace(ASK, question=f"Question {number}?") for number in range(count)]


def ask(policy, asks):
    async def all_of_them():
        return await asyncio.gather(*(policy.propose(each) for each in asks))

    return run(all_of_them())


def homes(servers):
    return [{body["prompt"] for _, body in each.requests} for each in servers]


def test_questions_are_shared_out_and_each_stays_where_its_prefix_is_cached(servers):
    policy = policy_of(*servers)
    for _ in range(3):
        ask(policy, questions(24))
    one, other = homes(servers)
    assert not one & other
    assert min(len(one), len(other)) >= 4


def test_a_full_server_passes_its_questions_on(servers):
    policy = policy_of(*servers, max_concurrency=1)

    async def two():
        for each in servers:
            each.gate.clear()
        tasks = [asyncio.create_task(policy.propose(ASK)) for _ in range(2)]
        for each in servers:
            await asyncio.to_thread(each.asked.wait, 10)
            each.gate.set()
        return await asyncio.gather(*tasks)

    run(two())
    assert [len(each.requests) for each in servers] == [1, 1]


def test_one_of_two_dies_and_the_other_does_all_until_it_is_back(servers):
    policy = policy_of(*servers)
    ask(policy, questions(24))
    port = servers[0].port
    servers[0].close()
    before = len(servers[1].requests)
    assert len(ask(policy, questions(24))) == 24
    assert len(servers[1].requests) - before == 24
    servers[0] = Server(port)
    servers[0].replies = [GOOD]
    for _ in range(20):
        run(asyncio.sleep(60))
        ask(policy, questions(24))
        if servers[0].requests:
            break
    assert servers[0].requests, "it is back and nobody asks it"


def test_all_are_away_and_the_error_names_one_and_counts_the_others():
    with socket.socket() as one, socket.socket() as other:
        urls = []
        for each in (one, other):
            each.bind(("127.0.0.1", 0))  # bound but not listening
            urls.append(f"http://127.0.0.1:{each.getsockname()[1]}")
        policy = policy_of(base_url=urls, unavailable_seconds=30)
        with pytest.raises(EngineUnavailableError, match=r"did not answer for 30 s .*nor did the 1 others"):
            run(policy.propose(ASK))


def test_a_server_that_is_late_is_waited_for(servers):
    port = servers[0].port
    servers[0].close()
    policy = policy_of(servers[0])

    async def late():
        task = asyncio.create_task(policy.propose(ASK))
        await asyncio.sleep(100)
        server = Server(port)
        server.replies = [GOOD]
        try:
            return await task
        finally:
            server.close()

    assert len(run(late())) == 2


def test_the_wrong_model_is_refused_at_once_and_those_that_are_there_are_named(servers):
    servers[1].models = ["large", "huge"]
    policy = policy_of(*servers)
    with pytest.raises(EngineError, match=r"it serves large, huge, not tiny") as refused:
        ask(policy, questions(24))
    assert servers[1].url in str(refused.value)
    assert not servers[1].requests


def test_a_server_that_comes_back_with_another_model_is_set_aside(servers, caplog):
    policy = policy_of(*servers)
    ask(policy, questions(24))
    port = servers[0].port
    servers[0].close()
    ask(policy, questions(24))
    servers[0] = Server(port)
    servers[0].replies, servers[0].models = [GOOD], ["huge"]
    for _ in range(20):
        run(asyncio.sleep(60))
        assert len(ask(policy, questions(24))) == 24
        if caplog.records:
            break
    assert "it serves huge, not tiny" in caplog.text
    assert not servers[0].requests


def test_a_server_without_a_list_of_models_is_taken_at_its_word(servers):
    servers[0].models = None
    assert len(run(policy_of(servers[0]).propose(ASK))) == 2


def test_a_server_is_asked_again_when_it_says(servers):
    servers[0].replies = [(429, "slow down", {"Retry-After": "100"}), GOOD]
    policy = policy_of(servers[0])

    async def timed():
        loop = asyncio.get_running_loop()
        started = loop.time()
        await policy.propose(ASK)
        return loop.time() - started

    assert run(timed()) >= 100


def test_one_request_that_breaks_a_server_is_given_up_while_others_are_answered(servers):
    """The server fails over one prompt only; the others go on and do not wait for it."""
    policy = policy_of(servers[0])
    poison = "Poison?"
    answer = servers[0].replies[0]

    class Replies(list):
        def __len__(self):
            return 1

        def __getitem__(self, _):
            return (500, "oops") if poison in servers[0].requests[-1][1]["prompt"] else answer

    servers[0].replies = Replies()

    async def beside():
        bad = asyncio.create_task(policy.propose(replace(ASK, question=poison)))
        count = 0
        while not bad.done():
            await policy.propose(ASK)
            count += 1
        with pytest.raises(EngineUnavailableError, match=r"failed over one request 5 times \(status 500"):
            await bad
        return count

    assert run(beside()) >= 5


def test_the_limit_falls_when_a_server_has_too_much_and_rises_again():
    limit = AdaptiveLimit(10)
    assert limit.value == 10
    limit.was_too_much(sent_at=1, now=2)
    limit.was_too_much(sent_at=1.5, now=3)  # sent before the limit was cut: it says nothing new
    assert limit.value == 7
    for now in range(4, 40):
        limit.was_too_much(sent_at=now, now=now)
    assert limit.value == 1
    limit.went_well(in_flight=0)
    assert limit.value == 1
    for _ in range(1000):
        limit.went_well(in_flight=limit.value)
    assert limit.value == 10


def addresses(*urls):
    return read_addresses(
        PolicyConfig(
            engine="openai",
            base_url=urls,
        )
    )


def test_an_address_takes_its_host_from_the_environment_and_hides_its_password():
    with environment("RSTAR_TEST_LOGIN", "me:p%40ss"):
        (address,), secrets = addresses("http://$RSTAR_TEST_LOGIN@gpu-7:8000/v1/")
    assert address.url == "http://gpu-7:8000/v1"
    assert address.auth is not None
    assert "p@ss" not in repr(address) + repr(secrets)
    assert secrets.hide("is it p@ss or p%40ss?") == "is it ... or ...?"


@pytest.mark.parametrize(
    ("urls", "complaint"),
    [
        (("http://$RSTAR_NOT_SET/v1",), r"\$RSTAR_NOT_SET is not set"),
        (("gpu-host:8000/v1",), "no address"),
        (("ftp://gpu-host/v1",), "no address of a web server"),
        (("http://a/v1", "http://a/v1/"), "names http://a/v1 twice"),
        (
            ("http://a/$RSTAR_TEST_QUERY",),
            r"is http://a/\$RSTAR_TEST_QUERY, and its variables bring in a '\?'",
        ),
        (("$RSTAR_TEST_QUERY@x:y",), "is …@x:y, which is no address"),
    ],
)
def test_what_is_no_address_is_said(urls, complaint):
    with environment("RSTAR_TEST_QUERY", "v1?key=sk-1"), pytest.raises(ConfigError, match=complaint):
        addresses(*urls)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"base_url": "http://me:s3cret@a/v1"}, "environment variable and write"),
        ({"base_url": "http://$ME:s3cret@a/v1"}, "environment variable and write"),
        ({"base_url": "me:s3cret@a/v1"}, "environment variable and write"),
        ({"base_url": "http://a/v1?api-key=s3cret"}, "end it before that, and put a key"),
        ({"base_url": "http://a/v1#s3cret"}, "end it before that, and put a key"),
        ({"api_key_env": "sk-s3cret"}, "is no name of an environment variable"),
    ],
)
def test_a_secret_in_a_configuration_is_refused_unshown(setting, complaint):
    with pytest.raises(ConfigError, match=complaint) as refused:
        parse_config(
            {"name": "x", "sources": [{"kind": "builtin"}], "rounds": [{}], "policy": setting},
            origin="x.toml",
        )
    with pytest.raises(ValidationError) as raw:
        PolicyConfig(**setting)
    assert "s3cret" not in str(refused.value) + str(raw.value)


def test_what_a_variable_brings_into_a_path_is_shown_by_its_name(servers):
    servers[0].replies = [(401, "no such tenant: s3cret%2Fx, or s3cret/x here")]
    port = servers[0].port
    given = f"http://127.0.0.1:{port}/tenants/$RSTAR_TEST_TENANT/v1"
    servers[0].models = None
    with (
        environment("RSTAR_TEST_TENANT", "s3cret%2Fx"),
        pytest.raises(EngineError, match=r"no such tenant: \.\.\., or \.\.\. here") as refused,
    ):
        run(policy_of(base_url=given).propose(ASK))
    assert given in str(refused.value)
    with environment("RSTAR_TEST_URL", "http://gpu-7:8000/s3cret/v1"):
        (address,), secrets = addresses("$RSTAR_TEST_URL")
    assert address.url == "http://gpu-7:8000/s3cret/v1"
    assert secrets.hide("/s3cret/v1") == "/.../v1"
    assert "s3cret" not in repr(address) + repr(secrets)


def test_a_variable_that_was_chosen_for_the_key_has_to_be_set():
    config = PolicyConfig(engine="openai", base_url="http://a/v1", api_key_env=KEY_VARIABLE)
    with pytest.raises(
        ConfigError, match=rf"\${KEY_VARIABLE} that policy\.api_key_env names is not set; export"
    ):
        read_addresses(config)
    odd = config.model_copy(update={"api_key_env": "hf_s3cret"})  # a name by its form
    with pytest.raises(ConfigError, match="the variable that policy") as refused:
        read_addresses(odd)
    assert "s3cret" not in str(refused.value)
    with environment(KEY_VARIABLE, KEY):
        assert read_addresses(config)[1].key == KEY


def test_a_key_that_a_server_repeats_is_in_no_error(servers):
    servers[0].replies = [(401, f"I do not know {KEY} at all")]
    with (
        environment(KEY_VARIABLE, KEY),
        pytest.raises(EngineError, match=r"I do not know \.\.\. at all") as refused,
    ):
        run(policy_of(servers[0]).propose(ASK))
    assert KEY not in str(refused.value)
