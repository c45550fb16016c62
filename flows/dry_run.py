"""What each flow would do now, in words; nothing is written and nothing is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.catalog.catalog import Catalog
from infra.catalog.foresight import foresee
from infra.models.registry import trained_id
from infra.plan import Given, make_plan
from infra.problems.preview import preview_ingest
from infra.workspace import Workspace
from rstar_core.types import Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.plan import Plan
    from infra.plan_stages import Stage
    from infra.problems.preview import IngestPreview
    from rstar_core.config import CampaignConfig

_FEW = 5
_MODELS = {"sft": ("policy", "examples"), "ppm": ("ppm", "pairs")}


def of_campaign(config: CampaignConfig) -> str:
    """What `campaign_flow` would do: problems to add, shards to run, models to train.

    Raises:
        RstarError: A run would refuse to start, or a source or the catalog cannot be read.
    """
    ingest = preview_ingest(config)
    after = ingest.after
    given = Given(after[Split.TRAIN], after[Split.HELDOUT]) if ingest.added else Given()
    plan = make_plan(config, given)
    return as_text(config, [_ingest_line(ingest), *_lines(config, plan.stages), f"write {_report(config)}"])


def of_ingest(config: CampaignConfig) -> str:
    """What `ingest_flow` would do. Raises: RstarError, as above."""
    return as_text(config, [_ingest_line(preview_ingest(config))])


def of_round(config: CampaignConfig, round_id: int) -> str:
    """What `round_flow` would do. Raises: RstarError, as above."""
    stages = [each for each in make_plan(config).stages if each.round_id == round_id]
    return as_text(config, list(_lines(config, [each for each in stages if not each.is_evaluation])))


def of_evaluation(config: CampaignConfig, round_id: int, label: str, *, again: bool = False) -> str:
    """What `evaluate_flow` would do. Raises: RstarError, as above."""
    plan: Plan = make_plan(config)
    stage = plan.of.evaluation(round_id, label)
    lines = list(_lines(config, [stage]))
    if again and stage.done.shards:
        known = f"{stage.done.shards:,} shards of {stage.done.problems:,} problems"
        lines.insert(0, f"round {round_id}, {stage.name}: forget {known} and do them again")
    return as_text(config, lines)


def of_maintenance(campaign: str, keep_days: float) -> str:
    """What `maintain_flow` would do. Raises: CatalogError: There is no catalog, or it cannot be read."""
    with Catalog.open(campaign, read_only=True) as catalog:
        foreseen = foresee(catalog, keep_days=keep_days)
    lines = [
        f"forget {len(foreseen.versions):,} versions{_some([str(each) for each in foreseen.versions])}",
        f"delete {len(foreseen.files):,} files{_some(foreseen.files)}",
        f"merge {foreseen.small_files:,} small files into fewer",
        f"keep {foreseen.kept_files:,} files, before merging",
    ]
    return "\n".join([f"dry run, nothing is changed: {campaign}", *(f"- {line}" for line in lines)])


def announce(text: str, name: str) -> None:
    """Log the text and publish it as an artifact of the flow run; outside of one, print it."""
    from prefect import get_run_logger  # noqa: PLC0415 - the command line needs no Prefect for a dry run
    from prefect.artifacts import create_markdown_artifact  # noqa: PLC0415 - as above
    from prefect.context import FlowRunContext  # noqa: PLC0415 - as above

    from tasks.report import artifact_key  # noqa: PLC0415 - as above

    if FlowRunContext.get() is None:
        print(text)
        return
    for line in text.splitlines():
        get_run_logger().info(line)
    create_markdown_artifact(
        key=f"{artifact_key(name)}-dry-run", markdown=text, description="What would be done"
    )


def as_text(config: CampaignConfig, lines: Sequence[str]) -> str:
    """The lines under a head that says which campaign they are about."""
    shown = [f"- {line}" for line in lines] or ["- nothing: all of it is done"]
    return "\n".join([f"dry run, nothing is changed: {config.name} in {Workspace.of(config).root}", *shown])


def _ingest_line(ingest: IngestPreview) -> str:
    return f"ingest: {ingest.found:,} problems found, {ingest.added:,} new, {ingest.dropped:,} rows dropped"


def _lines(config: CampaignConfig, stages: Sequence[Stage]) -> Iterator[str]:
    """One line for each stage that has something left."""
    catalog = Workspace.of(config).look()
    waiting: dict[tuple[int, str], list[str]] = {}
    if catalog is not None:
        with catalog:
            for number in {each.round_id for each in stages}:
                for row in catalog.missing_shards(number):
                    waiting.setdefault((number, row.kind), []).append(row.shard_id)
    for each in stages:
        if each.left.shards:
            yield _shards_line(each, waiting.get((each.round_id, each.kind), []))
        elif each.left.examples:
            role, examples = _MODELS[each.name]
            what = f"train {trained_id(each.round_id, role)} on about {each.left.examples:,} {examples}"
            yield f"round {each.round_id}, {each.name}: {what}"


def _shards_line(stage: Stage, waiting: Sequence[str]) -> str:
    left = stage.left
    fresh = left.shards - len(waiting)
    about = "about " if stage.is_escalation and fresh else ""
    names = [*waiting[:_FEW], *(["…"] if len(waiting) > _FEW else [])]
    if fresh:
        names.append(f"{fresh:,} new")
    return (
        f"round {stage.round_id}, {stage.name}: {about}{left.shards:,} shards of {left.problems:,} problems, "
        f"{left.trees:,} trees ({', '.join(names)})"
    )


def _report(config: CampaignConfig) -> str:
    return str(Workspace.of(config).report)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_FEW]) + (", …" if len(names) > _FEW else "")
    return f" ({shown})" if names else ""
