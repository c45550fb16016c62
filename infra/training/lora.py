"""Low-rank adapters: put on before training, merged into the weights after it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rstar_core.errors import TrainingError

if TYPE_CHECKING:
    from rstar_core.training_config import LoraConfig

_SPREAD = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")


def adapters(config: LoraConfig) -> Any:  # noqa: ANN401 - peft is untyped, and may be absent
    """What TRL is told.

    Raises:
        TrainingError: peft is not installed, or the weights are to be spread over processes.
    """
    if any(os.environ.get(name) == "true" for name in _SPREAD):
        raise TrainingError(
            "[rounds.sft.lora] trains with whole copies of the weights; leave the settings fsdp and zero3 of "
            "`accelerate` out."
        )
    check_installed()
    import peft  # noqa: PLC0415 - an extra

    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def check_installed() -> None:
    """Raise TrainingError if peft is missing."""
    if find_spec("peft") is None:
        raise TrainingError("[rounds.sft.lora] needs peft; install it with `pip install 'rstar[lora]'`.")


def merge(trainer: Any) -> None:  # noqa: ANN401 - trl is untyped
    """Make the trainer's model an ordinary one again, its weights changed by the adapters."""
    trainer.model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    trainer.model_wrapped = trainer.model
