"""A PPM that was refused, changed or forgotten: how a round gets another one without searching again."""

import json
from pathlib import Path

import pytest

from infra.catalog.round_rows import ModelRow
from infra.configuration import load_config
from infra.models.registry import find_model
from infra.workspace import Workspace


def facts(config):
    """Models by name, and how often each search shard was tried."""
    with Workspace.of(load_config(config)).open_catalog(read_only=True) as catalog:
        models = {row.model_id: row for row in catalog.fetch(ModelRow)}
        attempts = {row.shard_id: row.attempt for row in catalog.shards(1, kind="search")}
    return models, attempts


def change(config, before, after):
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))


def test_a_ppm_is_refused_then_taken_then_changed_then_forgotten_and_trained_again(
    write_config, served_cli, tmp_path
):
    config = write_config(tmp_path)
    change(config, "[rounds.ppm]", "[rounds.ppm]\nmin_pair_accuracy = 1.0\neval_fraction = 0.0")
    campaign = Workspace.of(load_config(config)).root
    refused = served_cli.complaint("run", config)
    assert "no pairs are held out to tell" in refused
    models, searched = facts(config)
    assert set(models) == {"base", "round-1/policy"}
    trained = json.loads((campaign / "models" / "round-1" / "ppm" / "training.json").read_text())

    change(config, "min_pair_accuracy = 1.0\n", "")
    served_cli.answer("run", config)
    models, again = facts(config)
    assert again == searched
    ppm = models["round-1/ppm"]
    assert ppm.metrics["seconds"] == trained["seconds"]  # the one that was refused

    assert "forget that one first" in served_cli.complaint(
        "models", "forget", "round-1/policy", "-c", campaign
    )
    settings = Path(ppm.location) / "config.json"
    before = settings.read_text()
    settings.write_text(before.replace("4096", "128"))
    assert "is not the one that the catalog knows" in served_cli.complaint(
        "models", "push", "round-1/ppm", "-c", campaign, "--to", tmp_path / "store"
    )
    served_cli.answer("models", "forget", "round-1/ppm", "-c", campaign)
    assert set(facts(config)[0]) == {"base", "round-1/policy"}
    assert Path(f"{ppm.location}.forgotten").is_dir()

    served_cli.answer("run", config)
    models, again = facts(config)
    assert again == searched
    assert models["round-1/ppm"].metrics["seconds"] != trained["seconds"]
    assert models["round-1/ppm"].metrics["final_loss"] == pytest.approx(ppm.metrics["final_loss"])
    assert settings.read_text() == before
    assert "agree" in served_cli.answer("catalog", "check", "-c", campaign)


def test_a_round_that_is_over_can_be_given_a_training_that_it_did_not_have(
    write_config, served_cli, tmp_path
):
    config = write_config(tmp_path, trains=False)
    served_cli.answer("run", config)
    _, searched = facts(config)
    assert "sft" not in served_cli.answer("run", config, "--dry-run")
    change(
        config, "[evaluation]", "[rounds.sft]\nnum_epochs = 1\nbatch_size = 8\nmax_length = 512\n[evaluation]"
    )
    assert "sft" in served_cli.answer("run", config, "--dry-run")
    served_cli.answer("run", config)
    models, again = facts(config)
    assert "round-1/policy" in models
    assert again == searched


def test_a_model_with_which_a_later_round_has_begun_is_not_forgotten(write_config, served_cli, tmp_path):
    config = write_config(tmp_path, rounds=2)
    campaign = Workspace.of(load_config(config)).root
    served_cli.answer("run", config)
    with Workspace.of(load_config(config)).open_catalog(read_only=True) as catalog:
        folder = Path(find_model(catalog, "round-1/ppm").location)
    said = served_cli.complaint("models", "forget", "round-1/ppm", "-c", campaign)
    assert "Round 2 has begun with round-1/ppm" in said
    assert folder.is_dir()
    served_cli.answer("models", "forget", "round-2/ppm", "-c", campaign)
    assert "round-2/ppm" not in served_cli.answer("models", "list", "-c", campaign, "--json")
