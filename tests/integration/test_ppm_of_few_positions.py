"""Inputs that are longer than a model has positions are cut alike in training, in process and for vLLM."""

import asyncio
import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from infra.engines.vllm import VllmScorer
from infra.ppm import TransformersScorer, longest_input, pack_request, score_inputs
from infra.training import PpmJob, run_training
from infra.training.tiny import write_tiny_model
from rstar_core.engine_config import ScorerConfig
from rstar_core.prompts import question_piece
from rstar_core.requests import Score
from rstar_core.training_config import PpmConfig
from tests.unit.infra.completions_server import Server

POSITIONS = 48
REQUEST = Score("How many are 3 and 4?", ("a = 3\n<end_of_step>\n",) * 3, ("b = 4\n", "a + 4\n" * 9))


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("policy"), positions=POSITIONS)


@pytest.fixture(scope="module")
def ppm_dir(policy_dir, tmp_path_factory):
    """A PPM that was trained, so its tokenizer says, with more tokens than it has positions."""
    folder = tmp_path_factory.mktemp("ppm")
    model = AutoModelForSequenceClassification.from_pretrained(policy_dir, num_labels=1)
    torch.nn.init.normal_(model.score.weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def server():
    server = Server()
    server.models = ["ppm"]
    server.replies = [(200, {"data": [{"index": number, "data": [0.5]} for number in range(2)]})]
    yield server
    server.close()


def test_in_process_and_for_a_server_inputs_are_cut_alike(ppm_dir, server):
    in_process = TransformersScorer(ppm_dir)
    served = VllmScorer(ppm_dir, "ppm", ScorerConfig(engine="vllm", base_url=server.url))
    try:
        asyncio.run(served.score(REQUEST))
        rows = pack_request(in_process._tokenizer, REQUEST, REQUEST.candidates, in_process._max_length)
    finally:
        served.close()
        in_process.close()
    ((_, asked),) = server.requests
    assert asked["input"] == [row.ids for row in rows]
    assert [len(ids) for ids in asked["input"]] == [POSITIONS, POSITIONS]
    whole = score_inputs(in_process._tokenizer, REQUEST, REQUEST.candidates, 10**6)
    assert asked["input"] == [ids[-POSITIONS:] for ids in whole]


@pytest.mark.real
def test_a_training_cuts_there_too_and_says_so_to_who_scores(policy_dir, tmp_path):
    row = {
        "problem_id": "p",
        "group": "p:1",
        "prefix_pieces": [question_piece("What is 1 + 1?" + " Think." * 9)],
        "positive_pieces": ["a = 1 + 1\n"],
        "negative_pieces": ["a = 1 - 1\n"],
        "weight": 1.0,
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    config = PpmConfig(num_epochs=1, batch_size=1, micro_batch_size=1, max_length=512, eval_fraction=0.0)
    job = PpmJob(
        base_model=policy_dir, dataset=tmp_path / "rows.jsonl", output=tmp_path / "ppm", seed=1, config=config
    )
    trained = run_training(job)
    assert trained.metrics["num_tokens"] == 2 * POSITIONS
    tokenizer = AutoTokenizer.from_pretrained(trained.model_dir)
    assert tokenizer.model_max_length == longest_input(tokenizer, trained.model_dir) == POSITIONS
