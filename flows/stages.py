"""How a flow runs a stage: all its shards side by side, its time and figures into the catalog."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, cast

from prefect.futures import PrefectConcurrentFuture
from prefect.task_runners import ThreadPoolTaskRunner

from infra.catalog.round_rows import StageRow
from infra.progress import progress
from infra.workspace import Workspace
from rstar_core.errors import ConfigError, EngineStoppedError, RstarError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prefect import Task
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

    from rstar_core.config import CampaignConfig

    Measure = Callable[[], dict[str, float]]

_MAX_PARALLEL_SHARDS = 16
_MAX_SUBMITTED = 2 * _MAX_PARALLEL_SHARDS
"""A future and its task run cost memory and the server's attention; thousands at once gain nothing."""
_SUBMIT_SECONDS = 1 / 20
"""Prefect's server records some 25 task runs a second, and its UI is to stay quick meanwhile."""
_SAVE_EVERY_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 5.0


def _nothing_follows(_: object) -> None:
    """The shards are all there are."""


def _nothing_to_save() -> None:
    """The shards keep all there is to keep."""


class ShardsFailedError(RstarError):
    """Some shards of a stage failed; the others are done and stay done."""


def run_shards(
    task: Task[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    stage: str,
    follow: Callable[[Any], tuple[Any, ...] | None] = _nothing_follows,
    save: Callable[[], None] = _nothing_to_save,
) -> None:
    """Run one task per shard side by side; a failing shard does not stop the others.

    Where the engine has stopped, those that run end, and no other one is begun.

    Args:
        task: Runs a shard; the third argument is its id.
        arguments: The task's arguments for each shard.
        stage: Named in the error.
        follow: From what a shard's task returned to the arguments of a shard that is to come after it.
        save: Called whenever a shard has ended, and every few seconds meanwhile.

    Raises:
        EngineStoppedError: The engine has stopped; what it says.
        ShardsFailedError: Names the shards that failed and the first reason.
    """
    ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
    running: dict[PrefectFuture[Any], str] = {}
    waiting, count, earliest = deque(arguments), 0, 0.0
    failed: list[tuple[str, BaseException]] = []
    stopped: EngineStoppedError | None = None
    while waiting or running:
        while waiting and len(running) < _MAX_SUBMITTED:
            time.sleep(max(0.0, earliest - time.monotonic()))
            earliest = time.monotonic() + _SUBMIT_SECONDS
            each = waiting.popleft()
            future = task.submit(*each)
            running[future] = str(each[2])
            future.add_done_callback(ended.put)
        save()
        try:
            future = ended.get(timeout=_LOOK_EVERY_SECONDS)
        except Empty:
            continue
        if future not in running:
            continue  # called off
        name = running.pop(future)
        count += 1
        result: object = future.result(raise_on_failure=False)
        if isinstance(result, EngineStoppedError):
            stopped = stopped or result
            waiting.clear()
            _call_off_queued(running)
        elif isinstance(result, BaseException):
            failed.append((name, result))
        elif (following := follow(result)) is not None and stopped is None:
            waiting.appendleft(following)
    if stopped is not None:
        raise stopped
    if failed:
        raise _as_one(failed, count, stage)


def _as_one(failed: list[tuple[str, BaseException]], count: int, stage: str) -> ShardsFailedError:
    """One sentence of which shards failed, and why the first did."""
    names = ", ".join(name for name, _ in failed[:5]) + (", …" if len(failed) > 5 else "")
    return ShardsFailedError(
        f"{len(failed)} of {count} shards of {stage} failed ({names}), first because: "
        f"{str(failed[0][1]).rstrip('.')}; see `rstar shards --missing`, "
        "and run the same command again to do only what is missing"
    )


def _call_off_queued(running: dict[PrefectFuture[Any], str]) -> None:
    """Forget the shards that wait for a thread; one that Ray has taken over runs and fails for itself."""
    for future in list(running):
        if isinstance(future, PrefectConcurrentFuture) and future.wrapped_future.cancel():
            del running[future]


class StageRecord:
    """A stage's row in the catalog: its time, and what it did.

    Attributes:
        detail: Counts of the stage, for the caller to fill.
        nothing_to_do: Set by the caller to leave the record of the run that did the work.
    """

    def __init__(self, config: CampaignConfig, round_id: int, stage: str, measure: Measure) -> None:
        self.detail: dict[str, Any] = {}
        self.nothing_to_do = False
        self._workspace = Workspace.of(config)
        self._round_id, self._stage, self._measure = round_id, stage, measure
        self._started = time.perf_counter()
        self._saved = -math.inf
        self._earlier: list[StageRow] | None = None

    def save(self, *, finished: bool = False) -> None:
        """Write the row as it is now; an interrupted run's time and measured figures count too.

        A finished stage names the catalog's version, so that its output can be read again as it was.
        """
        self._saved = time.perf_counter()
        seconds, measured = self._saved - self._started, self._measure()
        with self._workspace.open_catalog() as catalog:
            if self._earlier is None:
                key = (self._round_id, self._stage)
                self._earlier = catalog.fetch(StageRow, "round_id = ? AND stage = ?", key)
            for row in self._earlier:
                seconds += row.seconds
                measured = {name: each + row.detail.get(name, 0) for name, each in measured.items()}
            row = StageRow(
                self._round_id, self._stage, seconds, {**self.detail, **measured}, datetime.now(UTC)
            )
            counts = ", ".join(f"{value:g} {name}" for name, value in self.detail.items())
            catalog.record_stage(row, output=counts or "done" if finished else None)

    def save_now_and_then(self) -> None:
        """Write the row, at most every half minute: a kill after the last shard then loses little of it."""
        if time.perf_counter() - self._saved > _SAVE_EVERY_SECONDS:
            self.save()


@contextmanager
def recorded_stage(
    config: CampaignConfig,
    round_id: int,
    stage: str,
    *,
    total: int = 0,
    unit: str = "",
    measure: Measure = dict,
) -> Iterator[StageRecord]:
    """Show a stage's progress and store its wall time and figures, those of one that fails too.

    Args:
        config: The campaign.
        round_id: Round of the stage.
        stage: Its name.
        total: Units of work to show; 0 shows none.
        unit: What is counted.
        measure: The figures of this run so far. Those of a run that was interrupted are added.
    """
    record = StageRecord(config, round_id, stage, measure)
    if total:
        progress().begin(stage, total, unit)
    try:
        yield record
    except BaseException:
        if measure is not dict:  # what nobody measures is worth nothing before it is done
            with suppress(RstarError, OSError):  # a catalog that is away may be the reason itself
                record.save()
        raise
    finally:
        if total:
            progress().end(stage)
    if not record.nothing_to_do:
        record.save(finished=True)


def shard_runner() -> TaskRunner[PrefectFuture[Any]]:
    """Shards of a flow side by side: in threads of this process over one shared engine, or on a Ray cluster.

    `RSTAR_TASK_RUNNER` is `threads` (default), `ray` (the cluster at RAY_ADDRESS, or one of this machine) or
    `ray://host:port`. On Ray every worker process opens its own engine, so it has to be a server's client.

    Raises:
        ConfigError: It is something else, or Ray is not installed.
    """
    wanted = os.environ.get("RSTAR_TASK_RUNNER", "threads")
    if wanted == "threads":
        return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=_MAX_PARALLEL_SHARDS))
    if wanted != "ray" and not wanted.startswith("ray://"):
        raise ConfigError(f"RSTAR_TASK_RUNNER is '{wanted}'; it can be threads, ray or ray://host:port")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner  # noqa: PLC0415 - an extra that few need
    except ImportError as error:
        raise ConfigError("Ray is not installed; run: pip install 'rstar[ray]'") from error
    address = None if wanted == "ray" else wanted
    return cast("TaskRunner[PrefectFuture[Any]]", RayTaskRunner(address=address))
