"""Log lines of shards: each carries its round, shard and problem, in its text and as fields."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.catalog.rows import ShardRow
    from infra.driver import GrownTree


class ShardLines:
    """Writes to the log of the task run, or to `rstar.shards` where there is none.

    The fields `round`, `shard` and `problem` are in each record for whoever formats logs as JSON.
    """

    def __init__(self, shard: ShardRow) -> None:
        self._start = f"round {shard.round_id}, {shard.shard_id}"
        self._fields = {"round": shard.round_id, "shard": shard.shard_id}

    def begins(self, shard: ShardRow, num_trees: int) -> None:
        """An attempt begins."""
        self._write(
            logging.INFO, f"attempt {shard.attempt}, {shard.num_problems} problems, {num_trees} trees"
        )

    def searched(self, grown: Sequence[GrownTree], seconds: float, follow_up: ShardRow | None) -> None:
        """It has ended well."""
        solved: dict[str, bool] = {}
        for each in grown:
            name = each.job.problem_id
            solved[name] = solved.get(name, False) or any(leaf.correct for leaf in each.tree.answers())
        for name, is_solved in solved.items():
            self._write(logging.DEBUG, "solved" if is_solved else "unsolved", problem=name)
        tokens = sum(each.tree.num_tokens for each in grown)
        more = "" if follow_up is None else f"; {follow_up.num_problems} go on in {follow_up.shard_id}"
        share = f"{sum(solved.values())} of {len(solved)} problems solved"
        self._write(logging.INFO, f"{share}, {tokens:,} tokens, {seconds:.0f} s{more}")

    def _write(self, level: int, text: str, problem: str | None = None) -> None:
        fields: dict[str, Any] = self._fields if problem is None else {**self._fields, "problem": problem}
        where = self._start if problem is None else f"{self._start}, problem {problem}"
        _logger("rstar.shards", fields).log(level, "%s: %s", where, text)


def warn(text: str) -> None:
    """A warning in the log of the run, or in that of `rstar.tasks` where there is none."""
    _logger("rstar.tasks", {}).warning("%s", text)


def _logger(name: str, fields: dict[str, Any]) -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger(None, **fields)
    except MissingContextError:
        return logging.LoggerAdapter(logging.getLogger(name), fields)
