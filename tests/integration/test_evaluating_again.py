"""`rstar evaluate --again`: what was found under other settings is forgotten, and nothing counts twice."""

from infra.configuration import load_config
from infra.workspace import Workspace
from rstar_core.errors import ModelError


def found(config):
    with Workspace.of(load_config(config)).open_catalog(read_only=True) as catalog:
        (evaluated,) = catalog.sql("SELECT count(*), count(DISTINCT problem_id) FROM evaluations")[1]
        (stage,) = catalog.sql("SELECT seconds, detail FROM stages WHERE stage = 'evaluate base'")[1]
        shards = catalog.shards(0, kind="evaluate:base")
    return evaluated, stage, {each.shard_id: each.status for each in shards}


def test_another_setting_counts_once_it_is_evaluated_again(write_config, served_cli, tmp_path):
    config = write_config(tmp_path)
    served_cli.answer("ingest", config)
    served_cli.answer("evaluate", config, "base")
    evaluated, before, shards = found(config)
    assert evaluated == (8, 8)
    assert set(shards) == {"evaluate-base-00000", "evaluate-base-00001"}

    config.write_text(config.read_text().replace("[evaluation]", "[evaluation]\nnum_problems = 3"))
    served_cli.answer("evaluate", config, "base")
    assert found(config)[0] == (8, 8)  # what is done is not done again

    told = served_cli.answer("evaluate", config, "base", "--again", "--dry-run")
    assert "forget 2 shards of 8 problems and do them again" in told
    assert found(config)[0] == (8, 8)

    served_cli.answer("evaluate", config, "base", "--again")
    evaluated, after, shards = found(config)
    assert evaluated == (3, 3)
    assert shards == {"evaluate-base-00000": "done"}
    assert after != before
    assert "agree" in served_cli.answer(
        "catalog", "check", "--checksums", "-c", Workspace.of(load_config(config)).root
    )


def test_nothing_is_forgotten_before_settings_and_models_are_known_to_fit(
    write_config, served_cli, tmp_path, monkeypatch
):
    config = write_config(tmp_path)
    served_cli.answer("ingest", config)
    served_cli.answer("evaluate", config, "base")
    before, written = found(config), config.read_text()

    config.write_text(written.replace('engine = "scripted"', 'engine = "transformers"'))
    assert "started with another policy.engine" in served_cli.complaint("evaluate", config, "base", "--again")
    assert found(config) == before

    def gone(*_):
        raise ModelError("the model is gone")

    config.write_text(written)
    monkeypatch.setattr("tasks.evaluation.open_services", gone)
    assert "the model is gone" in served_cli.complaint("evaluate", config, "base", "--again")
    assert found(config) == before
