import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.models.layout import missing_parts
from infra.training import PpmJob, SftJob, run_training
from infra.training.job import RECORD_FILE
from rstar_core.errors import TrainingError
from rstar_core.prompts import answer_step, output_block, question_piece
from rstar_core.requests import Score
from rstar_core.tags import END_OF_CODE, END_OF_STEP
from rstar_core.training_config import PpmConfig, SftConfig

pytestmark = pytest.mark.real
TEST_MODEL = Path(os.environ.get("RSTAR_TEST_MODEL", "no-model"))


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    from infra.training.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("policy"))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sft_rows(count=16):
    return [
        {
            "problem_id": f"p{i}",
            "pieces": [question_piece(f"What is {i} + 1?")],
            "completion_pieces": [
                f"a = {i} + 1\n{END_OF_STEP}\n",
                f"print(a)\n{END_OF_CODE}\n" + output_block(str(i + 1)),
                answer_step(str(i + 1)),
            ],
        }
        for i in range(count)
    ]


def pair_rows(count=24):
    return [
        {
            "problem_id": f"p{i}",
            "group": f"p{i}:1",
            "prefix_pieces": [question_piece(f"What is {i} + 1?")],
            "positive_pieces": [positive],
            "negative_pieces": [negative],
            "weight": 0.25,
            "depth": 1,
            "final": False,
        }
        for i in range(count)
        for positive in (f"a = {i} + 1\n", f"b = {i} + 1\n")
        for negative in (f"a = {i} - 1\n", f"c = {i} * 1\n")
    ]


def sft_job(policy_dir, folder, **changes):
    settings = {
        "num_epochs": 6,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "micro_batch_size": 4,
        "max_length": 512,
    }
    return SftJob(
        base_model=policy_dir,
        dataset=write_rows(folder / "sft.jsonl", sft_rows()),
        output=folder / "policy-r1",
        seed=1,
        config=SftConfig(**{**settings, **changes}),
    )


def test_fine_tuning_lowers_the_loss_and_its_model_loads_again(policy_dir, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told = []
    job = sft_job(policy_dir, tmp_path)
    result = run_training(job, on_progress=told.append)
    assert len(result.curve) == len(told) == told[-1].total_steps == 12
    assert result.curve[-1].loss < result.curve[0].loss - 1
    assert result.metrics["num_examples"] == 16
    assert result.metrics["num_dropped_too_long"] == 0
    assert result.tokens_per_second > 0
    model = AutoModelForCausalLM.from_pretrained(result.model_dir)
    assert str(model.dtype) == "torch.float32"
    assert AutoTokenizer.from_pretrained(result.model_dir).eos_token == "<|im_end|>"
    assert run_training(job) == result


def ppm_job(policy_dir, folder, **changes):
    return PpmJob(
        base_model=policy_dir,
        dataset=write_rows(folder / "pairs.jsonl", pair_rows()),
        output=folder / "ppm-r1",
        seed=1,
        config=PpmConfig(learning_rate=1e-2, batch_size=16, max_length=128, eval_fraction=0.0, **changes),
    )


@pytest.mark.parametrize(("make", "epochs"), [(sft_job, 6), (ppm_job, 2)])
def test_a_training_that_was_cut_off_goes_on_from_its_newest_whole_checkpoint(
    policy_dir, tmp_path, make, epochs
):
    """The same losses as in a training that nobody disturbed, over the ends of epochs too.

    It goes on with smaller forward passes, as after it ran out of memory.
    """

    class CutOffError(Exception):
        pass

    def stop_at_step_9(point):
        if point.step == 9:
            raise CutOffError

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run_training(make(policy_dir, tmp_path / "whole", num_epochs=epochs))
    job = make(policy_dir, tmp_path / "cut", num_epochs=epochs, checkpoint_steps=5)
    with pytest.raises(CutOffError):
        run_training(job, on_progress=stop_at_step_9)
    torn = job.output.with_name(f"{job.output.name}.partial") / "trainer" / "checkpoint-9"
    torn.mkdir(parents=True, exist_ok=True)
    (torn / "trainer_state.json").write_text('{"log_history": [')
    told, eighth = [], torn.with_name("checkpoint-8")
    smaller = make(policy_dir, tmp_path / "cut", num_epochs=epochs, micro_batch_size=2, checkpoint_steps=4)

    def look(point):
        told.append(point)
        assert point.step != 10 or eighth.exists()  # the new distance of checkpoints counts

    result = run_training(smaller, on_progress=look)
    assert told[0].step == 6  # in the middle of an epoch
    assert [point.step for point in result.curve] == list(range(1, 13))
    losses = [[point.loss for point in each.curve] for each in (result, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # sums in another order
    tokens = [each.metrics["num_tokens"] for each in (result, whole)]
    # pairs of one pass encode what they share once, so smaller passes of pairs have more tokens
    assert tokens[0] == tokens[1] if make is sft_job else tokens[0] > tokens[1]
    assert result.tokens_per_second < 10 * whole.tokens_per_second
    assert not (result.model_dir / "trainer").exists()


def test_a_preference_model_learns_and_is_served_as_it_was_trained(policy_dir, tmp_path):
    from infra.ppm import TransformersScorer

    job = PpmJob(
        base_model=policy_dir,
        dataset=write_rows(tmp_path / "pairs.jsonl", pair_rows()),
        output=tmp_path / "ppm-r1",
        seed=1,
        config=PpmConfig(
            num_epochs=12,
            learning_rate=1e-2,
            batch_size=16,
            micro_batch_size=4,
            max_length=128,
            eval_fraction=0.25,
        ),
    )
    result = run_training(job)
    assert result.curve[0].loss == pytest.approx(0.693147, abs=1e-4)  # all scores are 0 at the start
    assert result.curve[-1].loss < 0.4
    assert result.metrics["num_pairs"] + result.metrics["num_eval_pairs"] == 96
    assert result.metrics["pair_accuracy"] > 0.9
    assert result.metrics["mean_margin"] > 0.5
    assert result.metrics["pair_accuracy_depth_1"] == result.metrics["pair_accuracy"]
    assert result.metrics["pairs_depth_1"] == result.metrics["num_eval_pairs"]
    assert result.metrics["score_spread"] > 0.5
    scorer = TransformersScorer(result.model_dir)
    try:
        asked = Score(question="What is 99 + 1?", steps=(), candidates=("a = 99 + 1\n", "a = 99 - 1\n"))
        good, bad = scorer.score_batch([asked])[0]
    finally:
        scorer.close()
    assert 1 >= good > bad >= -1


def test_the_loss_on_a_cpu_is_that_of_trl(policy_dir, tmp_path):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    from infra.training.examples import encode_sft
    from infra.training.job import SftRow
    from infra.training.policy_trainer import PolicyTrainer
    from infra.training.session import LengthSortedBatches

    tokenizer = AutoTokenizer.from_pretrained(policy_dir)
    tokenizer.pad_token_id = 0
    examples = [encode_sft(tokenizer, SftRow.model_validate(row)) for row in sft_rows(12)[8:]]
    rows = [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    trainer = PolicyTrainer(
        order=LengthSortedBatches([1] * 4, list("abcd"), batch_size=4, seed=0),
        longest=max(len(example.input_ids) for example in examples),
        model=AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32),
        args=TrlConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.model.train()
    batch, count = trainer.data_collator(rows), torch.tensor(100)
    ours = trainer.compute_loss(trainer.model, batch, num_items_in_batch=count)
    theirs = SFTTrainer.compute_loss(trainer, trainer.model, dict(batch), num_items_in_batch=count)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    accuracies = trainer._metrics["train"]["mean_token_accuracy"]
    assert accuracies[0] == pytest.approx(accuracies[1])


def test_without_held_out_problems_the_accuracy_is_unknown_and_not_zero(policy_dir, tmp_path):
    from infra.training.ppm import train

    job = PpmJob(
        base_model=policy_dir,
        dataset=write_rows(tmp_path / "pairs.jsonl", pair_rows(1)),
        output=tmp_path / "ppm-r1",
        seed=1,
        config=PpmConfig(learning_rate=1e-3, batch_size=16, eval_fraction=0.0),
    )
    train(job, tmp_path, io.StringIO())
    metrics = json.loads((tmp_path / RECORD_FILE).read_text())["metrics"]
    assert metrics["pair_accuracy"] is None
    assert metrics["num_eval_pairs"] == 0


def test_a_training_set_of_which_nothing_fits_is_a_sentence(policy_dir, tmp_path):
    from infra.training.sft import train

    with pytest.raises(TrainingError, match="All 16 examples are longer than max_length = 64 tokens"):
        train(sft_job(policy_dir, tmp_path, max_length=64), tmp_path, io.StringIO())


@pytest.mark.parametrize("make", [sft_job, ppm_job])
def test_a_loss_that_is_no_number_ends_the_training_and_nothing_is_left_under_its_name(
    policy_dir, tmp_path, make
):
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(policy_dir, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    job = make(base, tmp_path)
    with pytest.raises(
        TrainingError, match=r"failed: The loss became nan at step 1; lower the learning rate"
    ):
        run_training(job)
    assert not job.output.exists()


def test_a_tokenizer_that_cannot_spell_the_tags_trains_nothing(policy_dir, tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    base = shutil.copytree(policy_dir, tmp_path / "base")
    letters = Tokenizer(models.BPE(vocab={"?": 0, "a": 1}, merges=[], unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="?").save_pretrained(base)
    with pytest.raises(TrainingError, match=r"failed: The tokenizer in .* cannot spell <code>"):
        run_training(sft_job(base, tmp_path))
    assert not (tmp_path / "policy-r1").exists()


def test_a_trainer_does_not_outlive_the_process_that_started_it(policy_dir, tmp_path):
    job = sft_job(policy_dir, tmp_path, num_epochs=100_000)
    job_file = tmp_path / "copy.json"
    job_file.write_text(job.model_dump_json())
    program = (
        "import sys, pathlib; from infra.training import *; "
        "job = SftJob.model_validate_json(pathlib.Path(sys.argv[1]).read_bytes()); "
        "run_training(job, on_progress=lambda p: print(p.step, flush=True))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(job_file)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    parent.stdout.readline()
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.communicate()
    assert len(children) == 1
    deadline = time.monotonic() + 10
    while running(children[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(children[0])


def running(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(
    bool(missing_parts(TEST_MODEL)),
    reason="the embedded model is absent (RSTAR_TEST_MODEL names no model directory)",
)
def test_the_real_model_learns_from_two_examples_in_two_steps(tmp_path):
    job = SftJob(
        base_model=TEST_MODEL,
        dataset=write_rows(tmp_path / "sft.jsonl", sft_rows(2)),
        output=tmp_path / "policy-r1",
        seed=1,
        config=SftConfig(num_epochs=2, learning_rate=2e-4, batch_size=2, micro_batch_size=2),
    )
    result = run_training(job)
    assert result.curve[-1].loss < result.curve[0].loss
