"""What the Prefect UI shows while a stage runs: how far it is, and a page of figures."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from infra.metrics import keep_round
from infra.report import coverage_table
from infra.workspace import Workspace
from tasks.report import artifact_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from infra.catalog.rows import ShardRow
    from rstar_core.config import CampaignConfig

UPDATE_SECONDS = 15.0
_BESIDE = (
    ("programs", "programs", "programs_run"),
    ("answers checked", "answers", "answers_compared"),
)
"""What is done beside the engine: its name, how much was asked for, and how much of that was new."""


class SearchMonitor:
    """Keeps a progress artifact and a page of one round's search up to date, at most every 15 s.

    Args:
        config: The campaign.
        round_id: The round.
        measure: Figures of this run so far: wall_seconds and those of `infra.services.counts`.
    """

    def __init__(
        self, config: CampaignConfig, round_id: int, measure: Callable[[], Mapping[str, float]]
    ) -> None:
        self._config, self._round_id, self._measure = config, round_id, measure
        self._key = f"{artifact_key(config.name)}-round-{round_id}"
        self._progress: UUID | None = None
        self._updated = time.monotonic()
        self._first: tuple[float, int, float] | None = None  # seconds, problems and tokens of the first look

    def update(self, *, at_once: bool = False) -> None:
        """Show how far it is, if the last time is long enough ago; a server that is away is let be."""
        if not at_once and time.monotonic() - self._updated < UPDATE_SECONDS:
            return
        self._updated = time.monotonic()
        with Workspace.of(self._config).open_catalog(read_only=True) as catalog:
            shards = [row for row in catalog.shards(self._round_id) if not row.kind.startswith("evaluate")]
            coverage = catalog.coverage(self._round_id)
        keep_round(self._config.name, self._round_id, shards, coverage)
        with suppress(PrefectException, httpx.HTTPError):
            self._publish(shards, coverage)

    def _publish(self, shards: Sequence[ShardRow], coverage: Sequence[dict[str, Any]]) -> None:
        done, total = _problems(shards, "done"), _problems(shards)
        percent = 100 * done / total if total else 100.0
        if self._progress is None:
            made = create_progress_artifact(
                percent,
                key=f"{self._key}-progress",
                description=f"Problems searched in round {self._round_id}",
            )
            self._progress = cast("UUID", made)  # it is a coroutine only where it is awaited
        else:
            update_progress_artifact(self._progress, percent)
        create_markdown_artifact(
            key=f"{self._key}-state",
            markdown=_page(self._round_id, shards, self._figures(shards, done, total))
            + "\n"
            + coverage_table(coverage),
            description=f"Round {self._round_id}: {percent:.0f} % of the problems searched",
        )

    def _figures(self, shards: Sequence[ShardRow], done: int, total: int) -> dict[str, str]:
        spent = self._measure()
        wall, ours = max(spent["wall_seconds"], 1e-9), spent["generated_tokens"]
        tokens = ours or sum(row.num_tokens or 0 for row in shards)  # other machines' engines count there
        self._first = self._first or (wall, done, tokens)
        seconds, problems, new_tokens = (
            now - then for now, then in zip((wall, done, tokens), self._first, strict=True)
        )
        rate = ours / wall if ours else new_tokens / max(seconds, 1e-9)
        figures = {
            "problems searched": f"{done:,} of {total:,}",
            f"tokens {'generated in this run' if ours else 'of finished shards'}": f"{tokens:,.0f}",
            "tokens a second": f"{rate:,.0f}",
        }
        if ours:
            figures["engine busy"] = f"{100 * spent['busy_seconds'] / wall:.0f} %"
        if spent.get("cost"):
            figures["cost of this run"] = f"{spent['cost']:,.2f}"
        for name, asked, new in _BESIDE:
            if spent.get(asked):
                remembered = 100 * (1 - spent[new] / spent[asked])
                figures[f"{name} a second"] = f"{spent[asked] / wall:,.1f} ({remembered:.0f} % remembered)"
        if problems > 0 and done < total:
            left = (total - done) / problems
            figures["time left at this rate"] = f"{left * seconds / 60:,.0f} min"
            figures["tokens left at this rate"] = f"{left * new_tokens:,.0f}"
        return figures


def _page(round_id: int, shards: Sequence[ShardRow], figures: Mapping[str, str]) -> str:
    statuses = Counter(row.status for row in shards)
    lines = [f"# Round {round_id}\n", "| | |", "| --- | ---: |"]
    lines += [f"| shards {name} | {statuses[name]} |" for name in ("done", "running", "pending", "failed")]
    lines += [f"| {name} | {value} |" for name, value in figures.items()]
    failed = [row for row in shards if row.status == "failed"][:10]
    if failed:
        lines += ["\n## Failed\n", "| shard | attempts | why |", "| --- | ---: | --- |"]
        lines += [f"| {row.shard_id} | {row.attempt} | {row.error} |" for row in failed]
    return "\n".join(lines) + "\n"


def _problems(shards: Sequence[ShardRow], status: str | None = None) -> int:
    return sum(row.num_problems for row in shards if status is None or row.status == status)
