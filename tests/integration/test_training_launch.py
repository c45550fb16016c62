import signal
import subprocess
import sys
import time

import psutil
import pytest

from infra.training import SftJob, run_training
from infra.training.job import RECORD_FILE, TrainingRecord
from rstar_core.errors import TrainingError
from rstar_core.training_config import SftConfig
from tests.integration.conftest import PROJECT, lives, until

PROGRESS = (
    '{"step": 1, "epoch": 1.0, "loss": 2.5, "learning_rate": 0.1, '
    '"total_steps": 1, "tokens": 10, "seconds": 0.5}'
)
SUCCESS = f"""
print("chatter of a library")
print('{PROGRESS}', flush=True)
record = {{"job": json.loads(job_file.read_text()), "curve": [], "metrics": {{"pair_accuracy": None}},
          "seconds": 1.5, "tokens_per_second": 20.0}}
(job_file.parent / "{RECORD_FILE}").write_text(json.dumps(record))
"""


LAUNCHER = """
import os, pathlib, subprocess, sys, time
workers = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2)]
pathlib.Path(sys.argv[3]).with_name("started").write_text("".join(f"{each.pid} " for each in workers))
time.sleep(600)
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "base").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "base" / name).write_text("{}")
    return SftJob(
        base_model=tmp_path / "base",
        dataset=tmp_path / "rows.jsonl",
        output=tmp_path / "models" / "r1",
        seed=7,
        config=SftConfig(),
    )


@pytest.fixture
def trainer(tmp_path):
    """A command that takes `-m module job.json` and runs the given body instead of training."""

    def write(body):
        script = tmp_path / "trainer.py"
        script.write_text(f"import json, os, pathlib, sys\njob_file = pathlib.Path(sys.argv[3])\n{body}\n")
        return (sys.executable, str(script))

    return write


def test_a_model_that_began_from_another_one_is_not_taken_for_this(job, trainer):
    """A policy that was trained again lies where the one before it lay."""
    run_training(job, launcher=trainer(SUCCESS))
    (job.base_model / "model.safetensors").write_text("other weights")
    with pytest.raises(TrainingError, match="began from another one than"):
        run_training(job, launcher=trainer(SUCCESS))


def test_a_run_tells_its_progress_and_leaves_model_and_record(job, trainer):
    told = []
    result = run_training(job, on_progress=told.append, launcher=trainer(SUCCESS))
    assert [(p.step, p.loss, p.tokens) for p in told] == [(1, 2.5, 10)]
    assert result.model_dir == job.output
    assert result.metrics == {"pair_accuracy": None}
    assert result.tokens_per_second == 20.0
    record = TrainingRecord.model_validate_json((job.output / RECORD_FILE).read_bytes())
    digests = {"dataset_digest": record.job.dataset_digest, "base_digest": record.job.base_digest}
    assert None not in digests.values()
    assert record.job == job.model_copy(update=digests)


def test_a_finished_run_is_returned_at_once(job, trainer):
    first = run_training(job, launcher=trainer(SUCCESS))
    assert run_training(job, launcher=("/no/such/trainer",)) == first


def test_a_model_of_other_settings_is_never_mistaken_for_this_one(job, trainer):
    run_training(job, launcher=trainer(SUCCESS))
    with pytest.raises(TrainingError, match="other settings"):
        run_training(job.model_copy(update={"seed": 8}))


def test_a_model_of_other_data_is_never_mistaken_for_this_one(job, trainer):
    run_training(job, launcher=trainer(SUCCESS))
    job.dataset.write_text("{}\n{}\n")
    with pytest.raises(TrainingError, match=r"other data than .*rows\.jsonl holds now; remove it"):
        run_training(job)
    job.dataset.unlink()
    with pytest.raises(TrainingError, match=r"training set .*rows\.jsonl cannot be read"):
        run_training(job)


def test_an_output_that_is_no_training_run_is_left_alone(job):
    job.output.mkdir(parents=True)
    (job.output / "thesis.txt").write_text("precious")
    with pytest.raises(TrainingError, match="remove it"):
        run_training(job)
    assert (job.output / "thesis.txt").read_text() == "precious"


def test_what_a_run_that_was_cut_off_left_does_not_get_into_the_next(job, trainer):
    partial = job.output.with_name("r1.partial")
    partial.mkdir(parents=True)
    (partial / "half.safetensors").write_text("half")
    run_training(job, launcher=trainer(SUCCESS))
    assert not partial.exists()
    assert not (job.output / "half.safetensors").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no such layer')", "ValueError: no such layer"),
        (
            "from rstar_core.errors import TrainingError\nraise TrainingError('All examples are too long.')",
            "failed: All examples are too long; see",
        ),
        ("os.kill(os.getpid(), 9)", "ran out of memory"),
        ("os.kill(os.getpid(), 15)", "SIGTERM"),
        ("sys.exit('the accelerator is on fire')", "the accelerator is on fire"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_a_failure_is_one_sentence_with_its_cause_and_its_log(job, trainer, body, message):
    with pytest.raises(TrainingError) as caught:
        run_training(job, launcher=trainer(body))
    assert message in str(caught.value)
    assert str(job.output.with_name("r1.log")) in str(caught.value)
    assert not job.output.exists()


def test_a_trainer_that_leaves_no_record_has_failed(job, trainer):
    with pytest.raises(TrainingError, match=RECORD_FILE.replace(".", r"\.")):
        run_training(job, launcher=trainer("pass"))


def test_an_exception_of_the_listener_stops_the_trainer(job, trainer):
    def refuse(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(job, on_progress=refuse, launcher=trainer(SUCCESS + "\nimport time\ntime.sleep(600)"))


def test_no_process_of_a_training_outlives_a_kill_of_what_started_it(job, tmp_path):
    """A launcher's workers too, which have sessions of their own, as torch's have."""
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "job.json").write_text(job.model_dump_json())
    starter = (
        "import pathlib, sys\nfrom infra.training import SftJob, run_training\n"
        "job = SftJob.model_validate_json(pathlib.Path(sys.argv[1]).read_text())\n"
        "run_training(job, launcher=(sys.executable, sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", starter, tmp_path / "job.json", tmp_path / "launcher.py"]
    run = subprocess.Popen(command, cwd=PROJECT)
    started = job.output.with_name("r1.partial") / "started"
    until(lambda: started.exists() and len(started.read_text().split()) == 2)
    family = psutil.Process(run.pid).children(recursive=True)
    assert {int(each) for each in started.read_text().split()} < {each.pid for each in family}
    assert len(family) == 4  # the supervisor, the launcher and its workers
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not any(lives(each.pid) for each in family), seconds=5)


def test_what_a_trainer_leaves_behind_ends_with_it(job, trainer):
    """A helper that holds the trainer's output open would otherwise be waited for."""
    helper = (
        "import subprocess\nhelper = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "pathlib.Path(job_file.parent / 'helper').write_text(str(helper.pid))\n"
    )
    before = time.monotonic()
    assert run_training(job, launcher=trainer(helper + SUCCESS)).model_dir == job.output
    assert time.monotonic() - before < 60
    assert not lives(int((job.output / "helper").read_text()))
