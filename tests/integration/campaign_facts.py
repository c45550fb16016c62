"""What a test sees of a campaign from outside, and what of it chance does not decide."""

import contextlib
import time
from dataclasses import fields
from datetime import UTC, datetime

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import (
    EvaluationRow,
    LineageRow,
    ModelRow,
    SftExampleRow,
    StageRow,
    StepPairRow,
    TrainingCurveRow,
)
from infra.catalog.rows import (
    DropRow,
    NodeRow,
    ProblemRow,
    RoundRow,
    ShardRow,
    ShardStatus,
    TrajectoryRow,
    TreeRow,
)
from rstar_core.errors import CatalogError

TABLES = (
    *(ProblemRow, RoundRow, ShardRow, TreeRow, NodeRow, TrajectoryRow, DropRow, StepPairRow, SftExampleRow),
    *(ModelRow, TrainingCurveRow, EvaluationRow, LineageRow),
)
CHANCE = {"seconds", "attempt", "metrics", "version", "dataset_version", "code_version"} | {
    "added_at", "started_at", "finished_at", "created_at",
}  # fmt: skip
"""Columns that clocks and kills may change; each commit of an interrupted run is a version more."""
PLACE = {"location", "config", "config_hash", "ppm_model"}
"""Columns that name the campaign's folder."""


def model_row(model_id, role, **more):
    """A model of round 1 that nobody has trained."""
    made = {"model_id": model_id, "role": role, "round_id": 1, "base_model": "base", "location": "models/x"}
    made |= {"digest": None, "metrics": {}, "num_examples": 3, "seed": 1, "created_at": datetime.now(UTC)}
    unknown = dict.fromkeys(("dataset_version", "dataset_digest", "code_version"))
    return ModelRow(**made | unknown | more)


class Watcher:
    """What the test sees of a campaign from outside, while another process writes it."""

    def __init__(self, root):
        self.root = root
        self._catalog = None

    def close(self):
        if self._catalog is not None:
            self._catalog.close()
            self._catalog = None

    def has_begun(self, kind):
        return any(row.attempt > 0 for row in self.rows(ShardRow) if row.kind == kind)

    def attempt(self, kind):
        return max((row.attempt for row in self.rows(ShardRow) if row.kind == kind), default=0)

    def has_one_done(self, kind):
        return any(row.status == ShardStatus.DONE for row in self.rows(ShardRow) if row.kind == kind)

    def has_ended(self, kind):
        rows = [row for row in self.rows(ShardRow) if row.kind == kind]
        return bool(rows) and all(row.status == ShardStatus.DONE for row in rows)

    def has_logged(self, count):
        """Whether the trees of some search had so many replies; its log lies open until it is committed."""
        with contextlib.suppress(FileNotFoundError):  # committed since it was listed
            for log in (self.root / "logs" / "round-1").glob("search-*.log"):
                if log.read_bytes().count(b"\n") > count:
                    return True
        return self.has_one_done("search")

    def has_stage(self, name):
        return any(row.stage == name for row in self.rows(StageRow))

    def trains(self, role):
        folder = self.root / "models" / "round-1"
        return (folder / f"{role}.partial" / "job.json").exists() or self.has_model(role)

    def has_model(self, role):
        return (self.root / "models" / "round-1" / role).exists()

    def rows(self, table):
        """Rows of a table; none as long as there is no catalog."""
        try:
            if self._catalog is None:
                self._catalog = Catalog.open(self.root, read_only=True)
            return self._catalog.fetch(table)
        except CatalogError:
            self.close()
            return []


def wait_until(run, seen, moment):
    """Wait for the moment; fail if the run ends or takes minutes before it comes."""
    deadline = time.monotonic() + 240
    try:
        while not moment(seen):
            assert run.poll() is None, f"the run ended too soon: {run.communicate()}"
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.05)  # a question costs 15 ms of a core that the run needs
    finally:
        seen.close()


def compare(one, other):
    """The same rows in every table, as often, in all columns that neither clock nor folder decides."""
    with Catalog.open(one, read_only=True) as left, Catalog.open(other, read_only=True) as right:
        for table in TABLES:
            assert facts(left, table) == facts(right, table), f"{table.TABLE} differs"
        assert left.coverage() == right.coverage()
        assert left.coverage(by="source") == right.coverage(by="source")


def facts(catalog, table):
    """Rows as sorted text. The drops at ingest name files; their number and reasons count."""
    names = [field.name for field in fields(table) if field.name not in CHANCE | PLACE]
    return sorted(repr([getattr(row, name) for name in names]) for row in catalog.fetch(table))
