"""Packing, low-rank adapters, held-out loss and early stop of the policy's training, on a tiny model."""

import io
import json
from importlib.util import find_spec

import pytest

from infra.training import SftJob, run_training
from rstar_core.errors import TrainingError
from rstar_core.prompts import answer_step, output_block, question_piece
from rstar_core.tags import END_OF_CODE
from rstar_core.training_config import LoraConfig, SftConfig

pytestmark = pytest.mark.real


def job_of(base, folder, *, noise=False, **settings):
    """13 examples of very different lengths; with `noise` their answers cannot be known from the question."""
    folder.mkdir()
    rows = [
        {
            "problem_id": f"p{i}",
            "pieces": [question_piece(f"What is {i} + 1?" + " Think." * (i % 5))],
            "completion_pieces": [
                f"a = {i} + 1\nprint(a)\n{END_OF_CODE}\n" + output_block(str(i + 1)),
                answer_step(str(i * 7919 % 1009 if noise else i + 1)) * (1 + i % 3),
            ],
        }
        for i in range(13)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"batch_size": 8, "micro_batch_size": 4, "max_length": 512}
    config = SftConfig.model_validate({"num_epochs": 3, "learning_rate": 1e-3, **sizes, **settings})
    return SftJob(
        base_model=base, dataset=folder / "rows.jsonl", output=folder / "policy", seed=5, config=config
    )


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_packed_sequences_do_not_see_each_other(tiny_model, tmp_path):
    """Or the losses, and the weights that they lead to, would not be those of sequences alone."""
    padded = run_training(job_of(tiny_model, tmp_path / "padded"))
    packed = run_training(job_of(tiny_model, tmp_path / "packed", packing=True))
    losses = [[each.loss for each in result.curve] for result in (packed, padded)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert packed.metrics["num_tokens"] == padded.metrics["num_tokens"]
    start, ours, theirs = weights(tiny_model), weights(packed.model_dir), weights(padded.model_dir)
    assert all((ours[name] - theirs[name]).abs().max() < 2e-5 for name in ours)
    assert max((ours[name] - start[name]).abs().max() for name in ours) > 1e-3


def test_adapters_become_an_ordinary_model(tiny_model, tmp_path):
    pytest.importorskip("peft")
    from infra.models.layout import check_role

    lora = LoraConfig(rank=4, alpha=8)
    job = job_of(tiny_model, tmp_path / "lora", lora=lora, num_epochs=8, learning_rate=1e-2)
    result = run_training(job)
    assert result.curve[-1].loss < result.curve[0].loss - 0.1
    check_role(result.model_dir, "policy")
    start, after = weights(tiny_model), weights(result.model_dir)
    assert start.keys() == after.keys()
    changed = {name for name in after if (after[name] - start[name]).abs().max() > 1e-6}
    assert changed
    assert all(name.endswith("_proj.weight") for name in changed)  # embeddings and norms stay


def test_adapters_are_not_trained_with_weights_that_are_spread(monkeypatch):
    from infra.training.lora import adapters

    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TrainingError, match="whole copies of the weights"):
        adapters(LoraConfig())


def test_held_out_problems_measure_the_policy_and_do_not_train_it(tiny_model, tmp_path):
    """And the curve goes to TensorBoard, where it is installed."""
    result = run_training(job_of(tiny_model, tmp_path / "run", eval_fraction=0.3))
    assert result.metrics["num_examples"] + result.metrics["num_eval_examples"] == 13
    assert result.metrics["num_eval_examples"] > 0
    assert 0 < result.metrics["eval_loss"] < result.curve[0].loss
    assert 0 <= result.metrics["eval_token_accuracy"] <= 1
    if find_spec("tensorboard"):
        events = list((result.model_dir.parent / "policy.tensorboard").glob("events.out.tfevents.*"))
        assert sum(each.stat().st_size for each in events) > 1000


def test_training_ends_when_the_held_out_loss_no_longer_falls(tiny_model, tmp_path):
    settings = {"num_epochs": 40, "learning_rate": 3e-2, "eval_fraction": 0.3, "checkpoint_steps": 2}
    whole = run_training(job_of(tiny_model, tmp_path / "whole", noise=True, **settings))
    early = run_training(job_of(tiny_model, tmp_path / "early", noise=True, **settings, patience=2))
    assert len(early.curve) < len(whole.curve)
    assert early.metrics["eval_loss"] < whole.metrics["eval_loss"]
    assert whole.metrics["final_loss"] == whole.curve[-1].loss
    # twice no better, two steps each: the weights that are kept are those of at least four steps before
    assert early.metrics["final_loss"] in [each.loss for each in early.curve[:-4]]


def test_patience_needs_something_to_measure(tiny_model, tmp_path):
    with pytest.raises(ValueError, match="patience needs an eval_fraction"):
        SftConfig(patience=1)
    from infra.training.sft import train

    job = job_of(tiny_model, tmp_path / "run", eval_fraction=1e-9, patience=1)
    with pytest.raises(TrainingError, match="none of the 13 is held out"):
        train(job, tmp_path, io.StringIO())


@pytest.mark.parametrize("place", ["ours", "theirs"])
def test_only_our_own_curves_are_removed(tiny_model, tmp_path, monkeypatch, place):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "another experiment").write_text("years of work")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    if place == "theirs":
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(theirs))
    job = job_of(tiny_model, tmp_path / "run", num_epochs=1)
    ours = job.output.with_name("policy.tensorboard")
    ours.mkdir()
    (ours / "old curve").write_text("of another training at this place")
    run_training(job)
    assert (theirs / "another experiment").exists()
    assert not (ours / "old curve").exists()


def test_weights_that_are_no_numbers_are_not_kept(tiny_model, tmp_path):
    """The last step spoils them, so no loss tells."""
    import torch

    from infra.training.session import Reporter, run

    class Spoiling:
        model = torch.nn.Linear(2, 2)

        def train(self, **_):
            with torch.no_grad():
                self.model.weight[0, 0] = float("nan")

    job = job_of(tiny_model, tmp_path / "run")
    with pytest.raises(TrainingError, match="Weights are no numbers after the last step"):
        run(Spoiling(), Reporter(io.StringIO()), job=job, folder=tmp_path)
