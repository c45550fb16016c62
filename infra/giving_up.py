"""Search shards that a round goes on without: they stand among the drops, so nothing disappears silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.catalog.rows import DropRow, ShardStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import ShardRow

_REASON = "shard_failed"
_EVALUATION = "evaluate:"


def missing_searches(catalog: Catalog, round_id: int) -> list[ShardRow]:
    """Search shards of a round that are not done, those of its escalations too."""
    return _searches(catalog.missing_shards(round_id))


def may_go_on(catalog: Catalog, round_id: int, min_success_ratio: float) -> bool:
    """Whether a round may go on as its searches are now.

    It may if all that is missing has failed, and if the share of problems of which every shard is done is at
    least this ratio. What was never tried is not given up.
    """
    missing = missing_searches(catalog, round_id)
    if any(row.status != ShardStatus.FAILED for row in missing):
        return False
    if not missing:
        return True
    unsearched = {each for row in missing for each in row.problem_ids}
    known = {each for row in _searches(catalog.shards(round_id)) for each in row.problem_ids}
    return (len(known) - len(unsearched)) / len(known) >= min_success_ratio


def give_up(catalog: Catalog, round_id: int) -> int:
    """Write each failed search shard down as a drop, and return how many; a success takes it back."""
    rows = [
        DropRow(
            round_id=round_id,
            shard_id=row.shard_id,
            stage="search",
            problem_id=None,
            source=None,
            reason=_REASON,
            detail=row.error,
            count=row.num_problems,
        )
        for row in missing_searches(catalog, round_id)
    ]
    catalog.replace_round(DropRow, round_id, rows, stage="search", reason=_REASON)
    return len(rows)


def _searches(rows: Sequence[ShardRow]) -> list[ShardRow]:
    return [row for row in rows if not row.kind.startswith(_EVALUATION)]
