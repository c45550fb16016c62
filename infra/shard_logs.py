"""The replay logs of a campaign's shards: opened, copied to its store meanwhile, then kept or removed."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from infra.replay_log import Belonging, ShardLog, packed_path, read_log
from rstar_core.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from infra.catalog.rows import ShardRow
    from infra.driver import TreeJob
    from infra.workspace import Workspace


def belonging_of(shard: ShardRow, jobs: Sequence[TreeJob], policy: str, ppm: str | None) -> Belonging:
    """What a shard's log belongs to; trees may go on for more rollouts than they had, so those are not in it.

    Args:
        shard: The shard.
        jobs: Its trees, all with the same settings.
        policy: What proposes the steps.
        ppm: What scores them, if anything does.
    """
    return Belonging(
        round=shard.round_id,
        shard=shard.shard_id,
        policy=policy,
        ppm=ppm,
        search=jobs[0].config.model_dump(mode="json", exclude={"num_rollouts"}) if jobs else {},
        trees=[[job.problem_id, job.tree_index, job.seed] for job in jobs],
    )


class ShardLogs:
    """The logs of one campaign, in its folder and, if it has one, in its store."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._mirror = workspace, workspace.log_mirror()

    @contextmanager
    def open(
        self, belonging: Belonging, earlier: Sequence[str] = (), *, or_anew: bool = False
    ) -> Iterator[ShardLog]:
        """A shard's log, from where an attempt here or on another machine has left it.

        Args:
            belonging: What it has to belong to.
            earlier: Shards of the same round whose trees may go on here, from what they have.
            or_anew: Begin a new log in the place of one that belongs to something else.

        Raises:
            ReplayError: It belongs to something else, or is damaged.
            ArtifactError: The store that may have more of it does not answer.
        """
        path, *before = (self._path(belonging.round, each) for each in (belonging.shard, *earlier))
        if self._mirror is not None:
            for each in (path, *before):
                self._mirror.fetch(each)
        if or_anew and path.exists() and read_log(path)[0] != belonging:
            self._remove(path)
        with (
            ShardLog(path, belonging, before) as log,
            nullcontext() if self._mirror is None else self._mirror.following(path),
        ):
            yield log

    def finish(self, log: ShardLog) -> None:
        """The shard is committed: keep its log in compressed form."""
        log.finish()
        if self._mirror is not None:
            with suppress(ArtifactError):  # the pieces are there still, for `rstar tree`
                self._mirror.seal(log.path)

    def remove(self, shard: ShardRow) -> None:
        """Forget what a shard was answered.

        Raises:
            ArtifactError: The store does not answer.
        """
        self._remove(self._path(shard.round_id, shard.shard_id))

    def _remove(self, path: Path) -> None:
        for each in (path, packed_path(path)):
            each.unlink(missing_ok=True)
        if self._mirror is not None:
            self._mirror.remove(path)

    def _path(self, round_id: int, shard_id: str) -> Path:
        return self._workspace.log(round_id, shard_id)
