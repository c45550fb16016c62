"""What a person reads: tables in the Prefect UI while it runs, a written report at the end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from infra.catalog.catalog import Catalog
from infra.catalog.history import difference
from infra.report import coverage_table, markdown, summarise
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig


def artifact_key(name: str) -> str:
    """A campaign's name as Prefect wants the keys of artifacts: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@task(name="publish-coverage", cache_policy=NO_CACHE)
def publish_coverage(config: CampaignConfig, round_id: int) -> None:
    """The round's coverage as a table artifact."""
    with Workspace.of(config).open_catalog() as catalog:
        rows = catalog.coverage(round_id)
    create_table_artifact(
        key=f"{artifact_key(config.name)}-coverage-round-{round_id}",
        table=rows,
        description=f"Training problems of round {round_id} with at least one correct trajectory, by tier",
    )


@task(name="publish-campaign", cache_policy=NO_CACHE)
def publish_campaign(campaign: str, *, publish: bool = True) -> str:
    """A campaign's coverage and what changed within a day, as a markdown artifact; returns the text."""
    with Catalog.open(campaign, read_only=True) as catalog:
        text = f"# Coverage\n\n{coverage_table(catalog.coverage())}"
        before = catalog.snapshot_before(datetime.now(UTC) - timedelta(days=1))
        if before is not None:
            changed = difference(catalog, str(before), str(catalog.newest_snapshot()))
            text += (
                f"\nSince yesterday {len(changed.newly_solved):,} problems were newly solved, "
                f"and {len(changed.newly_lost):,} are no longer.\n"
            )
        name = re.split(r"[/=]", catalog.location.root.rstrip("/"))[-1]
    if publish:
        create_markdown_artifact(key=f"{artifact_key(name)}-coverage", markdown=text, description="Coverage")
    return text


@task(name="publish-evaluation", cache_policy=NO_CACHE)
def publish_evaluation(config: CampaignConfig, round_id: int, label: str) -> None:
    """One evaluation's figures as a table artifact."""
    with Workspace.of(config).open_catalog() as catalog:
        row = summarise(catalog).heldout[label]
    create_table_artifact(
        key=f"{artifact_key(config.name)}-evaluation-{label}",
        table=[{"label": label, "round": round_id, **row}],
        description=f"Held-out problems, {label}: pass@1 with its 95 % interval",
    )


@task(name="write-report", cache_policy=NO_CACHE)
def write_report(config: CampaignConfig) -> Path:
    """The campaign's report, beside its catalog and as an artifact; returns its path."""
    workspace = Workspace.of(config)
    with workspace.open_catalog() as catalog:
        text = markdown(summarise(catalog), name=config.name, seed=config.seed)
    partial = workspace.report.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(workspace.report)
    create_markdown_artifact(
        key=f"{artifact_key(config.name)}-report", markdown=text, description="What the campaign achieved"
    )
    return workspace.report
