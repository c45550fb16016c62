import json
from dataclasses import replace

import pytest

from infra.campaigns import BASE_ROUND, is_done, mark_round, refuse_other_settings
from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import RoundRow, ShardRow
from infra.configuration import apply_overrides, parse_config
from rstar_core.config import BuiltinSource, CampaignConfig, RoundConfig
from rstar_core.errors import ConfigError
from tests.integration.campaign_facts import model_row

CONFIG = CampaignConfig(name="demo", sources=(BuiltinSource(),), rounds=(RoundConfig(prompt="bootstrap"),))

SHARD = ShardRow(1, "search-00000", "search", 0, "pending", 1, ("p",))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, empty_catalog):
    """Round 1 has begun. The tests only ask, but for the last one."""
    with Catalog.open(empty_catalog(tmp_path_factory.mktemp("begun"))) as catalog:
        mark_round(catalog, CONFIG, BASE_ROUND, "done")
        mark_round(catalog, CONFIG, 1, "running")
        catalog.commit_shard(catalog.start_shard(SHARD))
        yield catalog


def test_the_same_settings_go_on(catalog):
    refuse_other_settings(catalog, CONFIG)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", 3),
        ("rounds.0.search.num_rollouts", 2),
        ("policy.model", "other"),
        ("sources.0.num_problems", 8),
    ],
)
def test_other_settings_are_refused_by_name(catalog, setting, value):
    with pytest.raises(ConfigError, match=setting.replace(".", r"\.")):
        refuse_other_settings(catalog, apply_overrides(CONFIG, {setting: value}))


def test_before_a_shard_is_done_the_model_may_be_corrected_but_not_the_problems(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        mark_round(catalog, CONFIG, BASE_ROUND, "done")
        refuse_other_settings(catalog, apply_overrides(CONFIG, {"policy.model": "other"}))
        with pytest.raises(ConfigError, match="seed"):
            refuse_other_settings(catalog, apply_overrides(CONFIG, {"seed": 3}))


def test_a_round_may_be_added_and_the_evaluation_changed(catalog):
    longer = CONFIG.model_copy(update={"rounds": (*CONFIG.rounds, RoundConfig())})
    refuse_other_settings(catalog, longer)
    refuse_other_settings(catalog, apply_overrides(CONFIG, {"evaluation.num_trees": 4}))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("policy.base_url", ["http://a/v1", "http://b/v1"]),
        ("policy.unavailable_seconds", 5.0),
        ("policy.max_concurrency", 8),
    ],
)
def test_where_a_model_is_served_may_change_at_any_time(catalog, setting, value):
    refuse_other_settings(catalog, apply_overrides(CONFIG, {setting: value}))


def test_settings_that_were_written_down_before_there_were_lists_of_addresses_are_read():
    old = CONFIG.model_dump(mode="json")
    old["policy"]["base_url"] = None
    assert CampaignConfig.model_validate_json(json.dumps(old)) == CONFIG
    old["policy"]["base_url"] = "http://a/v1"
    assert CampaignConfig.model_validate_json(json.dumps(old)).policy.base_url == ("http://a/v1",)


def with_sft(learning_rate):
    return apply_overrides(CONFIG, {"rounds.0.sft.learning_rate": learning_rate})


def test_how_a_round_trains_may_change_until_its_model_is_there(tmp_path, empty_catalog):
    """A training that failed needs other settings, and its search is not to be lost over them."""
    before, after = with_sft(1e-3), with_sft(1e-5)
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        mark_round(catalog, before, 1, "running")
        catalog.commit_shard(catalog.start_shard(SHARD))
        refuse_other_settings(catalog, after)
        catalog.replace_round(ModelRow, 1, [model_row("round-1/policy", "policy")], role="policy")
        with pytest.raises(ConfigError, match=r"rounds\.0\.sft\.learning_rate"):
            refuse_other_settings(catalog, after)
        refuse_other_settings(catalog, apply_overrides(before, {"rounds.0.ppm.learning_rate": 1e-5}))


def test_how_a_round_trains_is_fixed_once_a_later_one_has_begun(tmp_path, empty_catalog):
    """That one was searched without what would be trained now."""
    before = CONFIG.model_copy(update={"rounds": (*CONFIG.rounds, RoundConfig(prompt="bootstrap"))})
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        for number in (1, 2):
            mark_round(catalog, before, number, "running")
            catalog.commit_shard(catalog.start_shard(replace(SHARD, round_id=number)))
        with pytest.raises(ConfigError, match=r"rounds\.0\.ppm"):
            refuse_other_settings(catalog, apply_overrides(before, {"rounds.0.ppm.learning_rate": 1e-5}))
        refuse_other_settings(catalog, apply_overrides(before, {"rounds.1.ppm.learning_rate": 1e-5}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("base_url", ["http://h/v1?key=1"]), ("base_url", ["http://$USER:pw@h/v1"]), ("api_key_env", "")],
)
def test_what_an_older_version_wrote_down_is_read_though_it_would_be_refused_now(name, value):
    old = CONFIG.model_dump(mode="json")
    old["policy"][name] = value
    assert parse_config(old, origin="the catalog", stored=True).name == "demo"
    with pytest.raises(ConfigError, match="In a file, "):
        parse_config(old, origin="a file")


def test_a_round_is_done_when_it_was_marked_so_with_the_same_trainings(catalog):
    assert not is_done(catalog, CONFIG, 1)
    mark_round(catalog, CONFIG, 1, "done")
    assert is_done(catalog, CONFIG, 1)
    assert not is_done(catalog, with_sft(1e-3), 1)


def test_settings_that_an_older_version_did_not_know_count_as_their_defaults(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        mark_round(catalog, CONFIG, BASE_ROUND, "done")
        mark_round(catalog, CONFIG, 1, "running")
        catalog.commit_shard(catalog.start_shard(SHARD))
        (row,) = catalog.fetch(RoundRow, "round_id = 1")
        older = json.loads(json.dumps(row.config))
        del (
            older["scorer"],
            older["policy"]["quantization"],
            older["rounds"][0]["search"]["rollouts_in_flight"],
        )
        catalog.replace_round(RoundRow, 1, [replace(row, config=older)])
        refuse_other_settings(catalog, CONFIG)
        with pytest.raises(ConfigError, match="quantization"):
            refuse_other_settings(catalog, apply_overrides(CONFIG, {"policy.quantization": "int8"}))
