"""What maintenance is foreseen to do is what it then does."""

from pathlib import Path

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.foresight import foresee
from infra.catalog.maintenance import maintain
from infra.catalog.rows import ProblemRow
from rstar_core.types import Problem, Split, Tier


@pytest.fixture
def catalog(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path / "c")) as catalog:
        for part in range(3):  # more rows than are kept inside the metadata, so that each part is a file
            names = (f"{part}-{number}" for number in range(120))
            catalog.add_problems(
                Problem(each, "q", "1", Tier.GSM, "here", "MIT", Split.TRAIN) for each in names
            )
        yield catalog


def files(catalog):
    folder = Path(catalog.location.data_path)
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet")}


def versions(catalog):
    return {
        number
        for (number,) in catalog.connection.execute("SELECT snapshot_id FROM lake.snapshots()").fetchall()
    }


def test_young_versions_are_kept_and_nothing_is_deleted(catalog):
    foreseen = foresee(catalog, keep_days=7)
    assert (foreseen.versions, foreseen.files) == ((), ())
    assert (foreseen.small_files, foreseen.kept_files) == (3, 3)


def test_exactly_the_foreseen_versions_and_at_least_the_foreseen_files_go(catalog):
    catalog.tag("first", "kept for its name")
    catalog.connection.execute(
        "DELETE FROM problems WHERE starts_with(problem_id, '0')"
    )  # an old file is free
    catalog.connection.execute("UPDATE problems SET source = 'there' WHERE starts_with(problem_id, '1')")
    catalog.tag("last", "")
    stranger = Path(catalog.location.data_path) / "main" / "problems" / "stranger.parquet"
    stranger.write_bytes(b"")
    before, known = versions(catalog), files(catalog)
    foreseen = foresee(catalog, keep_days=0)
    assert foreseen == foresee(catalog, keep_days=0)  # looking changes nothing
    assert (versions(catalog), files(catalog)) == (before, known)
    assert "main/problems/stranger.parquet" in foreseen.files

    done = maintain(catalog, keep_days=0)

    assert done.expired == len(foreseen.versions) > 0
    assert not set(foreseen.versions) & versions(catalog)
    assert before - set(foreseen.versions) <= versions(catalog)
    assert set(foreseen.files).isdisjoint(files(catalog))
    assert done.removed >= len(foreseen.files)
    assert len(catalog.fetch(ProblemRow)) == 240


def test_what_only_forgotten_versions_need_is_deleted(catalog):
    catalog.connection.execute("DELETE FROM problems")
    catalog.tag("empty", "")
    foreseen = foresee(catalog, keep_days=0)
    assert set(foreseen.files) == files(catalog)
    assert foreseen.kept_files == foreseen.small_files == 0
    assert maintain(catalog, keep_days=0).removed == len(foreseen.files) == 3
