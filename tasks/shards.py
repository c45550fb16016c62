"""Shards: the unit of work, of retry and of progress. Each commits once, in one transaction."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from infra.catalog.rows import ShardRow, ShardStatus
from infra.metrics import serve_metrics
from infra.pulse import Pulse
from rstar_core.errors import RstarError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from infra.catalog.catalog import Catalog
    from rstar_core.config import CampaignConfig
    from rstar_core.types import Problem


def plan(
    catalog: Catalog,
    config: CampaignConfig,
    round_id: int,
    kind: str,
    prefix: str,
    problem_ids: Sequence[str],
) -> list[str]:
    """Write down the shards of the problems that are in none yet; the ids of all unfinished ones.

    A shard keeps its problems once it is planned: those that are added later get shards of their own.
    """
    known = catalog.shards(round_id, kind=kind)
    planned = {each for row in known for each in row.problem_ids}
    left, size = [each for each in problem_ids if each not in planned], config.shard_size
    parts = [tuple(left[start : start + size]) for start in range(0, len(left), size)]
    catalog.plan_shards(
        ShardRow(
            round_id=round_id,
            shard_id=f"{prefix}-{number:05d}",
            kind=kind,
            attempt=0,
            status=ShardStatus.PENDING,
            num_problems=len(part),
            problem_ids=part,
        )
        for number, part in enumerate(parts, start=len(known))
    )
    return [row.shard_id for row in catalog.missing_shards(round_id, kind=kind)]


def pulse_of(config: CampaignConfig, shard: ShardRow) -> Pulse:
    """The limits of an attempt, from now on."""
    return Pulse(
        shard.shard_id,
        timeout_seconds=config.shard_timeout_seconds,
        stall_seconds=config.shard_stall_seconds,
    )


def begin(catalog: Catalog, round_id: int, shard_id: str) -> tuple[ShardRow, list[Problem]]:
    """A new attempt: the shard's row with its number, and the problems."""
    serve_metrics()
    row = catalog.fetch(ShardRow, "round_id = ? AND shard_id = ?", (round_id, shard_id))[0]
    shard = catalog.start_shard(row)
    known = {problem.problem_id: problem for problem in catalog.problems(round_id=round_id)}
    return shard, [known[problem_id] for problem_id in shard.problem_ids]


@contextmanager
def reason_kept(catalog: Catalog, shard: ShardRow, started: float) -> Iterator[None]:
    """Write down why an attempt failed; a shard without a reason would look as if it still ran."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, RstarError) else f"{type(error).__name__}: {error}"
        catalog.fail_shard(timed(shard, started), reason)
        raise


def timed(shard: ShardRow, started: float) -> ShardRow:
    """The shard with the time of its attempt, by a clock that nobody sets."""
    return replace(shard, seconds=time.monotonic() - started)
