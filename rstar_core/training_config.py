"""Settings of the two trainings, with the paper's values as defaults (appendix A.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rstar_core.settings import Fraction, Settings


class TrainingConfig(Settings):
    """What both trainings have."""

    learning_rate: float = Field(default=7e-6, gt=0, description="Paper: 7e-6 (Qwen), 5e-6 (Phi-3).")
    schedule: Literal["linear", "cosine", "constant"] = Field(default="linear", description="Paper: linear.")
    checkpoint_steps: int = Field(
        default=500, ge=0, description="Steps between checkpoints, from which a cut-off run goes on; 0: none."
    )


class LoraConfig(Settings):
    """Low-rank adapters on every linear layer; they are merged into the weights when training ends."""

    rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(default=32.0, gt=0, description="The adapters' output is scaled by alpha / rank.")
    dropout: Fraction = Field(default=0.0, description="Dropout before the adapters.")


class SftConfig(TrainingConfig):
    """Supervised fine-tuning of the policy, from the base model each round."""

    num_epochs: float = Field(default=2.0, gt=0, description="Paper: 2.")
    batch_size: int = Field(default=128, ge=1, description="Global batch (paper: 128).")
    micro_batch_size: int = Field(default=8, ge=1, description="Sequences per forward pass.")
    max_length: int = Field(default=4096, ge=64, description="Tokens (paper: 4096).")
    trajectories_per_problem: int = Field(default=2, ge=1, description="Top-k by mean Q (paper: 2).")
    packing: bool = Field(
        default=False,
        description="The sequences of a forward pass lie in one row without padding; none sees another.",
    )
    lora: LoraConfig | None = Field(default=None, description="No table: all weights learn, as in the paper.")
    eval_fraction: Fraction = Field(
        default=0.0, description="Share of problems kept to measure the loss; the PPM keeps them too."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Measurements in turn (one with each checkpoint) that may bring no lower held-out loss "
        "before training stops; the model is that of the lowest. None: train to the end.",
    )

    @model_validator(mode="after")
    def _check_patience(self) -> SftConfig:
        if self.patience is not None and not (self.eval_fraction and self.checkpoint_steps):
            raise ValueError("patience needs an eval_fraction and checkpoint_steps above 0")
        return self


class PpmConfig(TrainingConfig):
    """Training of the process preference model (paper, equation 4)."""

    num_epochs: float = Field(default=1.0, gt=0, description="Paper: 1.")
    batch_size: int = Field(default=512, ge=1, description="Global batch of pairs (paper: 512).")
    micro_batch_size: int = Field(default=4, ge=1, description="Pairs per forward pass.")
    max_length: int = Field(
        default=2048, ge=64, description="Tokens; longer inputs lose the question's front."
    )
    pairs_per_side: int = Field(default=2, ge=1, description="Positives and negatives per step (paper: 2).")
    eval_fraction: Fraction = Field(default=0.1, description="Share of problems kept for pair accuracy.")
    min_pair_accuracy: Fraction | None = Field(
        default=None, description="Share of held-out pairs that a PPM must rank right to be published."
    )
