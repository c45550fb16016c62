"""What other programs read: TRL's field names, typed Parquet, a card; all rows or no folder."""

import json

import polars as pl
import pytest

from infra import exports
from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import SftExampleRow, StepPairRow
from infra.catalog.rows import ShardRow, TrajectoryRow
from infra.exports import export
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

STEPS = ("# Step 1: add\nx = 1\n<end_of_step>\n", "print(x)\n<end_of_code>\n")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path_factory.mktemp("exports"))) as catalog:
        catalog.add_problems([Problem("p", "What is 1?", "1", Tier.GSM, "here", "MIT", Split.TRAIN)])
        examples = [SftExampleRow(1, "p", rank, "What is 1?", STEPS, 0.5, 0) for rank in (1, 2, 3)]
        catalog.replace_round(SftExampleRow, 1, examples)
        pair = StepPairRow(1, "p", "p/0/0", STEPS[0], STEPS[1], "bad\n", 1.0, -1.0, 2, False, 0.25)
        catalog.replace_round(StepPairRow, 1, [pair])
        shard = ShardRow(1, "s", "search", 1, "running", 1, ("p",))
        path = TrajectoryRow(1, "s", "p", 0, 0, (1, 2), STEPS, (0.5, 1.0), 0.75, 0.5, "1", True, "é")
        catalog.commit_shard(shard, trajectories=[path])
        yield catalog


def test_sft_rows_are_prompts_and_completions(catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_BATCH_ROWS", 2)  # the third row comes in a batch of its own
    assert export(catalog, "sft", 1, "jsonl", tmp_path / "out") == 3
    rows = [json.loads(line) for line in (tmp_path / "out" / "sft.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert rows[0]["prompt"].startswith("Question: What is 1?\n")
    assert rows[0]["completion"] == "".join(STEPS)


def test_pairs_are_chosen_and_rejected_after_the_shared_steps(catalog, tmp_path):
    export(catalog, "pairs", 1, "parquet", tmp_path / "out")
    (row,) = pl.read_parquet(tmp_path / "out" / "pairs.parquet").to_dicts()
    assert row["prompt"].endswith(STEPS[0])
    assert (row["chosen"], row["rejected"], row["weight"], row["final"]) == (STEPS[1], "bad\n", 0.25, False)


def test_a_data_set_of_the_hub_has_its_layout_and_a_card(catalog, tmp_path):
    export(catalog, "trajectories", 1, "hf", tmp_path / "out")
    (row,) = pl.read_parquet(tmp_path / "out" / "data" / "*.parquet").to_dicts()
    assert (row["reference"], row["answer"], row["correct"], row["q_values"]) == ("1", "1", True, [0.5, 1.0])
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nconfigs:")
    assert f"1 rows, from version {catalog.newest_snapshot()} of the catalog" in card
    assert "| here | 1 | MIT |" in card


@pytest.mark.parametrize(
    ("what", "round_id", "form", "match"),
    [
        ("sft", 9, "jsonl", "Round 9 has no sft"),
        ("models", 1, "jsonl", "choose sft, pairs"),
        ("sft", 1, "xlsx", "parquet, jsonl, hf"),
    ],
)
def test_what_cannot_be_exported_leaves_no_folder(catalog, tmp_path, what, round_id, form, match):
    with pytest.raises(CatalogError, match=match):
        export(catalog, what, round_id, form, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_left_alone(catalog, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        export(catalog, "sft", 1, "jsonl", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="cannot be written"):
        export(catalog, "sft", 1, "jsonl", tmp_path / "file" / "out")
