"""A disk that is full is a sentence, and the same command goes on when there is room."""

import os
import shutil
import subprocess

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import StageRow
from infra.catalog.rows import ProblemRow, ShardRow, TreeRow


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a small disk: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run([shutil.which("umount"), folder], check=True)


def test_a_full_disk_is_a_sentence_and_the_run_goes_on_when_there_is_room(
    served_cli, write_config, tmp_path, small_disk
):
    config = write_config(tmp_path, trains=False)
    filler = small_disk / "filler"
    fill(filler)
    assert str(small_disk) in served_cli.complaint("ingest", config, "--root", small_disk)
    filler.unlink()  # nothing is half made
    assert "20 problems found, 20 new" in served_cli.answer("ingest", config, "--root", small_disk)
    fill(filler)
    complaint = served_cli.complaint("run", config, "--root", small_disk)
    assert "full" in complaint or "space" in complaint
    filler.unlink()
    with Catalog.open(small_disk / "small", read_only=True) as catalog:
        assert len(catalog.fetch(ProblemRow)) == 20
        assert not catalog.fetch(TreeRow)
    served_cli.answer("run", config, "--root", small_disk)
    with Catalog.open(small_disk / "small", read_only=True) as catalog:
        assert {row.status for row in catalog.fetch(ShardRow)} == {"done"}
        assert {row.stage for row in catalog.fetch(StageRow)} >= {"search", "select", "pairs"}


def fill(path):
    """Write a file until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
