"""What both trainers share inside their process: settings, the order of examples, progress, and the end.

Only the trainer's process imports this file, so torch and transformers stand at its top.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from pydantic import TypeAdapter
from torch.utils.data import Sampler
from transformers import TrainerCallback

from infra.training.job import RECORD_FILE, CurvePoint, Progress, TrainingJob, TrainingRecord
from rstar_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.training.job import PpmJob, SftJob
    from rstar_core.training_config import PpmConfig, SftConfig

LARGE_BATCH_TOKENS = 4096
"""Above this a micro-batch saves memory instead of time: 4096 tokens hold about 6 GB in a 135M model."""


def begin() -> tuple[SftJob | PpmJob, Path, TextIO]:
    """Job, folder to write into, and the stream for progress."""
    # Libraries that print must not mix with the progress: what they write goes to the log.
    progress = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job_file = Path(sys.argv[1])
    job: SftJob | PpmJob = TypeAdapter(TrainingJob).validate_json(job_file.read_bytes())
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(_curves(job)))
    return job, job_file.parent, progress


def _curves(job: SftJob | PpmJob) -> Path:
    """Where TensorBoard's files go, unless the user names a place: that one is theirs, and never emptied."""
    return job.output.with_name(f"{job.output.name}.tensorboard")


def has_fast_bf16() -> bool:
    """Whether bf16 autocast pays here.

    On a CPU without bf16 instructions it is several times slower than float32 (55 against 192 tokens/s).
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def num_processes() -> int:
    """Processes that share this training; the launcher says it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def trainer_settings(
    config: SftConfig | PpmConfig, *, folder: Path, seed: int, longest: int, sequences_per_example: int
) -> dict[str, Any]:
    """Arguments of a TRL configuration: the weights are float32, the arithmetic bf16 where that is faster.

    Raises:
        TrainingError: The global batch cannot be shared equally.
    """
    on_gpu = torch.cuda.is_available()
    share, rest = divmod(config.batch_size, num_processes())
    if rest:
        raise TrainingError(
            f"A batch_size of {config.batch_size} cannot be shared equally by {num_processes()} processes; "
            f"choose a multiple of {num_processes()}."
        )
    micro = max(size for size in range(1, min(config.micro_batch_size, share) + 1) if share % size == 0)
    return {
        "output_dir": str(folder / "trainer"),
        "num_train_epochs": config.num_epochs,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": share // micro,
        "gradient_checkpointing": on_gpu or micro * sequences_per_example * longest > LARGE_BATCH_TOKENS,
        "bf16": has_fast_bf16(),
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.checkpoint_steps else "no",
        "save_steps": config.checkpoint_steps or 1,
        "save_total_limit": 2,
        "report_to": "tensorboard" if find_spec("tensorboard") else "none",
        "disable_tqdm": True,
    }


def round_size(settings: dict[str, Any]) -> int:
    """Examples that all processes read at a time; 1 for a process alone, whose last batch may be short."""
    alone = num_processes() == 1
    return 1 if alone else int(settings["per_device_train_batch_size"]) * num_processes()


class LengthSortedBatches(Sampler[int]):
    """Random global batches, sorted by length within each, so that micro-batches hold little padding.

    Which examples share an optimizer step stays random; examples of one group stay together.

    Args:
        lengths: Tokens of each example.
        groups: Group of each example.
        batch_size: Examples of an optimizer step.
        seed: Seed of the order.
        round_size: Examples that all processes read at a time. An epoch is filled up to a multiple of it with
            the index after the last example, whose example has to count for nothing; otherwise a process that
            is short of a batch would get the epoch's first examples a second time.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        groups: Sequence[str],
        *,
        batch_size: int,
        seed: int,
        round_size: int = 1,
    ) -> None:
        self._members: dict[str, list[int]] = {}
        for index, group in enumerate(groups):
            self._members.setdefault(group, []).append(index)
        self._length = {group: max(lengths[i] for i in members) for group, members in self._members.items()}
        self._num_examples = len(groups)
        self._num_fillers = -len(groups) % round_size
        self._batch_size = batch_size
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Each epoch has an order of its own, whichever was read before: a resumed run finds its place."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_examples + self._num_fillers

    def __iter__(self) -> Iterator[int]:
        order = list(self._members)
        random.Random(f"{self._seed}/{self._epoch}").shuffle(order)  # noqa: S311  # an order, not a secret
        batch: list[str] = []
        size = 0
        for group in order:
            batch.append(group)
            size += len(self._members[group])
            if size >= self._batch_size:
                yield from self._sorted(batch)
                batch, size = [], 0
        yield from self._sorted(batch)
        yield from [self._num_examples] * self._num_fillers

    def _sorted(self, batch: list[str]) -> Iterator[int]:
        for group in sorted(batch, key=self._length.__getitem__, reverse=True):
            yield from self._members[group]


class Reporter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Keeps the curve, tells the parent about each step, and stops a run whose loss is no number."""

    def __init__(self, stream: TextIO) -> None:
        self.curve: list[CurvePoint] = []
        self.logs: dict[int, dict[str, float]] = {}
        self.tokens = 0
        self.seconds = 0.0
        self.earlier_tokens = 0
        self._stream = stream
        self._began = time.monotonic()

    def restore(self, log_history: list[dict[str, float]]) -> None:
        """Take over what an earlier run of the same training logged until its checkpoint."""
        for logs in (each for each in log_history if "loss" in each):
            self.curve.append(_point(int(logs["step"]), logs))
            self.logs[int(logs["step"])] = logs
            self.tokens = self.earlier_tokens = int(logs["num_tokens"])

    def on_train_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Start the clock. The state of a checkpoint brings its own `checkpoint_steps`: ours count."""
        state.save_steps = args.save_steps
        self._began = time.monotonic()

    def on_log(self, _: Any, state: Any, __: Any, logs: dict[str, float], **___: Any) -> None:  # noqa: ANN401
        """Report one optimizer step."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"The loss became {logs['loss']} at step {state.global_step}; lower the learning rate."
            )
        point = _point(state.global_step, logs)
        self.curve.append(point)
        self.logs[state.global_step] = logs
        self.tokens = int(logs["num_tokens"])
        self.seconds = time.monotonic() - self._began
        if state.is_world_process_zero:
            progress = Progress(
                **point.model_dump(), total_steps=state.max_steps, tokens=self.tokens, seconds=self.seconds
            )
            print(progress.model_dump_json(), file=self._stream)


def kept_logs(trainer: Any, reporter: Reporter) -> dict[str, float]:  # noqa: ANN401
    """What was logged at the step whose weights are kept: the best one with patience, or the last."""
    return reporter.logs[trainer.state.best_global_step or max(reporter.logs)]


def _point(step: int, logs: dict[str, float]) -> CurvePoint:
    return CurvePoint(step=step, epoch=logs["epoch"], loss=logs["loss"], learning_rate=logs["learning_rate"])


def run(trainer: Any, reporter: Reporter, *, job: SftJob | PpmJob, folder: Path) -> None:  # noqa: ANN401
    """Train, from the newest whole checkpoint of an earlier run if there is one.

    Raises:
        TrainingError: A loss or a weight is no number; a loss says nothing about the step that follows it.
    """
    checkpoint, state = _newest_checkpoint(folder / "trainer")
    if checkpoint is None:  # curves of another training at this place would lie over these
        shutil.rmtree(_curves(job), ignore_errors=True)
    else:
        reporter.restore(state["log_history"])
        trainer._total_train_tokens = reporter.tokens  # noqa: SLF001  # trl begins at 0 again
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if not all(bool(torch.isfinite(each).all()) for each in trainer.model.parameters()):
        raise TrainingError("Weights are no numbers after the last step; lower the learning rate.")


def _newest_checkpoint(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The newest checkpoint and its state, which is written last: one without was cut off."""
    for checkpoint in sorted(
        folder.glob("checkpoint-*"), key=lambda each: int(each.name.rpartition("-")[2]), reverse=True
    ):
        try:
            return checkpoint, json.loads((checkpoint / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
    return None, {}


def finish(
    trainer: Any,  # noqa: ANN401
    tokenizer: Any,  # noqa: ANN401
    *,
    job: SftJob | PpmJob,
    folder: Path,
    reporter: Reporter,
    metrics: dict[str, float | None],
    began: float,
) -> None:
    """Save model, tokenizer and record; float32, for rounding to bf16 loses small updates."""
    trainer.save_model(str(folder))
    if not trainer.is_world_process_zero():
        return
    tokenizer.save_pretrained(folder)
    (folder / "training_args.bin").unlink(missing_ok=True)
    shutil.rmtree(folder / "trainer", ignore_errors=True)
    record = TrainingRecord(
        job=job,
        curve=tuple(reporter.curve),
        metrics={
            **metrics,
            "final_loss": kept_logs(trainer, reporter)["loss"],
            "num_tokens": reporter.tokens,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
        seconds=time.monotonic() - began,
        tokens_per_second=(reporter.tokens - reporter.earlier_tokens) / max(reporter.seconds, 1e-9),
    )
    (folder / RECORD_FILE).write_text(record.model_dump_json(indent=1))
