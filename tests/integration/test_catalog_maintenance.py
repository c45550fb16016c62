"""What maintenance forgets and keeps, and that the check names every kind of difference."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.checking import differences
from infra.catalog.maintenance import maintain
from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import ShardRow, TrajectoryRow, TreeRow
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

NAMES = tuple(f"p{number}" for number in range(120))  # more than are kept inside the metadata


def commit(catalog, round_id, shard_id="search-0", *, num_trajectories=1):
    shard = ShardRow(round_id, shard_id, "search", 1, "running", len(NAMES), NAMES)
    trees = [
        TreeRow(round_id, shard_id, each, 0, 1, 4, 9, 1, num_trajectories, True, 10, 8, 0, 2.0)
        for each in NAMES
    ]
    paths = [
        TrajectoryRow(round_id, shard_id, each, 0, 0, (1,), ("s",), (0.5,), 0.5, 0.5, "1", True, "s")
        for each in NAMES
    ]
    catalog.commit_shard(shard, trees=trees, trajectories=paths)


@pytest.fixture
def catalog(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path / "c")) as catalog:
        first = Problem("p0", "q", "1", Tier.GSM, "here", "MIT", Split.TRAIN)
        catalog.add_problems([replace(first, problem_id=each) for each in NAMES])
        yield catalog


def files(catalog):
    return sorted(Path(catalog.location.data_path).rglob("*.parquet"))


def test_a_catalog_in_order_has_no_differences(catalog):
    commit(catalog, 1)
    commit(catalog, 1)  # the shard again: the files of the first time are history, and still known
    assert len(files(catalog)) > 2
    assert list(differences(catalog)) == []


def test_each_file_that_differs_is_named(catalog):
    commit(catalog, 1)
    short, lost, *_ = files(catalog)
    short.write_bytes(short.read_bytes()[:-4])
    lost.unlink()
    (short.parent / "stranger.parquet").write_bytes(b"")
    found = "\n".join(differences(catalog))
    for words in (
        f"{short} has ",
        f"{lost} is not there",
        "stranger.parquet is unknown",
        "It cannot be seen",
    ):
        assert words in found


def test_each_fact_that_contradicts_another_is_named(catalog):
    commit(catalog, 1)
    commit(catalog, 2, num_trajectories=2)
    folder = Path(catalog.location.root) / "models"
    gone = ModelRow("m", 1, "policy", "base", str(folder), "d", {}, 1, datetime.now(UTC))
    catalog.replace_round(ModelRow, 1, [gone])
    catalog.connection.execute("INSERT INTO shards FROM shards WHERE round_id = 2")
    catalog.connection.execute("UPDATE shards SET shard_id = 'other' WHERE round_id = 1")
    catalog.tag("gone", "")
    catalog.connection.execute("UPDATE versions SET version = 99999")
    found = "\n".join(differences(catalog))
    for words in (
        f"The model m at {folder} is not there",
        "There is trees of a shard that does not exist: 1, search-0",
        "There is the same shard twice: 2, search-0",
        "There is a tree whose trajectories are not as many as it says: 2, p0, 0",
        "There is a version whose snapshot is gone: gone",
    ):
        assert words in found


def test_maintenance_keeps_what_has_a_name_or_trained_a_model_and_loses_no_row(catalog):
    commit(catalog, 1)
    named = catalog.tag("round-1/search", "")
    commit(catalog, 2)
    trained = catalog.newest_snapshot()
    model = ModelRow("m", 1, "policy", "base", "hub", None, {}, 1, datetime.now(UTC), trained)
    catalog.replace_round(ModelRow, 1, [model])
    commit(catalog, 2)  # again
    coverage = catalog.coverage()
    stranger = files(catalog)[0].parent / "stranger.parquet"
    stranger.write_bytes(b"")
    assert maintain(catalog, keep_days=1).expired == 0
    assert not stranger.exists()
    done = maintain(catalog, keep_days=0)
    assert done.expired > 3
    assert done.files == len(files(catalog))
    assert list(differences(catalog)) == []
    assert catalog.coverage() == coverage
    for version in (named, trained):
        with Catalog.open(catalog.location.root, at=version) as then:
            assert len(then.fetch(TreeRow, "round_id = 1")) == len(NAMES)
    with pytest.raises(CatalogError, match="no version 1 here"):
        catalog.snapshot_of("1")
    for _ in range(2):
        maintain(catalog, keep_days=0)  # forgets the versions that the one before made
    assert maintain(catalog, keep_days=0).expired == 0
