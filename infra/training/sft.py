"""Supervised fine-tuning of the policy with TRL: `python -m infra.training.sft job.json`.

Runs in a process of its own; `infra.training.run_training` starts it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from infra.tokens import choose_pad_id
from infra.training.examples import IGNORED, SftExample, encode_sft, read_rows
from infra.training.job import SftJob, SftRow
from infra.training.session import (
    LARGE_BATCH_TOKENS,
    LengthSortedBatches,
    Reporter,
    begin,
    finish,
    round_size,
    run,
    trainer_settings,
)
from rstar_core.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO


class PolicyTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer with our order of examples, and a shorter way to the same loss on a CPU.

    Args:
        order: The examples' order.
        longest: Tokens of the longest example.
        arguments: Of TRL's trainer.
    """

    def __init__(self, *, order: LengthSortedBatches, longest: int, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self._order = order
        self._largest_batch = longest * self.args.per_device_train_batch_size

    def _get_train_sampler(self, _: Any = None) -> LengthSortedBatches:  # noqa: ANN401
        return self._order

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:  # noqa: ANN401
        """Mean negative log-likelihood of the labelled tokens.

        TRL saves memory by computing the logits in tiles, twice, and their entropy besides. On a CPU that
        costs three times the plain computation, a quarter of the whole step, so small batches go without.
        """
        ids, labels = inputs["input_ids"], inputs["labels"]
        processes = self.accelerator.num_processes
        # Both ways talk to the other processes, so all have to take the same one, whatever their batch.
        size = ids.numel() if processes == 1 else self._largest_batch
        if return_outputs or num_items_in_batch is None or ids.is_cuda or size > LARGE_BATCH_TOKENS:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = labels[:, 1:]
        kept = (targets != IGNORED).any(dim=0).nonzero().squeeze(-1)  # the prompt needs no logits
        logits = model(
            input_ids=ids, attention_mask=inputs["attention_mask"], use_cache=False, logits_to_keep=kept
        ).logits.flatten(0, 1)
        targets = targets[:, kept].flatten()
        total = torch.nn.functional.cross_entropy(
            logits.float(), targets, ignore_index=IGNORED, reduction="sum"
        )
        learnt = targets != IGNORED
        right = (logits.detach().argmax(-1) == targets)[learnt]
        counts = torch.stack([right.sum(), learnt.sum(), inputs["attention_mask"].sum()])
        num_right, num_learnt, num_tokens = self.accelerator.gather(counts).view(-1, 3).sum(dim=0).tolist()
        self._metrics["train"]["mean_token_accuracy"].append(num_right / max(num_learnt, 1))
        self._total_train_tokens += num_tokens
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        # Data parallelism averages gradients over processes; the number of items is that of all of them.
        return total / num_items_in_batch * processes


def _load_examples(job: SftJob, tokenizer: Any) -> tuple[list[SftExample], dict[str, float | None]]:  # noqa: ANN401
    rows = read_rows(job.dataset, SftRow)
    encoded = [encode_sft(tokenizer, row) for row in rows]
    kept = [example for example in encoded if len(example.input_ids) <= job.config.max_length]
    if not kept:
        raise TrainingError(
            f"All {len(rows)} examples are longer than max_length = {job.config.max_length} tokens."
        )
    counts: dict[str, float | None] = {
        "num_examples": len(kept),
        "num_problems": len({row.problem_id for row in rows}),
        "num_dropped_too_long": len(encoded) - len(kept),
        "num_target_tokens": sum(label != IGNORED for example in kept for label in example.labels),
    }
    return kept, counts


def train(job: SftJob, folder: Path, stream: TextIO) -> None:
    """Train as the job says; the model and its record go into `folder`, the progress into `stream`."""
    began = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(job.base_model)
    examples, metrics = _load_examples(job, tokenizer)
    lengths = [len(example.input_ids) for example in examples]
    model = AutoModelForCausalLM.from_pretrained(job.base_model, dtype=torch.float32)
    tokenizer.pad_token_id = choose_pad_id(tokenizer)
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
        model=model,
        args=SFTConfig(**settings, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list(
            [{"input_ids": e.input_ids, "labels": e.labels} for e in (*examples, filler)]
        ),
        processing_class=tokenizer,
        callbacks=[reporter],
    )
    run(trainer, reporter, folder)
    metrics["token_accuracy"] = reporter.last_logs.get("mean_token_accuracy")
    finish(trainer, tokenizer, job=job, folder=folder, reporter=reporter, metrics=metrics, began=began)


def main() -> None:
    """Run the job that the command line names."""
    job, folder, stream = begin()
    if not isinstance(job, SftJob):
        raise TrainingError("This trainer takes an sft job.")
    train(job, folder, stream)


if __name__ == "__main__":
    main()
