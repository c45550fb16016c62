import asyncio
import math
import threading

import pytest

from infra.packing import micro_batches, pack
from infra.ppm import ScriptedScorer, TransformersScorer, step_scores
from rstar_core.errors import EngineError, ModelError
from rstar_core.prompts import render
from rstar_core.requests import Score


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    from infra.training.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def ppm_dir(policy_dir, tmp_path_factory):
    """A classifier with a head large enough that scores differ."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("ppm")
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(policy_dir, num_labels=1, dtype=torch.float32)
    torch.nn.init.normal_(model.score.weight, std=0.3)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(policy_dir).save_pretrained(folder)
    return folder


@pytest.fixture
def scorer(ppm_dir):
    scorer = TransformersScorer(ppm_dir)
    yield scorer
    scorer.close()


def request(number, num_candidates=3):
    return Score(
        question=f"How many are {number} and 4?",
        steps=("a = 3\n<end_of_step>\n",) * (number % 3),
        candidates=tuple("b" * (i + 1) + f" = {number}\n<end_of_step>\n" for i in range(num_candidates)),
    )


def direct_scores(folder, request, max_length=10**6):
    """Each candidate as a sequence of its own through the plain transformers model."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    for candidate in request.candidates:
        pieces = (*render(request.question, request.steps, "finetuned"), candidate)
        ids = [t for piece in pieces for t in tokenizer(piece, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids[-max_length:]])).logits
        scores.append(math.tanh(logits.item()))
    return scores


def test_the_loss_is_the_weighted_log_sigmoid_of_the_difference_of_two_tanh_scores():
    import torch

    from infra.training.ppm import pair_losses

    positive, negative, weight = [0.3, -2.0, 5.0], [1.1, -2.5, -5.0], [0.25, 1.0, 0.5]
    losses = pair_losses(
        step_scores(torch.tensor(positive)), step_scores(torch.tensor(negative)), torch.tensor(weight)
    )
    by_hand = [
        -w * math.log(1 / (1 + math.exp(-(math.tanh(a) - math.tanh(b)))))
        for a, b, w in zip(positive, negative, weight, strict=True)
    ]
    assert losses.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_a_sequence_that_several_pairs_share_is_encoded_once():
    from infra.training.ppm import collate

    good, better, bad, worse = [1, 2], [1, 3, 3], [1, 4], [1, 5]
    examples = [
        {"positive_ids": p, "negative_ids": n, "weight": 0.25} for p in (good, better) for n in (bad, worse)
    ]
    batch = collate(examples, pad_id=0)
    assert batch["input_ids"].shape == (4, 3)
    rows = [
        [t for t, real in zip(ids, mask, strict=True) if real]
        for ids, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
    ]
    sides = zip(batch["positive"].tolist(), batch["negative"].tolist(), strict=True)
    assert [(rows[p], rows[n]) for p, n in sides] == [
        (e["positive_ids"], e["negative_ids"]) for e in examples
    ]


def test_examples_of_a_group_stay_together_and_every_example_comes_once_an_epoch():
    from infra.training.session import LengthSortedBatches

    lengths = [5, 9, 2, 7, 7, 1, 3, 8]
    groups = list("aabbccdd")
    order = LengthSortedBatches(lengths, groups, batch_size=4, seed=3)

    def epoch_of(order, number):
        order.set_epoch(number)
        return list(order)

    epochs = [epoch_of(order, number) for number in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(8))
        assert [groups[i] for i in epoch[::2]] == [groups[i] for i in epoch[1::2]]
        longest = [max(lengths[i], lengths[j]) for i, j in zip(epoch[::2], epoch[1::2], strict=True)]
        assert longest[0] >= longest[1]
        assert longest[2] >= longest[3]
    assert len({tuple(epoch) for epoch in epochs}) > 1
    again = LengthSortedBatches(lengths, groups, batch_size=4, seed=3)
    assert [epoch_of(again, number) for number in (3, 1)] == [epochs[3], epochs[1]]  # whatever came before


async def test_scores_equal_those_of_each_candidate_alone_whatever_shares_the_batch(scorer, ppm_dir):
    requests = [request(number, num_candidates=1 + number % 4) for number in range(7)]
    replies = await asyncio.gather(*map(scorer.score, requests))
    for asked, reply in zip(requests, replies, strict=True):
        assert list(reply) == pytest.approx(direct_scores(ppm_dir, asked), abs=1e-5)
    assert len({score for reply in replies for score in reply}) > 7


async def test_an_input_that_is_too_long_loses_its_front_and_the_newest_step_counts(ppm_dir):
    scorer = TransformersScorer(ppm_dir, max_length=24)
    try:
        reply = await scorer.score(request(5))
    finally:
        scorer.close()
    assert list(reply) == pytest.approx(direct_scores(ppm_dir, request(5), max_length=24), abs=1e-5)
    assert len(set(reply)) == 3


async def test_equal_candidates_have_equal_scores_and_no_candidates_have_none(scorer):
    twice = Score(question="q", steps=(), candidates=("a", "b", "a"))
    reply = await scorer.score(twice)
    assert reply[0] == reply[2] != reply[1]
    assert await scorer.score(Score(question="q", steps=(), candidates=())) == ()


def test_one_scorer_serves_several_event_loops(scorer):
    expected = scorer.score_batch([request(number) for number in range(4)])
    replies = {}

    def ask(number):
        replies[number] = asyncio.run(scorer.score(request(number)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert replies[number] == pytest.approx(expected[number], abs=1e-5)


async def test_a_request_that_breaks_the_model_is_an_error_to_its_caller_and_not_the_end(scorer):
    with pytest.raises(EngineError, match="step scorer failed"):
        await scorer.score(Score(question="q", steps=(), candidates=(None,)))
    assert len(await scorer.score(request(1))) == 3


async def test_a_closed_scorer_says_so(ppm_dir):
    scorer = TransformersScorer(ppm_dir)
    scorer.close()
    scorer.close()
    with pytest.raises(EngineError, match="closed"):
        await scorer.score(request(1))


def test_a_policy_is_not_mistaken_for_a_scorer(policy_dir, tmp_path):
    with pytest.raises(ModelError, match="not a step scorer"):
        TransformersScorer(policy_dir)
    with pytest.raises(ModelError, match="cannot be loaded"):
        TransformersScorer(tmp_path / "absent")


def test_before_training_every_step_is_neutral(policy_dir):
    import torch

    from infra.training.job import PpmJob
    from infra.training.ppm import load_classifier
    from rstar_core.training_config import PpmConfig

    job = PpmJob(base_model=policy_dir, dataset=policy_dir, output=policy_dir, seed=0, config=PpmConfig())
    model = load_classifier(job, pad_id=0)
    assert step_scores(model(input_ids=torch.tensor([[5, 6, 7]])).logits).tolist() == [[0.0]]
    assert model.config.pad_token_id == 0


def test_packed_continuations_stand_at_the_positions_of_separate_sequences():
    row = pack([10, 11], [[12], [13, 14]])
    assert row.ids == [10, 11, 12, 13, 14]
    assert row.positions == [0, 1, 2, 2, 3]
    assert row.segments == [0, 0, 1, 2, 2]
    assert row.ends == [2, 4]


def test_micro_batches_hold_each_row_once_and_respect_the_limit_unless_one_row_exceeds_it():
    lengths = [3, 50, 9, 9, 4, 30]
    batches = list(micro_batches(lengths, max_tokens=20))
    assert sorted(i for batch in batches for i in batch) == list(range(6))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 20 for b in batches)


async def test_the_scripted_scorer_follows_its_rule_and_remembers_the_questions():
    scorer = ScriptedScorer(lambda asked, candidate: len(candidate) / 10 + len(asked.steps))
    assert await scorer.score(Score(question="q", steps=("s",), candidates=("ab", "abc"))) == (1.2, 1.3)
    assert scorer.requests[0].question == "q"
