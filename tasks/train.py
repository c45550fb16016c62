"""Training: the policy from the base model, the PPM from that round's policy; each at most once a round."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.catalog.round_rows import LineageRow, ModelRow, SftExampleRow, StepPairRow, TrainingCurveRow
from infra.catalog.transactions import patiently
from infra.models.embedded import say_on_stderr
from infra.models.layout import digest_of_model
from infra.models.registry import BASE, beside_data, find_model, push_row, trained_id
from infra.models.resolve import resolve_model
from infra.progress import progress
from infra.provenance import code_version
from infra.services import close_models
from infra.training.datasets import write_pairs, write_sft
from infra.training.job import PpmJob, SftJob
from infra.training.launch import accelerate_launcher, file_digest, run_training
from infra.training.lora import check_installed
from infra.training.pair_metrics import COLLAPSED
from infra.workspace import Workspace
from rstar_core.budget import derive_seed
from rstar_core.config import CampaignConfig
from rstar_core.errors import ArtifactError, CatalogAwayError, TrainingError
from tasks.logs import warn

if TYPE_CHECKING:
    from pathlib import Path

    from infra.catalog.catalog import Catalog
    from infra.training.job import Progress, TrainingResult
    from rstar_core.training_config import PpmConfig


def check_trainings(config: CampaignConfig, round_id: int) -> None:
    """Find now what would stop the round's trainings, and not after its search.

    Raises:
        TrainingError: `accelerate` names nothing, or peft is missing.
    """
    accelerate_launcher(config.accelerate)
    sft = config.rounds[round_id - 1].sft
    if sft is not None and sft.lora is not None:
        check_installed()


@task(name="train-policy", task_run_name="train-policy-round-{round_id}", cache_policy=NO_CACHE)
def train_policy(config: CampaignConfig, round_id: int) -> str | None:
    """Fine-tune the base model on the round's examples; its model id, or None without examples."""
    sft = config.rounds[round_id - 1].sft
    model_id = trained_id(round_id, "policy")
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        if find_model(catalog, model_id) is not None:
            return model_id
        snapshot = catalog.newest_snapshot()
    with workspace.open_catalog(at=snapshot) as catalog:
        rows = catalog.fetch(SftExampleRow, "round_id = ?", (round_id,), order_by="problem_id, rank")
        if sft is None:
            return None
        if not rows:
            warn(
                f"Round {round_id} found no right trajectory, so no policy is trained "
                "and the round after it asks the same one again."
            )
            return None
    base = resolve_model(config.policy.model)
    job = SftJob(
        base_model=base,
        dataset=write_sft(workspace.dataset(round_id, "sft"), rows),
        output=workspace.model(round_id, "policy"),
        seed=derive_seed(config.seed, round_id, "sft"),
        config=sft,
    )
    result = _run(config, job, f"train policy {round_id}")
    with workspace.open_catalog() as catalog:
        _register(catalog, _Origin(round_id, BASE, len(rows), snapshot), job, result)
    return model_id


@task(name="train-ppm", task_run_name="train-ppm-round-{round_id}", cache_policy=NO_CACHE)
def train_ppm(config: CampaignConfig, round_id: int) -> str | None:
    """Train the PPM from the round's policy on the round's pairs; its model id, or None without either."""
    ppm = config.rounds[round_id - 1].ppm
    model_id = trained_id(round_id, "ppm")
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        if find_model(catalog, model_id) is not None:
            return model_id
        policy = find_model(catalog, trained_id(round_id, "policy"))
        snapshot = catalog.newest_snapshot()
    with workspace.open_catalog(at=snapshot) as catalog:
        rows = catalog.fetch(
            StepPairRow, "round_id = ?", (round_id,), order_by="group_id, prefix, positive, negative"
        )
        if ppm is None:
            return None
        if not rows or policy is None:
            lacks = "pair of good and bad steps" if policy else "policy"
            warn(f"Round {round_id} has no {lacks} to train a PPM with, so none is trained.")
            return None
        problems = {each.problem_id: each for each in catalog.problems()}
    job = PpmJob(
        base_model=resolve_model(policy.location),
        dataset=write_pairs(workspace.dataset(round_id, "pairs"), rows, problems),
        output=workspace.model(round_id, "ppm"),
        seed=derive_seed(config.seed, round_id, "ppm"),
        config=ppm,
    )
    result = _run(config, job, f"train ppm {round_id}")
    _refuse_bad_ppm(ppm, result)
    with workspace.open_catalog() as catalog:
        _register(catalog, _Origin(round_id, policy.model_id, len(rows), snapshot), job, result)
    return model_id


def _refuse_bad_ppm(ppm: PpmConfig, result: TrainingResult) -> None:
    """A PPM that ranks too badly is not published: nothing is searched with it.

    Raises:
        TrainingError: It gives every step one score, or ranks too few held-out pairs right.
    """
    accuracy = result.metrics.get("pair_accuracy")
    place = f"it lies in {result.model_dir} and is not published"
    spread = result.metrics.get("score_spread", math.inf)  # absent: trained by an older version
    if spread is None:  # JSON has no other word for what is no number
        raise TrainingError(
            f"The PPM's scores are no numbers; {place}. Lower [rounds.ppm] learning_rate, and remove that "
            "folder."
        )
    if spread < COLLAPSED:
        raise TrainingError(
            f"The PPM has collapsed: it gives every step the same score; {place}. Lower [rounds.ppm] "
            "learning_rate, or give it more pairs, and remove that folder."
        )
    if ppm.min_pair_accuracy is not None and (accuracy is None or accuracy < ppm.min_pair_accuracy):
        found = "no pairs are held out to tell" if accuracy is None else f"it ranks {100 * accuracy:.0f} %"
        raise TrainingError(
            f"The PPM is to rank {100 * ppm.min_pair_accuracy:.0f} % of held-out pairs right "
            f"(min_pair_accuracy), but {found}; {place}. Change the settings and remove that folder."
        )


def _run(config: CampaignConfig, job: SftJob | PpmJob, stage: str) -> TrainingResult:
    """Run a trainer in processes of its own, with the memory of this process's models given back first."""
    close_models()
    shown = progress()
    last = 0

    def on_progress(point: Progress) -> None:
        nonlocal last
        if last == 0:
            shown.begin(stage, point.total_steps, "steps")
        shown.advance(stage, point.step - last, f"loss {point.loss:.3f}")
        last = point.step

    try:
        return run_training(job, on_progress=on_progress, launcher=accelerate_launcher(config.accelerate))
    finally:
        shown.end(stage)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a training set came from, and what the training started from."""

    round_id: int
    base_model: str
    num_examples: int
    snapshot: int


def _register(catalog: Catalog, origin: _Origin, job: SftJob | PpmJob, result: TrainingResult) -> None:
    """Curve and lineage first, the model last: a model that the catalog names is complete."""
    round_id, base_model = origin.round_id, origin.base_model
    role = "policy" if job.kind == "sft" else "ppm"
    model_id = trained_id(round_id, role)
    curve = [
        TrainingCurveRow(round_id, role, each.step, each.epoch, each.loss, each.learning_rate, {})
        for each in result.curve
    ]
    catalog.replace_round(TrainingCurveRow, round_id, curve, role=role)
    dataset = f"round-{round_id}/{'sft_examples' if role == 'policy' else 'step_pairs'}"
    lineage = [
        LineageRow(model_id, base_model, "started_from", round_id),
        LineageRow(model_id, dataset, "trained_on", round_id),
    ]
    catalog.replace_round(LineageRow, round_id, lineage, child=model_id)
    row = ModelRow(
        model_id=model_id,
        round_id=round_id,
        role=role,
        base_model=base_model,
        location=str(result.model_dir),
        digest=digest_of_model(result.model_dir),
        metrics={**result.metrics, "tokens_per_second": result.tokens_per_second, "seconds": result.seconds},
        num_examples=origin.num_examples,
        created_at=datetime.now(UTC),
        dataset_version=origin.snapshot,
        dataset_digest=file_digest(job.dataset),
        seed=job.seed,
        code_version=code_version(),
    )
    destination = beside_data(catalog.location)
    if destination is not None:  # other machines have to find it
        row = replace(row, location=_pushed(result.model_dir, destination, row))
    catalog.replace_round(ModelRow, round_id, [row], role=role)


def _pushed(directory: Path, destination: str, row: ModelRow) -> str:
    """The address of the model in the team's store, which may be away for a while.

    Raises:
        CatalogAwayError: It is away for too long; the same command goes on from here.
    """

    def once() -> str:
        try:
            return push_row(directory, destination, row, say_on_stderr)
        except ArtifactError as error:
            raise CatalogAwayError(f"the store of the models cannot be used now: {error}") from error

    return patiently(once)
