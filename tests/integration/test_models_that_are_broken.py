"""Weights that were cut off and tokenizers that cannot spell the tags: a sentence each, and no search."""

import json
import shutil

import pytest

from infra.engines.in_process import InProcessPolicy
from infra.ppm import load_scorer, scorer_tokenizer
from infra.tokens import check_tags
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import ModelError

pytestmark = pytest.mark.real


def cut_off(folder, copy):
    shutil.copytree(folder, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return copy


def test_weights_that_were_cut_off(tiny_model, tmp_path):
    with pytest.raises(ModelError, match=r"cannot be loaded .*save or pull it again"):
        InProcessPolicy(cut_off(tiny_model, tmp_path / "policy"), "finetuned", PolicyConfig())


def test_a_ppm_that_was_cut_off(tiny_model, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    whole = tmp_path / "whole"
    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1).save_pretrained(whole)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(whole)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_scorer(cut_off(whole, tmp_path / "ppm"))


@pytest.mark.parametrize(
    ("key", "value"), [("architectures", [None]), ("id2label", 1), ("max_position_embeddings", "big")]
)
def test_a_ppm_with_a_damaged_configuration(tmp_path, key, value):
    whole = {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps({**whole, "id2label": {"0": "score"}, key: value}))
    with pytest.raises(ModelError, match=r"^The model in \S* cannot be loaded .*; save or pull it again"):
        scorer_tokenizer(tmp_path)


def test_a_tokenizer_that_cannot_spell_the_tags(tiny_model, tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    letters = Tokenizer(models.BPE(vocab={"?": 0, "a": 1}, merges=[], unk_token="?"))
    with pytest.raises(ModelError, match=r"cannot spell <code>, <end_of_step>.*knows every character"):
        check_tags(PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="?"), tmp_path)
    check_tags(AutoTokenizer.from_pretrained(tiny_model), tiny_model)
