"""How a flow runs a stage: all its shards side by side, its time and figures into the catalog."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from prefect.task_runners import ThreadPoolTaskRunner

from infra.catalog.round_rows import StageRow
from infra.progress import progress
from infra.workspace import Workspace
from rstar_core.errors import RstarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prefect import Task
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from rstar_core.config import CampaignConfig

_MAX_PARALLEL_SHARDS = 16


def _nothing_follows(_: object) -> None:
    """The shards are all there are."""


class ShardsFailedError(RstarError):
    """Some shards of a stage failed; the others are done and stay done."""


def run_shards(
    task: Task[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    stage: str,
    follow: Callable[[Any], tuple[Any, ...] | None] = _nothing_follows,
) -> None:
    """Run one task per shard side by side; a failing shard does not stop the others.

    Args:
        task: Runs a shard; the third argument is its id.
        arguments: The task's arguments for each shard.
        stage: Named in the error.
        follow: From what a shard's task returned to the arguments of a shard that is to come after it.

    Raises:
        ShardsFailedError: Names the shards that failed and the first reason.
    """
    ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
    running: dict[PrefectFuture[Any], str] = {}
    count = 0
    failed: list[tuple[str, BaseException]] = []

    def submit(each: tuple[Any, ...]) -> None:
        future = task.submit(*each)
        running[future] = str(each[2])
        future.add_done_callback(ended.put)

    for each in arguments:
        submit(each)
    while running:
        future = ended.get()
        name = running.pop(future)
        count += 1
        result: object = future.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            failed.append((name, result))
        elif (following := follow(result)) is not None:
            submit(following)
    if failed:
        names = ", ".join(name for name, _ in failed[:5]) + (", …" if len(failed) > 5 else "")
        raise ShardsFailedError(
            f"{len(failed)} of {count} shards of {stage} failed ({names}), first because: "
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
