"""Servers of our own that hang or keep ending, with a small program in vLLM's place."""

import asyncio
import os
import re
import signal
import time
from dataclasses import replace

import httpx
import psutil
import pytest

from infra.engines.vllm import VllmPolicy, VllmScorer
from infra.serving import ModelServer
from infra.serving.server import Times
from rstar_core.engine_config import PolicyConfig, ScorerConfig
from rstar_core.errors import ConfigError, EngineError, ModelError
from tests.integration.conftest import CommandProcess, until
from tests.integration.stand_in_server import write_stand_in

SHORT = Times(start=20, between_checks=0.1, answer=0.5, max_silent=3, grace=0.5, calm=60, pause=0.05)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    def write(*, life=0.0):
        program = write_stand_in(tmp_path, life=life)
        monkeypatch.setenv("RSTAR_VLLM_PYTHON", str(program.python))
        return program

    return write


@pytest.fixture
def serve():
    servers = []

    def start(program, times=SHORT, **settings):
        config = PolicyConfig(engine="vllm")
        server = ModelServer(program.model, "small", "generate", config, times=times, **settings)
        servers.append(server)
        return server

    yield start
    for each in servers:
        each.close()
        each.log.unlink(missing_ok=True)


def test_a_server_that_hangs_is_ended_with_its_helpers_and_started_again(stand_in, serve, caplog):
    program = stand_in()
    server = serve(program)
    server.wait()
    (first,) = program.starts()
    os.kill(first[0], signal.SIGSTOP)
    until(lambda: len(program.starts()) == 2)
    until(server._answers)
    server.check()
    assert not set(first) & set(program.living())
    assert re.search(r"vLLM with small did not answer for \d s and is started again", caplog.text)


def test_a_server_that_is_slow_now_and_then_is_left_alone(stand_in, serve):
    program = stand_in()
    server = serve(program, replace(SHORT, max_silent=6))
    server.wait()
    ((process, _),) = program.starts()
    for _ in range(4):  # two answers are missing each time
        os.kill(process, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(process, signal.SIGCONT)
        time.sleep(1)
    assert len(program.starts()) == 1


def test_a_server_that_keeps_ending_is_given_up(stand_in, serve, caplog):
    program = stand_in(life=1.0)
    server = serve(program)
    server.wait()

    async def ask():
        await server.guard(asyncio.sleep(60))

    sentence = r"^vLLM keeps ending with small: RuntimeError: out of luck \(its log is /"
    with pytest.raises(EngineError, match=sentence):
        asyncio.run(ask())
    with pytest.raises(EngineError, match=sentence):
        server.check()
    assert len(program.starts()) == 4
    assert caplog.text.count("vLLM with small has ended and is started again") == 3
    assert program.living() == []


def test_what_a_server_was_asked_has_ended_when_its_guard_returns(stand_in, serve):
    server = serve(stand_in())
    server.wait()
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            ended.append("the request")

    async def leave():
        asking = asyncio.ensure_future(server.guard(work()))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking})
        ended.append("its guard")

    asyncio.run(leave())
    assert ended == ["the request", "its guard"]


def test_a_server_that_keeps_hanging_is_given_up(stand_in, serve):
    program = stand_in()
    server = serve(program)
    server.wait()
    for number in range(1, 5):
        until(lambda number=number: len(program.starts()) == number and server._answers())
        os.kill(program.starts()[-1][0], signal.SIGSTOP)
    until(lambda: server._failure is not None)
    with pytest.raises(
        EngineError, match=r"^vLLM keeps hanging with small: it did not answer for \d+ s \(its"
    ):
        server.check()
    assert program.living() == []


def test_a_server_that_never_answers_is_ended(stand_in, serve):
    program = stand_in()
    program.python.write_text("#!/bin/sh\nexec sleep 600\n")
    server = serve(program, Times(start=0.5, between_checks=0.1))
    with pytest.raises(ModelError, match=r"^vLLM does not start with small: it did not answer for 1 s"):
        server.wait()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_server_of_our_own_is_behind_no_proxy(stand_in, serve, monkeypatch, name):
    for each in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    serve(stand_in()).wait()


def test_rstar_serve_says_that_it_starts_a_server_again(stand_in, request):
    program = stand_in()
    line = CommandProcess(VLLM_API_KEY="secret")
    request.addfinalizer(line.close)
    command = line.start("serve", "policy", program.model)
    while "base_url" not in command.stdout.readline():
        assert command.poll() is None, command.stderr.read()
    assert command.stdout.readline() == 'api_key_env = "VLLM_API_KEY"\n'
    os.kill(program.starts()[0][0], signal.SIGKILL)
    said = command.stderr.readline()
    assert said.strip() == f"vLLM with {program.model} has ended and is started again"
    command.send_signal(signal.SIGTERM)
    command.communicate(timeout=60)
    assert program.living() == []


def test_a_client_that_cannot_be_made_leaves_no_server_behind(stand_in, tiny_model, monkeypatch):
    program = stand_in()
    monkeypatch.setenv("OPENAI_API_KEY", "ключ")
    engine = {"engine": "vllm"}
    with pytest.raises(ConfigError, match="that no HTTP header can carry"):
        VllmPolicy(tiny_model, "small", "finetuned", PolicyConfig(**engine))
    ppm = scorer_of(tiny_model, program.model.parent / "ppm")
    with pytest.raises(ConfigError, match="that no HTTP header can carry"):
        VllmScorer(ppm, "small", ScorerConfig(**engine))
    assert program.living() == []
    assert not supervisors()


def supervisors():
    """Those that this process has started; other tests may have other helpers."""
    ours = (
        each.info for each in psutil.process_iter(["ppid", "cmdline"]) if each.info["ppid"] == os.getpid()
    )
    return [each for each in ours if any("supervised.py" in part for part in each["cmdline"] or ())]


def scorer_of(policy, folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(policy).save_pretrained(folder)
    return folder


def test_a_key_for_vllm_is_for_servers_that_others_ask(stand_in, serve, monkeypatch):
    """We send another, or none; `rstar serve` may be open to a network."""
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    program = stand_in()
    ours, theirs = serve(program), serve(program, keyed=True)
    for server, status in ((ours, 200), (theirs, 401)):
        server.wait()
        assert httpx.get(f"{server.url}/models", trust_env=False).status_code == status
    known = {"Authorization": "Bearer secret"}
    assert httpx.get(f"{theirs.url}/models", trust_env=False, headers=known).status_code == 200
