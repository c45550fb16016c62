"""Starts a trainer in a process of its own and waits for it.

The memory of a run goes back to the system when it ends, a crash is an error here and not the end of the
factory, and a trainer dies with the process that started it, as does whatever a launcher has spread it over.
The model appears under its final name only when it is complete: a run that was cut off is started again and
goes on from its newest checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from infra.models.layout import check_directory, digest_of_model
from infra.supervised import stop, supervised
from infra.training.job import RECORD_FILE, Progress, TrainingJob, TrainingRecord, TrainingResult
from rstar_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infra.training.job import PpmJob, SftJob

_SOURCE_ROOT = Path(__file__).parents[2]
_ACCELERATE = _SOURCE_ROOT / "infra" / "deploy" / "accelerate"
_EXCEPTION_LINE = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit)\b(?:: (?P<message>.*))?$")
_OUR_ERROR = re.compile(r"^rstar_core\.errors\.\w+: ")
_RANK = re.compile(r"^\[rank\d+\]:\s*")
_LAUNCHERS_OWN = (
    "subprocess.CalledProcessError",
    "torch.distributed.elastic.multiprocessing.errors.ChildFailed",
)
"""A launcher adds that a trainer failed; why it did stands before that."""
_OUT_OF_MEMORY = "it was killed, probably because the machine ran out of memory"
_KILLED = re.compile(r"Signals\.SIGKILL|Signal 9 \(SIGKILL\)")
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def accelerate_launcher(name: str | None) -> tuple[str, ...] | None:
    """The command that spreads a training, from a name of `infra/deploy/accelerate` or a file; None: nothing.

    Raises:
        TrainingError: There is neither.
    """
    if name is None:
        return None
    shipped = _ACCELERATE / f"{name}.yaml"
    file = shipped if shipped.is_file() else Path(name).expanduser()
    if not file.is_file():
        names = ", ".join(sorted(each.stem for each in _ACCELERATE.glob("*.yaml")))
        raise TrainingError(f"accelerate is '{name}', which is neither one of {names} nor a file.")
    return (sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file))


def _ignore(_: Progress) -> None:
    """Nobody watches."""


def run_training(
    job: SftJob | PpmJob,
    *,
    on_progress: Callable[[Progress], None] = _ignore,
    launcher: Sequence[str] | None = None,
) -> TrainingResult:
    """Run the job, go on where an earlier run of it was cut off, or return what that left.

    Args:
        job: What to train, on what, and where to put it.
        on_progress: Called after each optimizer step; an exception in it stops the run.
        launcher: Command that takes `-m module job`, for example `accelerate launch --config_file FILE`;
            None means this Python.

    Raises:
        ModelError: The base model is not there.
        TrainingError: The trainer failed, the training set cannot be read, or the output is in use by another
            job, or by the same one on other data.
    """
    digests = {
        "dataset_digest": file_digest(job.dataset),
        "base_digest": digest_of_model(check_directory(job.base_model)),
    }
    job = job.model_copy(update=digests)
    finished = _finished(job)
    if finished is not None:
        return finished
    partial = job.output.with_name(f"{job.output.name}.partial")
    job_file = partial / "job.json"
    begun = _begun(job_file)
    if begun is None or _facts(begun) != _facts(job):  # else the checkpoints there are of this training
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    if begun != job:  # whole or not at all: without it the checkpoints are nobody's
        fresh = job_file.with_suffix(".new")
        fresh.write_text(job.model_dump_json(indent=1))
        fresh.replace(job_file)
    log = job.output.with_name(f"{job.output.name}.log")
    command = [*(launcher or (sys.executable,)), "-m", f"infra.training.{job.kind}", str(job_file)]
    returncode = _run(command, log, _environment(), on_progress)
    if returncode != 0:
        raise TrainingError(
            f"The {job.kind} training for {job.output} failed: {_reason(returncode, log)}; see {log}."
        )
    partial.rename(job.output)
    finished = _finished(job)
    if finished is None:
        raise TrainingError(f"The {job.kind} trainer ended without a record in {job.output}; see {log}.")
    return finished


def _facts(job: SftJob | PpmJob) -> dict[str, Any]:
    """What decides which model comes out: neither how it fits into the memory nor what it is used for."""
    free = {"micro_batch_size", "min_pair_accuracy"}
    if getattr(job.config, "patience", None) is None:  # else the loss is measured at each checkpoint
        free.add("checkpoint_steps")
    return job.model_dump(exclude={"config": free, "base_model": True})


def _begun(job_file: Path) -> SftJob | PpmJob | None:
    """The training that an earlier run began here."""
    try:
        job: SftJob | PpmJob = TypeAdapter(TrainingJob).validate_json(job_file.read_bytes())
    except (OSError, ValidationError):
        return None
    return job


def _finished(job: SftJob | PpmJob) -> TrainingResult | None:
    """The result of an earlier run of the same job, or None if there is none."""
    if not job.output.exists():
        return None
    try:
        record = TrainingRecord.model_validate_json((job.output / RECORD_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(
            f"{job.output} exists but holds no readable {RECORD_FILE}; remove it or choose another output."
        ) from error
    then, now = _facts(record.job), _facts(job)
    if any(then[name] != now[name] for name in ("kind", "seed", "config")):
        raise TrainingError(
            f"{job.output} holds a model of other settings; remove it or choose another output."
        )
    if record.job.base_digest not in {None, job.base_digest}:
        raise TrainingError(
            f"{job.output} holds a model that began from another one than {job.base_model} holds now; "
            "remove it or choose another output."
        )
    if record.job.dataset_digest not in {None, job.dataset_digest}:
        raise TrainingError(
            f"{job.output} holds a model of other data than {job.dataset} holds now; "
            "remove it or choose another output."
        )
    return TrainingResult(model_dir=job.output, **record.model_dump(exclude={"job"}))


def file_digest(dataset: Path) -> str:
    """SHA-256 of a training set's file, hex. Raises: TrainingError."""
    try:
        with dataset.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"The training set {dataset} cannot be read: {error.strerror}.") from error


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(_SOURCE_ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **_QUIET, "PYTHONPATH": path}


def _run(
    command: list[str], log: Path, environment: dict[str, str], on_progress: Callable[[Progress], None]
) -> int:
    """Run the command to its end, its progress going to `on_progress` and everything else to the log."""
    with (
        log.open("wb") as log_file,
        subprocess.Popen(
            supervised(command, grace_seconds=0),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            env=environment,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                if line.startswith("{"):
                    on_progress(Progress.model_validate_json(line))
        except BaseException:
            stop(process)
            raise
        return process.wait()  # before the pipe to the supervisor is closed, which would kill the trainer


def _reason(returncode: int, log: Path) -> str:
    """Why a trainer failed, from its exit code and the last telling line of its log."""
    if returncode == -signal.SIGKILL:
        return _OUT_OF_MEMORY
    if returncode < 0:
        return f"it was stopped by {signal.Signals(-returncode).name}"
    text = log.read_text(errors="replace")
    lines = [said for line in text.splitlines() if (said := _RANK.sub("", line.strip()))]
    raised = [line for line in lines if _EXCEPTION_LINE.match(line) and not line.startswith(_LAUNCHERS_OWN)]
    if not raised and _KILLED.search(text):
        return _OUT_OF_MEMORY
    if raised:
        # Our own errors are sentences already; for the others the type is half of the message.
        return _OUR_ERROR.sub("", raised[-1]).rstrip(".")
    return lines[-1].rstrip(".") if lines else f"it ended with exit code {returncode} and said nothing"
