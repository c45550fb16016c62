"""Supervised fine-tuning of the policy with TRL: `python -m infra.training.sft job.json`.

Runs in a process of its own; `infra.training.run_training` starts it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, EarlyStoppingCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig

from infra.tokens import choose_pad_id
from infra.training.base_model import base_tokenizer
from infra.training.examples import IGNORED, SftExample, encode_sft, read_rows, split_by_problem
from infra.training.job import SftJob, SftRow
from infra.training.lora import adapters, merge
from infra.training.policy_trainer import PolicyTrainer
from infra.training.session import (
    LengthSortedBatches,
    Reporter,
    begin,
    finish,
    kept_logs,
    round_size,
    run,
    trainer_settings,
)
from rstar_core.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO


def train(job: SftJob, folder: Path, stream: TextIO) -> None:
    """Train as the job says; the model and its record go into `folder`, the progress into `stream`."""
    began = time.monotonic()
    tokenizer = base_tokenizer(job.base_model)
    tokenizer.pad_token_id = choose_pad_id(tokenizer)
    examples, held_out, metrics = _load_examples(job, tokenizer)
    lengths = [len(example.input_ids) for example in examples]
    settings = trainer_settings(
        job.config, folder=folder, seed=job.seed, longest=max(lengths), sequences_per_example=1
    )
    reporter = Reporter(stream)
    filler = SftExample([tokenizer.pad_token_id], [IGNORED])
    trainer = PolicyTrainer(
        order=LengthSortedBatches(
            lengths,
            [str(i) for i in range(len(lengths))],
            batch_size=job.config.batch_size,
            seed=job.seed,
            round_size=round_size(settings),
        ),
        longest=max(lengths),
        model=_load_model(job),
        args=SFTConfig(
            **settings,
            **_evaluation_settings(job),
            max_length=None,
            padding_free=job.config.packing,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=_dataset([*examples, filler]),
        eval_dataset=_dataset(held_out) if held_out else None,
        processing_class=tokenizer,
        peft_config=None if job.config.lora is None else adapters(job.config.lora),
        callbacks=[reporter, *_stoppers(job)],
    )
    run(trainer, reporter, job=job, folder=folder)
    metrics["token_accuracy"] = kept_logs(trainer, reporter).get("mean_token_accuracy")
    measured = trainer.evaluate() if held_out else {}
    metrics["eval_loss"] = measured.get("eval_loss")
    metrics["eval_token_accuracy"] = measured.get("eval_mean_token_accuracy")
    if job.config.lora is not None:
        merge(trainer)
    finish(trainer, tokenizer, job=job, folder=folder, reporter=reporter, metrics=metrics, began=began)


def _load_examples(
    job: SftJob,
    tokenizer: Any,  # noqa: ANN401
) -> tuple[list[SftExample], list[SftExample], dict[str, float | None]]:
    """Training and held-out examples that fit, and what there is to say about their number."""
    rows = read_rows(job.dataset, SftRow)
    split = split_by_problem(rows, job.config.eval_fraction)
    encoded, held_out = ([encode_sft(tokenizer, row) for row in part] for part in split)
    kept, kept_out = (
        [example for example in part if len(example.input_ids) <= job.config.max_length]
        for part in (encoded, held_out)
    )
    if not kept:
        raise TrainingError(
            f"All {len(encoded)} examples are longer than max_length = {job.config.max_length} tokens."
        )
    if job.config.patience is not None and not kept_out:
        raise TrainingError(
            f"patience = {job.config.patience} needs examples to measure, but none of the {len(rows)} is "
            "held out; raise eval_fraction, or leave patience out."
        )
    counts: dict[str, float | None] = {
        "num_examples": len(kept),
        "num_problems": len({row.problem_id for row in split[0]}),
        "num_eval_examples": len(kept_out),
        "num_dropped_too_long": len(encoded) - len(kept),
        "num_target_tokens": sum(label != IGNORED for example in kept for label in example.labels),
    }
    return kept, kept_out, counts


def _load_model(job: SftJob) -> Any:  # noqa: ANN401
    """The base model; packed rows on a GPU are read with flash attention where that is installed."""
    flash = job.config.packing and torch.cuda.is_available() and is_flash_attn_2_available()
    attention = {"attn_implementation": "flash_attention_2"} if flash else {}
    return AutoModelForCausalLM.from_pretrained(job.base_model, dtype=torch.float32, **attention)


def _dataset(examples: Sequence[SftExample]) -> Dataset:
    return Dataset.from_list([{"input_ids": each.input_ids, "labels": each.labels} for each in examples])


def _evaluation_settings(job: SftJob) -> dict[str, Any]:
    """With patience the held-out loss is measured at each checkpoint, and the best one is the model."""
    if job.config.patience is None:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": job.config.checkpoint_steps,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,
    }


class _Patience(EarlyStoppingCallback):  # type: ignore[misc]  # transformers is untyped
    """Remembers in a training that goes on from a checkpoint that it had ended there."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Stop after one step, which changes nothing: the model is that of the best checkpoint."""
        super().on_train_begin(args, state, control, **kwargs)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


def _stoppers(job: SftJob) -> list[_Patience]:
    patience = job.config.patience
    return [] if patience is None else [_Patience(early_stopping_patience=patience)]


def main() -> None:
    """Run the job that the command line names."""
    job, folder, stream = begin()
    if not isinstance(job, SftJob):
        raise TrainingError("This trainer takes an sft job.")
    train(job, folder, stream)


if __name__ == "__main__":
    main()
