"""Tags that are single special tokens of a tokenizer: text, stops and what is learnt stay as they are."""

import pytest

from infra.engines.in_process import InProcessPolicy
from infra.tokens import encode_pieces
from infra.training.examples import IGNORED, encode_pair, encode_sft
from infra.training.job import PairRow, SftRow
from infra.training.tiny import write_tiny_model
from rstar_core.engine_config import PolicyConfig
from rstar_core.prompts import answer_step, output_block, render
from rstar_core.requests import Propose
from rstar_core.tags import ALL_TAGS, STOP_TAGS

STEPS = (
    "# add\nx = 3 + 4\n<end_of_step>\n",
    "# Now print the final answer\nprint(x)\n<end_of_code>\n" + output_block("7\n"),
    answer_step("7"),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model whose tokenizer spells the tags, and the same with the tags added as special tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = write_tiny_model(tmp_path_factory.mktemp("plain"))
    special = tmp_path_factory.mktemp("special")
    tokenizer, model = AutoTokenizer.from_pretrained(plain), AutoModelForCausalLM.from_pretrained(plain)
    assert tokenizer.add_special_tokens({"additional_special_tokens": list(ALL_TAGS)}) == len(ALL_TAGS)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tokenizer.save_pretrained(special)
    model.save_pretrained(special)
    return plain, special


@pytest.fixture(scope="module")
def tokenizers(folders):
    from transformers import AutoTokenizer

    return [AutoTokenizer.from_pretrained(folder) for folder in folders]


@pytest.fixture
def policy(folders):
    policy = InProcessPolicy(folders[1], "finetuned", PolicyConfig(max_sequences=24, cache_mb=1))
    yield policy
    policy.close()


async def test_what_is_generated_stops_at_the_tags_token_and_its_text_holds_the_tag(policy):
    completions = await policy.propose(Propose("What is 3 + 4?", (), 24, 5, 1.0, 1.0, 40))
    stopped = [each for each in completions if each.text.endswith(STOP_TAGS)]
    assert len(stopped) > 5  # random weights like the tags as much as any letter
    for each in completions:
        tags = sum(each.text.count(tag) for tag in STOP_TAGS)
        assert tags == (each in stopped)
        assert each.finished or each.num_tokens == 40


def test_a_tag_stops_whether_it_is_one_token_or_spelt_out(policy):
    for tag in STOP_TAGS:
        one = policy._tokenizer.encode(tag, add_special_tokens=False)
        spelt = [policy._tokenizer.encode(letter, add_special_tokens=False)[0] for letter in tag]
        assert (len(one), len(spelt)) == (1, len(tag))
        assert policy._stops(one)
        assert policy._stops(spelt)


def test_the_ids_differ_and_the_text_does_not(tokenizers):
    pieces = render("What is 3 + 4?", STEPS, "bootstrap")
    plain, special = (encode_pieces(tokenizer, pieces) for tokenizer in tokenizers)
    assert len(special) < len(plain)
    for tokenizer, ids in zip(tokenizers, (plain, special), strict=True):
        assert tokenizer.decode(ids) == "".join(pieces)


def test_the_same_letters_are_learnt(tokenizers):
    row = SftRow(problem_id="p", pieces=render("What is 3 + 4?", (), "finetuned"), completion_pieces=STEPS)
    for tokenizer in tokenizers:
        example = encode_sft(tokenizer, row)
        learnt = tokenizer.decode([label for label in example.labels if label != IGNORED])
        assert learnt == "".join(STEPS).replace(output_block("7"), "") + tokenizer.eos_token
        assert tokenizer.decode(example.input_ids) == "".join((*row.pieces, *STEPS)) + tokenizer.eos_token


def test_the_same_letters_are_compared(tokenizers):
    row = PairRow(
        problem_id="p",
        group="p/0/0",
        prefix_pieces=render("What is 3 + 4?", (), "finetuned"),
        positive_pieces=STEPS[:1],
        negative_pieces=("x = 3\n<end_of_step>\n",),
        weight=1.0,
    )
    for tokenizer in tokenizers:
        encoded = encode_pair(tokenizer, row, max_length=4096)
        assert tokenizer.decode(encoded.positive_ids) == "".join((*row.prefix_pieces, *row.positive_pieces))
        assert tokenizer.decode(encoded.negative_ids) == "".join((*row.prefix_pieces, *row.negative_pieces))
