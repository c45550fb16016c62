"""Configuration files: what is right loads, what is wrong is one sentence that names the key."""

import pytest

from infra.configuration import apply_overrides, config_hash, load_config, parse_config
from rstar_core.errors import ConfigError

GOOD = """
name = "demo"
seed = 3

[[sources]]
kind = "builtin"
families = ["chain_sum"]

[[sources]]
kind = "file"
split = "heldout"
path = "$RSTAR_DATA_DIR/test.jsonl"
name = "gsm8k"

[[rounds]]
prompt = "bootstrap"
search = { num_candidates = 4, temperature = 1 }

[[rounds]]
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "demo.toml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)

    return load


def test_a_good_file_loads_with_the_papers_defaults(load):
    config = load(GOOD)
    assert (config.seed, len(config.sources), len(config.rounds)) == (3, 2, 2)
    assert config.rounds[0].search.num_candidates == 4
    assert config.rounds[0].search.temperature == 1.0
    assert config.rounds[1].search.num_candidates == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ("num_candidates = 4", "num_candidate = 4"),
            "rounds.0.search.num_candidate is not a setting (did you mean num_candidates?); allowed there: n",
        ),
        (
            ('families = ["chain_sum"]', "zzz = 1"),
            "sources.0.zzz is not a setting; allowed there: kind, split, families",
        ),
        (('path = "$RSTAR_DATA_DIR/test.jsonl"\n', ""), "sources.1.path is missing."),
        (('kind = "file"', 'kind = "web"'), "sources.1.kind must be one of 'builtin', 'file', not 'web'."),
        (('kind = "file"', ""), "sources.1.kind must be one of 'builtin' or 'file'."),
        (("seed = 3", 'seed = "3"'), 'seed is "3", but it should be a valid integer.'),
        (("seed = 3", "seed = true"), "seed is true, but it should be a valid integer."),
        (("seed = 3", "seed = 2026-01-01"), 'seed is "2026-01-01", but it should be a valid integer.'),
        (
            ("num_candidates = 4", "num_candidates = 0"),
            "rounds.0.search.num_candidates is 0, but it should be greater",
        ),
        (
            ('"bootstrap"', '"few-shot"'),
            "rounds.0.prompt is \"few-shot\", but it should be 'bootstrap' or 'finetuned'.",
        ),
        (
            ('"heldout"', '"test"'),
            "sources.1.split is \"test\", but it should be 'train', 'heldout' or 'imported'.",
        ),
        (('"demo"', '"De mo"'), 'name is "De mo", but it should match pattern'),
        (
            ("num_candidates = 4", 'annotation = "ppm"'),
            "rounds.0.search.annotation is 'ppm', but round 1 has no PPM",
        ),
        (
            ("seed = 3", "seed = -1\ncolour = 1"),
            "seed is -1, but it should be greater than or equal to 0 (1 more",
        ),
        (("[[rounds]]", "[[round]]"), "rounds is missing (1 more"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_file_key_and_what_is_allowed(load, change, sentence):
    with pytest.raises(ConfigError) as caught:
        load(GOOD.replace(*change))
    assert f"demo.toml, {sentence}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_and_missing_files_are_named(load, tmp_path):
    with pytest.raises(ConfigError, match=r"demo\.toml is not valid TOML: .*at line 2"):
        load('name = "demo"\nseed = = 3\n')
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(str(tmp_path / "latin.toml"))


def test_overrides_replace_settings_and_are_checked(load):
    config = load(GOOD)
    changed = apply_overrides(config, {"seed": 4, "rounds.1.search.num_rollouts": 2, "rounds.0.ppm": None})
    assert (changed.seed, changed.rounds[1].search.num_rollouts, changed.rounds[0].ppm) == (4, 2, None)
    assert changed.rounds[0].search == config.rounds[0].search
    assert apply_overrides(changed, {"rounds.0.ppm.num_epochs": 2}).rounds[0].ppm.num_epochs == 2.0
    with pytest.raises(
        ConfigError, match=r"rounds\.0\.search\.rollouts is not a setting \(did you mean num_rollouts"
    ):
        apply_overrides(config, {"rounds.0.search.rollouts": 2})
    for key in ("rounds.7.prompt", "rounds.x", "seed.deep"):
        with pytest.raises(ConfigError, match="names no setting"):
            apply_overrides(config, {key: 1})


def test_equal_settings_have_equal_hashes_however_they_were_written(load):
    config = load(GOOD)
    spelled_out = load(GOOD.replace("seed = 3", "seed = 3\nshard_size = 8"))
    assert config_hash(config) == config_hash(spelled_out)
    assert len(config_hash(config)) == 64
    assert config_hash(config) != config_hash(apply_overrides(config, {"seed": 4}))


def test_a_stored_configuration_parses_to_itself(load):
    config = load(GOOD)
    assert parse_config(config.model_dump(mode="json"), origin="the catalog") == config
