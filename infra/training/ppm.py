"""Training of the process preference model with TRL: `python -m infra.training.ppm job.json`.

The policy's next-token head gives way to a linear head whose output goes through tanh
(`infra.ppm.step_scores`); the loss is that of the paper's equation 4, each group of pairs counting once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from infra.ppm import longest_input, step_scores
from infra.tokens import choose_pad_id
from infra.training.base_model import base_tokenizer
from infra.training.examples import PairExample, encode_pair, read_rows, split_by_problem
from infra.training.job import PairRow, PpmJob
from infra.training.pair_metrics import pair_metrics, spread
from infra.training.session import (
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

    from infra.training.pair_metrics import Scores

_NUM_TRIED = 64
"""Pairs of the training set that show whether the scores differ at all, where none are held out."""


def pair_losses(positive: torch.Tensor, negative: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """-w log sigmoid(r_positive - r_negative) of each pair, of scores in [-1, 1] (paper, equation 4)."""
    return -weight * torch.nn.functional.logsigmoid(positive - negative)


def collate(examples: list[dict[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch of pairs in which a sequence that several pairs share is encoded once.

    The 2 x 2 pairs of a step have 4 sequences, not 8. Right padding.
    """
    rows: dict[tuple[int, ...], int] = {}
    sides = {
        side: torch.tensor(
            [rows.setdefault(tuple(example[f"{side}_ids"]), len(rows)) for example in examples]
        )
        for side in ("positive", "negative")
    }
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in rows]),
        "weight": torch.tensor([example["weight"] for example in examples]),
        **sides,
    }


class StepPairTrainer(RewardTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's reward trainer with tanh scores, weights, and groups that stay together."""

    loss_is_scaled_for_ga = True  # `compute_loss` divides by the weight of the whole global batch

    def __init__(self, *, order: LengthSortedBatches, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self._order = order

    def _get_train_sampler(self, _: Any = None) -> LengthSortedBatches:  # noqa: ANN401
        return self._order

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:  # noqa: ANN401
        return dataset  # already token ids, and never too long

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        total = torch.stack([batch["weight"].sum() for batch in batch_samples]).sum().to(device)
        return self.accelerator.gather(total).sum()  # type: ignore[no-any-return]

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:  # noqa: ANN401
        """Weighted loss of a micro-batch as its share of the global batch's; and scores if asked."""
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).logits
        scores = step_scores(logits.squeeze(-1).float())
        positive, negative = scores[inputs["positive"]], scores[inputs["negative"]]
        losses = pair_losses(positive, negative, inputs["weight"])
        if num_items_in_batch is None:
            loss = losses.sum() / inputs["weight"].sum()
        else:  # data parallelism averages gradients over processes; this sum is over all of them
            loss = losses.sum() / num_items_in_batch * self.accelerator.num_processes
        if model.training:
            tokens = self.accelerator.gather(inputs["attention_mask"].sum()).sum().item()
            self._total_train_tokens += tokens
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return (loss, torch.stack([positive, negative], dim=-1)) if return_outputs else loss

    def prediction_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, Any],
        prediction_loss_only: bool,  # noqa: ARG002  # the signature is transformers'
        ignore_keys: list[str] | None = None,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The scores of a batch's pairs (pairs, 2), gathered by the base class over batches and processes."""
        with torch.no_grad():
            loss, scores = self.compute_loss(model, self._prepare_inputs(inputs), return_outputs=True)
        return loss, scores, torch.ones(len(scores), device=scores.device)

    def scores_of(self, dataset: Dataset) -> list[Scores]:
        """Scores of both sides of each pair, in the data set's order."""
        predictions = self.predict(dataset).predictions
        return [(float(better), float(worse)) for better, worse in predictions]


def load_classifier(job: PpmJob, pad_id: int) -> Any:  # noqa: ANN401
    """The policy with a scalar head of zeros: before it has learnt anything it calls every step neutral.

    A random head would begin by ranking steps by chance (logits of SmolLM2-135M: standard deviation 0.6),
    and a short training has to undo that first.
    """
    model = AutoModelForSequenceClassification.from_pretrained(
        job.base_model, num_labels=1, dtype=torch.float32
    )
    torch.nn.init.zeros_(model.score.weight)
    model.config.pad_token_id = pad_id
    return model


def _dataset(examples: list[PairExample]) -> Dataset:
    names = ("positive_ids", "negative_ids", "weight")
    return Dataset.from_list([{name: getattr(example, name) for name in names} for example in examples])


def train(job: PpmJob, folder: Path, stream: TextIO) -> None:
    """Train as the job says; the model and its record go into `folder`, the progress into `stream`."""
    began = time.monotonic()
    tokenizer = base_tokenizer(job.base_model)
    pad_id = choose_pad_id(tokenizer)
    tokenizer.pad_token_id = pad_id
    tokenizer.model_max_length = job.config.max_length
    longest = longest_input(tokenizer, job.base_model)
    tokenizer.model_max_length = longest  # saved, so that scoring cuts where training did
    train_rows, eval_rows = split_by_problem(read_rows(job.dataset, PairRow), job.config.eval_fraction)
    train, held_out = (
        [encode_pair(tokenizer, row, longest) for row in rows] for rows in (train_rows, eval_rows)
    )
    lengths = [max(len(e.positive_ids), len(e.negative_ids)) for e in train]
    settings = trainer_settings(
        job.config, folder=folder, seed=job.seed, longest=max(lengths), sequences_per_example=2
    )
    reporter = Reporter(stream)
    filler = PairExample("", [pad_id], [pad_id], 0.0)
    trainer = StepPairTrainer(
        order=LengthSortedBatches(
            lengths,
            [e.group for e in train],
            batch_size=job.config.batch_size,
            seed=job.seed,
            round_size=round_size(settings),
        ),
        model=load_classifier(job, pad_id),
        args=RewardConfig(**settings, max_length=None, remove_unused_columns=False),
        data_collator=lambda examples: collate(examples, pad_id),
        train_dataset=_dataset([*train, filler]),
        processing_class=tokenizer,
        callbacks=[reporter],
    )
    run(trainer, reporter, job=job, folder=folder)
    ranked = trainer.scores_of(_dataset(held_out or train[:_NUM_TRIED]))
    metrics: dict[str, float | None] = {
        "num_pairs": len(train),
        "num_groups": len({e.group for e in train}),
        "num_eval_pairs": len(held_out),
        "num_eval_problems": len({row.problem_id for row in eval_rows}),
        "score_spread": spread(ranked),
        **pair_metrics(eval_rows, ranked if held_out else []),
    }
    finish(trainer, tokenizer, job=job, folder=folder, reporter=reporter, metrics=metrics, began=began)


def main() -> None:
    """Run the job that the command line names."""
    job, folder, stream = begin()
    if not isinstance(job, PpmJob):
        raise TrainingError("This trainer takes a ppm job.")
    train(job, folder, stream)


if __name__ == "__main__":
    main()
