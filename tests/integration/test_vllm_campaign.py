"""`rstar run configs/vllm_cpu.toml`: rounds whose policies and PPM are real models on real vLLM servers."""

import json

import psutil
import pytest

from infra.serving.environment import find_python
from rstar_core.errors import ConfigError
from tests.integration.conftest import PROJECT

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]


def test_a_campaign_runs_on_vllm_from_its_first_step_to_its_evaluation(served_process, served_cli, tmp_path):
    try:
        find_python()
    except ConfigError:
        pytest.skip("vLLM is not installed; `make vllm-cpu` does that")
    summary = tmp_path / "summary.json"
    config = PROJECT / "configs" / "vllm_cpu.toml"
    ran = served_process("run", config, "--root", tmp_path, "--summary", summary, timeout=1400)
    assert ran.returncode == 0, ran.stderr
    campaign = tmp_path / "vllm-cpu"

    def ask(query):
        return json.loads(served_cli.answer("sql", query, "-c", campaign, "--json"))

    (scored,) = ask("SELECT count(*) AS n, count(prior) AS scored FROM nodes WHERE round_id = 2")
    assert scored["scored"] > 0
    models = {row["model_id"] for row in ask("SELECT model_id FROM models")}
    assert {"round-1/policy", "round-1/ppm"} <= models
    detail = ask("SELECT detail FROM stages WHERE stage = 'search' ORDER BY round_id")
    for row in detail:
        figures = row["detail"] if isinstance(row["detail"], dict) else json.loads(row["detail"])
        assert figures["generated_tokens"] > 0
        assert figures["reused_tokens"] > figures["prompt_tokens"]
    assert not [each for each in psutil.process_iter(["cmdline"]) if _is_vllm(each)]


def _is_vllm(process):
    return "vllm.entrypoints.openai.api_server" in (process.info["cmdline"] or ())
