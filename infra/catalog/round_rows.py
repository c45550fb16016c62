"""Rows that whole rounds write: training sets, models, curves, evaluations, stages, lineage."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar

from infra.catalog.rows import ProblemId, RoundId, Row


@dataclass(frozen=True, slots=True)
class StepPairRow(Row):
    """Preferences between two continuations: training data of the PPM."""

    TABLE: ClassVar[str] = "step_pairs"
    round_id: RoundId
    problem_id: ProblemId
    group_id: Annotated[str, "Step the pair belongs to; the weights of one group sum to 1."]
    prefix: Annotated[str, "Text of the shared steps; empty where whole trajectories are compared."]
    positive: Annotated[str, "Text of the better side."]
    negative: Annotated[str, "Text of the worse side."]
    positive_q: Annotated[
        float | None, "Q of the better side in [-1, 1] (mean Q for whole trajectories); null if imported."
    ]
    negative_q: Annotated[
        float | None, "Q of the worse side in [-1, 1] (mean Q for whole trajectories); null if imported."
    ]
    depth: Annotated[int, "Depth of the compared step; 1 is the first."]
    final: Annotated[bool, "Whole trajectories are compared (the relaxed rule of the answer step)."]
    weight: Annotated[float, "1 / (positives × negatives) of the group."]


@dataclass(frozen=True, slots=True)
class SftExampleRow(Row):
    """Selected trajectories: training data of the policy."""

    TABLE: ClassVar[str] = "sft_examples"
    round_id: RoundId
    problem_id: ProblemId
    rank: Annotated[int, "Place among the problem's correct trajectories by mean Q; 1 is the best."]
    question: Annotated[str, "The question as the policy sees it."]
    step_texts: Annotated[tuple[str, ...], "Text of each step, tags included."]
    mean_q: Annotated[float | None, "Mean Q over the steps, in [-1, 1]; null if imported."]
    tree_index: Annotated[int | None, "Which tree of the problem it came from; null if imported."]


@dataclass(frozen=True, slots=True)
class ModelRow(Row):
    """Models the campaign used or made."""

    TABLE: ClassVar[str] = "models"
    model_id: Annotated[str, "Name of the model, unique in the campaign."]
    round_id: Annotated[int | None, "Round that made it; null for the base model."]
    role: Annotated[str, "base, policy or ppm."]
    base_model: Annotated[str | None, "Model its training started from; null for the base model."]
    location: Annotated[str, "Folder, address or hub id it is loaded from."]
    digest: Annotated[
        str | None, "SHA-256 of its weights, configuration and tokenizer, hex; null if served elsewhere."
    ]
    metrics: Annotated[dict[str, Any], "Final training and validation figures."]
    num_examples: Annotated[int | None, "Training examples; null for the base model."]
    created_at: Annotated[datetime, "When it was registered, UTC."]
    dataset_version: Annotated[int | None, "Catalog version that its training set was read from."] = None
    dataset_digest: Annotated[str | None, "SHA-256 of the training set's file, hex."] = None
    seed: Annotated[int | None, "Seed of its training."] = None
    code_version: Annotated[str | None, "Version of this code that trained it."] = None


@dataclass(frozen=True, slots=True)
class TrainingCurveRow(Row):
    """Training loss over steps."""

    TABLE: ClassVar[str] = "training_curves"
    round_id: RoundId
    role: Annotated[str, "policy or ppm."]
    step: Annotated[int, "Optimiser step; 1 is the first."]
    epoch: Annotated[float, "Passes over the training set so far."]
    loss: Annotated[float | None, "Training loss (nats); null where the step logged none."]
    learning_rate: Annotated[float | None, "Learning rate at this step; null where the step logged none."]
    metrics: Annotated[dict[str, Any], "Everything else that was logged at this step."]


@dataclass(frozen=True, slots=True)
class EvaluationRow(Row):
    """One held-out problem under one label each. Policy-alone and System 2 numbers have different labels.

    System 2 with several trees has more labels: system2-majority and system2-weighted (other answer rules),
    system2-maj@k (majority of the first k trees), system2-pass@k (any of the first k is right: a bound).
    """

    TABLE: ClassVar[str] = "evaluations"
    round_id: RoundId
    label: Annotated[str, "What was evaluated: base, r1, r2, … (policy alone), system2 or a part of it."]
    shard_id: Annotated[str | None, "Shard that wrote the row; null if a whole round did."]
    problem_id: ProblemId
    source: Annotated[str, "Source (family or benchmark) of the problem."]
    tier: Annotated[str, "Difficulty class of the problem."]
    correct: Annotated[bool | None, "Verdict; null if it could not be decided, which is neither."]
    answer: Annotated[str | None, "Final answer given; null if there was none, and for pass@k."]
    num_trajectories: Annotated[int, "Trajectories the answer was chosen from; 1 for greedy pass@1."]
    num_tokens: Annotated[int, "Tokens generated for this problem."]
    seconds: Annotated[float, "Wall time, s."]


@dataclass(frozen=True, slots=True)
class StageRow(Row):
    """How long each stage of a round took and what it did."""

    TABLE: ClassVar[str] = "stages"
    round_id: RoundId
    stage: Annotated[str, "Name of the stage, for example search, sft or evaluate."]
    seconds: Annotated[float, "Wall time, s."]
    detail: Annotated[dict[str, Any], "Counts and figures of the stage."]
    finished_at: Annotated[datetime, "When it ended, UTC."]


@dataclass(frozen=True, slots=True)
class LineageRow(Row):
    """What was made from what: child came from parent."""

    TABLE: ClassVar[str] = "lineage"
    child: Annotated[str, "Name of the thing made: a model id, a data set or a report."]
    parent: Annotated[str, "Name of the thing it was made from."]
    relation: Annotated[str, "How, for example trained_on, started_from or evaluated."]
    round_id: Annotated[int | None, "Round it happened in; null outside rounds."]
