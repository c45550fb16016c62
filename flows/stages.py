"""How a flow runs a stage: all its shards side by side, its time and figures into the catalog."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner

from infra.catalog.round_rows import StageRow
from infra.progress import progress
from infra.workspace import Workspace
from rstar_core.errors import RstarError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prefect import Task
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from rstar_core.config import CampaignConfig

_MAX_PARALLEL_SHARDS = 16


class ShardsFailedError(RstarError):
    """Some shards of a stage failed; the others are done and stay done."""


def run_shards(task: Task[..., str], arguments: Sequence[tuple[Any, ...]], stage: str) -> None:
    """Run one task per shard side by side; a failing shard does not stop the others.

    Raises:
        ShardsFailedError: Names the shards that failed and the first reason.
    """
    futures = [task.submit(*each) for each in arguments]
    wait(futures)
    results: list[object] = [future.result(raise_on_failure=False) for future in futures]
    failed = [
        (str(each[2]), result)
        for each, result in zip(arguments, results, strict=True)
        if isinstance(result, BaseException)
    ]
    if failed:
        names = ", ".join(name for name, _ in failed[:5]) + (", …" if len(failed) > 5 else "")
        raise ShardsFailedError(
            f"{len(failed)} of {len(futures)} shards of {stage} failed ({names}), first because: "
            f"{failed[0][1]}; run the same command again to do only what is missing"
        )


@contextmanager
def recorded_stage(
    config: CampaignConfig, round_id: int, stage: str, *, total: int = 0, unit: str = ""
) -> Iterator[dict[str, Any]]:
    """Show a stage's progress and store its wall time and the figures put into the yielded dict.

    A rerun that finds nothing to do leaves the record of the run that did the work.
    """
    detail: dict[str, Any] = {}
    started = time.perf_counter()
    if total:
        progress().begin(stage, total, unit)
    try:
        yield detail
    finally:
        if total:
            progress().end(stage)
    if detail.pop("nothing_to_do", False):
        return
    with Workspace.of(config).open_catalog() as catalog:
        earlier = catalog.fetch(StageRow, "round_id = ? AND stage = ?", (round_id, stage))
        if earlier:  # interrupted before: the time of both runs counts
            started -= earlier[0].seconds
        row = StageRow(round_id, stage, time.perf_counter() - started, detail, datetime.now(UTC))
        catalog.replace_round(StageRow, round_id, [row], stage=stage)


def shard_threads() -> TaskRunner[PrefectFuture[Any]]:
    """Shards of a flow side by side in threads of this process, over one shared engine."""
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=_MAX_PARALLEL_SHARDS))
