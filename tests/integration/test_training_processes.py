"""Training by two processes on a CPU, joined by gloo, through `accelerate launch` as it is shipped."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from infra.training import PpmJob, SftJob, run_training
from rstar_core.errors import TrainingError
from rstar_core.prompts import answer_step, output_block, question_piece
from rstar_core.tags import END_OF_CODE
from rstar_core.training_config import PpmConfig, SftConfig

pytestmark = pytest.mark.real
CONFIGS = Path(__file__).parents[2] / "infra" / "deploy" / "accelerate"
TWO = (
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--config_file",
    str(CONFIGS / "cpu_two.yaml"),
)


SINGLE = (*TWO[:-1], str(CONFIGS / "single.yaml"))


def sft_rows(count):
    """Solutions of very different lengths, with an executor's output that has no label."""
    return [
        {
            "problem_id": f"p{i}",
            "pieces": [question_piece(f"What is {i} + 1?" + " Think." * (i % 5))],
            "completion_pieces": [
                f"a = {i} + 1\nprint(a)\n{END_OF_CODE}\n" + output_block(str(i + 1)),
                answer_step(str(i + 1)) * (1 + i % 3),
            ],
        }
        for i in range(count)
    ]


def pair_rows(count):
    """Groups of four pairs with weights of their own."""
    return [
        {
            "problem_id": f"p{i}",
            "group": f"p{i}:1",
            "prefix_pieces": [question_piece(f"What is {i} + 1?" + " Think." * (i % 5))],
            "positive_pieces": [positive],
            "negative_pieces": [negative],
            "weight": 0.25 * (1 + i % 3),
        }
        for i in range(count)
        for positive in (f"a = {i} + 1\n", f"b = {i} + 1\n")
        for negative in (f"a = {i} - 1\n", f"c = {i} * 1\n")
    ]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def job_of(kind, base, folder, *, batch_size=8):
    """A short training on a set that no batch divides: 13 examples, or 43 pairs in groups of 4."""
    folder.mkdir()
    common = {"num_epochs": 3, "learning_rate": 1e-3, "batch_size": batch_size, "max_length": 512}
    shared = {"base_model": base, "output": folder / kind, "seed": 5}
    if kind == "sft":
        rows, config = sft_rows(13), SftConfig(**common, micro_batch_size=2)
        return SftJob(dataset=write_rows(folder / "rows.jsonl", rows), config=config, **shared)
    rows, config = pair_rows(12)[:-5], PpmConfig(**common, micro_batch_size=2, eval_fraction=0.2)
    return PpmJob(dataset=write_rows(folder / "rows.jsonl", rows), config=config, **shared)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", ["sft", "ppm"])
def test_two_processes_train_what_one_does_with_the_same_global_batch(kind, tiny_model, tmp_path):
    told = []
    one = run_training(job_of(kind, tiny_model, tmp_path / "one"))
    two = run_training(job_of(kind, tiny_model, tmp_path / "two"), on_progress=told.append, launcher=TWO)
    assert [point.step for point in told] == [point.step for point in two.curve]  # rank 0 alone reports
    assert len(two.curve) == len(one.curve) > 5
    for alone, shared in zip(one.curve, two.curve, strict=True):
        assert shared.loss == pytest.approx(alone.loss, rel=1e-5)
        assert shared.learning_rate == alone.learning_rate
    start, first, second = weights(tiny_model), weights(one.model_dir), weights(two.model_dir)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert (tensor - second[name]).abs().max() < 2e-5, name
    moved = max((tensor - start[name]).abs().max().item() for name, tensor in first.items() if name in start)
    assert moved > 1e-3  # or nothing was compared
    # The accuracy is a mean over batches, and two processes cut the same examples into other batches.
    same = {name for name, value in one.metrics.items() if value is not None}
    same -= {"peak_memory_mb", "num_tokens", "token_accuracy"}
    assert {name: two.metrics[name] for name in same} == pytest.approx(
        {name: one.metrics[name] for name in same}, rel=1e-4
    )


@pytest.mark.parametrize("launcher", [SINGLE, TWO], ids=["one process", "two processes"])
def test_a_launcher_does_not_hide_why_a_training_failed(tiny_model, tmp_path, launcher):
    job = SftJob(
        base_model=tiny_model,
        dataset=write_rows(
            tmp_path / "rows.jsonl", [{**row, "pieces": row["pieces"] * 40} for row in sft_rows(4)]
        ),
        output=tmp_path / "policy",
        seed=1,
        config=SftConfig(max_length=64),
    )
    with pytest.raises(TrainingError, match="failed: All 4 examples are longer than max_length = 64"):
        run_training(job, launcher=launcher)
    assert not job.output.exists()


@pytest.mark.parametrize("launcher", [SINGLE, TWO], ids=["one process", "two processes"])
def test_a_trainer_that_is_killed_under_a_launcher_is_out_of_memory(tiny_model, tmp_path, launcher):
    def kill(_):
        for each in psutil.Process().children(recursive=True):
            if "infra.training.sft" in each.cmdline() and "accelerate.commands.launch" not in each.cmdline():
                each.kill()

    job = SftJob(
        base_model=tiny_model,
        dataset=write_rows(tmp_path / "rows.jsonl", sft_rows(8)),
        output=tmp_path / "policy",
        seed=1,
        config=SftConfig(batch_size=4, micro_batch_size=2, num_epochs=400, max_length=512),
    )
    with pytest.raises(TrainingError, match="ran out of memory"):
        run_training(job, on_progress=kill, launcher=launcher)
