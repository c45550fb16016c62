"""What a training run is told and what it answers, as values that travel in JSON files."""

from __future__ import annotations

from pathlib import Path  # pydantic needs it at run time
from typing import Annotated, Literal

from pydantic import Field

from rstar_core.settings import Settings
from rstar_core.training_config import PpmConfig, SftConfig

RECORD_FILE = "training.json"


class SftJob(Settings):
    """Fine-tune a policy. Each row of the dataset is an `SftRow`."""

    kind: Literal["sft"] = "sft"
    base_model: Path = Field(description="Directory of the base model: each round starts from it again.")
    dataset: Path = Field(description="JSONL or Parquet file of rows.")
    dataset_digest: str | None = Field(
        default=None, description="SHA-256 of the dataset when the run began; None: of an older version."
    )
    base_digest: str | None = Field(
        default=None, description="Digest of the base model when the run began; None: of an older version."
    )
    output: Path = Field(description="Directory that appears when the run has succeeded.")
    seed: int = Field(ge=0, description="Seed of the order of the examples.")
    config: SftConfig


class PpmJob(Settings):
    """Train a process preference model. Each row of the dataset is a `PairRow`."""

    kind: Literal["ppm"] = "ppm"
    base_model: Path = Field(description="Directory of that round's fine-tuned policy.")
    dataset: Path = Field(description="JSONL or Parquet file of rows.")
    dataset_digest: str | None = Field(
        default=None, description="SHA-256 of the dataset when the run began; None: of an older version."
    )
    base_digest: str | None = Field(
        default=None, description="Digest of the base model when the run began; None: of an older version."
    )
    output: Path = Field(description="Directory that appears when the run has succeeded.")
    seed: int = Field(ge=0, description="Seed of the order of the pairs.")
    config: PpmConfig


TrainingJob = Annotated[SftJob | PpmJob, Field(discriminator="kind")]


class SftRow(Settings):
    """One verified solution: the prompt is given, the completion is learnt."""

    problem_id: str
    pieces: tuple[str, ...] = Field(min_length=1)
    completion_pieces: tuple[str, ...] = Field(min_length=1)


class PairRow(Settings):
    """One step pair (paper, section 3.3); `weight` is 1 / (positives x negatives) of its group.

    Q values, depth, `final` (whole trajectories are compared) and tier serve the metrics alone.
    """

    problem_id: str
    group: str
    prefix_pieces: tuple[str, ...] = Field(min_length=1)
    positive_pieces: tuple[str, ...] = Field(min_length=1)
    negative_pieces: tuple[str, ...] = Field(min_length=1)
    weight: float = Field(gt=0)
    positive_q: float | None = None
    negative_q: float | None = None
    depth: int = 0
    final: bool = False
    tier: str = ""


class CurvePoint(Settings):
    """The training loss after one optimizer step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class Progress(CurvePoint):
    """What a run says while it goes on."""

    total_steps: int
    tokens: int = Field(description="Tokens seen so far, padding excluded.")
    seconds: float = Field(description="Since the first step began.")


class TrainingRecord(Settings):
    """The file that lies beside a finished model and makes it count as finished."""

    job: TrainingJob
    curve: tuple[CurvePoint, ...]
    metrics: dict[str, float | None] = Field(
        description="A figure that could not be measured is None, not 0."
    )
    seconds: float = Field(description="The whole run, loading and saving included; the last one if resumed.")
    tokens_per_second: float = Field(description="Of that run's optimizer steps, padding excluded.")


class TrainingResult(Settings):
    """A finished training run."""

    model_dir: Path
    curve: tuple[CurvePoint, ...]
    metrics: dict[str, float | None]
    seconds: float
    tokens_per_second: float
