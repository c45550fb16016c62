"""How vLLM is told what to serve."""

import json
from pathlib import Path

import pytest

from infra.serving import environment
from rstar_core.engine_config import PolicyConfig


def told(monkeypatch, folder, *, gpu, arguments=()):
    monkeypatch.setattr(environment, "has_gpu", lambda: gpu)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    config = PolicyConfig(engine="vllm", server_arguments=arguments)
    return environment.command(Path("python"), folder, "policy", "generate", ("127.0.0.1", 8000), config)


def named(command, option):
    return [each for each in command if each.startswith(f"--{option}")]


def test_without_a_gpu_the_model_runs_in_the_engines_process_and_a_prompt_is_read_at_once(
    monkeypatch, tmp_path
):
    command = told(monkeypatch, tmp_path, gpu=False)
    assert named(command, "distributed-executor-backend=vllm.v1.executor.uniproc")
    assert named(command, "max-model-len") == ["--max-model-len=2048"]
    assert "--no-enable-chunked-prefill" in command


@pytest.mark.parametrize("argument", ["--tensor-parallel-size=2", "-tp=2", "--pipeline_parallel_size=2"])
def test_a_model_in_several_parts_has_a_process_for_each(monkeypatch, tmp_path, argument):
    command = told(monkeypatch, tmp_path, gpu=False, arguments=(argument,))
    assert not named(command, "distributed-executor-backend")
    assert command[-1] == argument


def test_the_name_of_a_file_is_no_option(monkeypatch, tmp_path):
    command = told(monkeypatch, tmp_path, gpu=False, arguments=("--chat-template=/models/my-tp/x",))
    assert named(command, "distributed-executor-backend")


def test_on_a_gpu_vllm_decides(monkeypatch, tmp_path):
    command = told(monkeypatch, tmp_path, gpu=True)
    assert not named(command, "distributed-executor-backend")
    assert not named(command, "enforce-eager")


@pytest.mark.parametrize(
    ("gpu", "arguments", "ours", "longest"),
    [
        (True, (), True, 32768),
        (False, (), True, 8192),
        (False, (), False, 32768),
        (True, ("--max-model-len=1024",), True, 1024),
        (True, ("--max_model_len", "1024"), True, 1024),
        (True, ("--max-model-len=1024",), False, 32768),
    ],
)
def test_an_input_is_no_longer_than_the_server_takes(monkeypatch, tmp_path, gpu, arguments, ours, longest):
    monkeypatch.setattr(environment, "has_gpu", lambda: gpu)
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 32768}))
    assert environment.longest_served(tmp_path, arguments, ours=ours) == longest
