import pytest
import torch

from infra.engines.decoder import Decoder, DecodeRequest
from infra.engines.in_process import _load
from infra.training.tiny import write_tiny_model
from rstar_core.engine_config import PolicyConfig

PROMPTS = [(5,), (9, 40, 77, 41), tuple(range(10, 70)), (200, 3, 3, 3, 90)]
PREFIX = tuple(range(30, 110, 3))
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(the model as the engine loads it, the same weights as transformers runs them), both in float32."""
    from transformers import AutoModelForCausalLM

    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"))
    model, _ = _load(folder, PolicyConfig())
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=model.dtype).eval()
    plain.generation_config.eos_token_id = None  # every continuation is as long as it may be
    pair = [each.to("cpu", torch.float32) for each in (model, plain)]
    with torch.no_grad():
        for each in pair:
            for name, weight in each.named_parameters():  # fresh weights only repeat their input
                weight.mul_(1 if "norm" in name else 8 if "embed" in name else 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads cost more than they give on so small a model
    yield pair
    torch.set_num_threads(threads)


@pytest.fixture
def decoder(models):
    return new_decoder(models)


def new_decoder(models, *, max_sequences=16, cache_bytes=MEBIBYTE):
    return Decoder(models[0], max_sequences=max_sequences, cache_bytes=cache_bytes)


def request(prompt, *, prefix=(), num=1, seed=0, temperature=0.0, max_tokens=8, stops=None, done=None):
    return DecodeRequest(
        prefix=prefix,
        prompt=prompt,
        num_candidates=num,
        seed=seed,
        temperature=temperature,
        top_p=0.95,
        max_tokens=max_tokens,
        stops=stops or (lambda _: False),
        on_done=(lambda _: None) if done is None else done.append,
    )


def run(decoder, *requests):
    for each in requests:
        decoder.add(each)
    for _ in range(1000):
        if not decoder.num_unfinished:
            return [[candidate.tokens for candidate in each.sequences] for each in requests]
        decoder.step()
    raise AssertionError("the decoder does not come to an end")


@pytest.fixture(scope="module")
def greedy(models):
    """Continuations by transformers' own `generate`."""

    def continuation(prompt, max_tokens=8):
        ids = torch.tensor([prompt])
        out = models[1].generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return out[0, len(prompt) :].tolist()

    return {prompt: continuation(prompt) for prompt in (*PROMPTS, *(PREFIX + each for each in PROMPTS))}


def test_the_test_model_reads_its_whole_prompt(greedy):
    continuations = list(greedy.values())
    assert all(len(set(tokens)) > 2 for tokens in continuations)
    assert len(set(map(tuple, continuations))) == len(continuations)


def test_greedy_tokens_are_those_of_transformers(models, greedy, decoder):
    for prompt in PROMPTS:
        assert run(new_decoder(models), request(prompt)) == [[greedy[prompt]]]
    together = run(decoder, *(request(prompt, num=2) for prompt in PROMPTS))
    assert together == [[greedy[prompt]] * 2 for prompt in PROMPTS]


def test_a_shared_prefix_changes_nothing_but_the_work(models, greedy, decoder):
    assert run(decoder, *(request(prompt, prefix=PREFIX) for prompt in PROMPTS)) == [
        [greedy[PREFIX + prompt]] for prompt in PROMPTS
    ]
    whole = new_decoder(models)
    run(whole, *(request(PREFIX + prompt) for prompt in PROMPTS))
    assert decoder.stats.prompt_tokens == sum(map(len, PROMPTS))
    assert whole.stats.prompt_tokens == sum(len(PREFIX + prompt) for prompt in PROMPTS)


def test_requests_of_several_prefixes_take_turns(greedy, decoder):
    waiting = [(PREFIX, PROMPTS[0]), ((), PROMPTS[1]), (PREFIX, PROMPTS[3]), ((), PREFIX + PROMPTS[1])]
    found = run(decoder, *(request(prompt, prefix=prefix) for prefix, prompt in waiting))
    assert found == [[greedy[prefix + prompt]] for prefix, prompt in waiting]


def sampled(**changes):
    return request(PROMPTS[1], **{"num": 3, "seed": 7, "temperature": 1.0, "max_tokens": 12, **changes})


def others(count=20):
    return [
        request(
            (*PROMPTS[index % 4], index), num=1 + index % 2, seed=index, temperature=0.9, max_tokens=4 + index
        )
        for index in range(count)
    ]


def test_the_tokens_of_a_request_do_not_depend_on_its_batch(models):
    alone = run(new_decoder(models), sampled())[0]
    batch = others()
    among = run(new_decoder(models, max_sequences=40), *batch[:10], sampled(), *batch[10:])[10]
    queued = run(new_decoder(models, max_sequences=4), *others(6), sampled())[6]
    assert alone == among == queued


def test_candidate_i_depends_on_prompt_seed_and_i_alone(models):
    three = run(new_decoder(models), sampled())[0]
    assert len(set(map(tuple, three))) == 3
    assert run(new_decoder(models), sampled(num=1))[0] == three[:1]
    assert run(new_decoder(models), sampled(num=5))[0][:3] == three
    assert run(new_decoder(models), sampled(seed=8))[0] != three


def test_the_prompt_cache_changes_no_token_and_is_counted(models):
    parent = request(PROMPTS[2], num=2, stops=lambda tokens: len(tokens) == 5)
    cached, plain = new_decoder(models), new_decoder(models, cache_bytes=0)
    (first, _), *_ = run(cached, parent)
    child = (*PROMPTS[2], *first, 8, 9)
    sibling = (*PROMPTS[2][:20], 7, 7)
    found = run(cached, request(child, num=2)), run(cached, request(sibling)), run(cached, request(child))
    expected = [
        run(plain, request(prompt, num=num)) for prompt, num in ((child, 2), (sibling, 1), (child, 1))
    ]
    assert list(found) == expected
    read = len(PROMPTS[2]) + 2 * len(child) + len(sibling)
    # The last sampled token was never read; the child's second reading leaves its last token to compute.
    assert cached.stats.reused_tokens == (len(child) - 3) + 20 + (len(child) - 1)
    assert cached.stats.prompt_tokens + cached.stats.reused_tokens == read
    assert plain.stats.reused_tokens == 0


def test_a_cache_that_is_too_small_changes_no_token(models):
    prompts = [PROMPTS[2], PROMPTS[1], (*PROMPTS[2], 1, 2), (*PROMPTS[1], 4), PROMPTS[2]]
    small, plain = new_decoder(models, cache_bytes=20_000), new_decoder(models, cache_bytes=0)
    for prompt in prompts:
        assert run(small, request(prompt)) == run(plain, request(prompt))


def test_more_requests_than_slots_all_finish_once(models):
    done = []
    decoder = new_decoder(models, max_sequences=4)
    requests = [request((3, index), num=1 + index % 4, max_tokens=2, done=done) for index in range(9)]
    found = run(decoder, *requests)
    assert [len(each) for each in found] == [1 + index % 4 for index in range(9)]
    assert sorted(map(id, done)) == sorted(map(id, requests))
    assert decoder.stats.generated_tokens == sum(2 * len(each) for each in found)


def test_a_continuation_ends_at_its_limit_or_where_it_is_told_to(decoder):
    limited, stopped = request(PROMPTS[1], max_tokens=5), request(PROMPTS[1], stops=lambda t: len(t) == 3)
    one = request(PROMPTS[3], max_tokens=1)
    found = run(decoder, limited, stopped, one)
    assert [len(tokens) for (tokens,) in found] == [5, 3, 1]
    assert [each.sequences[0].finished for each in (limited, stopped, one)] == [False, True, False]


@pytest.mark.parametrize("wrong", [{"num": 17}, {"num": 0}, {"prompt": ()}])
def test_a_request_that_can_never_fit_is_refused(decoder, wrong):
    with pytest.raises(ValueError, match="a prompt and 1 to 16 candidates"):
        decoder.add(request(**{"prompt": (1,), **wrong}))
    assert decoder.num_unfinished == 0


def test_after_dropping_everything_the_decoder_works_as_before(models, greedy):
    decoder = new_decoder(models, max_sequences=3)
    requests = [request(prompt, num=2, done=(done := [])) for prompt in PROMPTS]
    for each in requests:
        decoder.add(each)
    decoder.step()
    decoder.step()
    assert sorted(map(id, decoder.drop_all())) == sorted(map(id, requests))
    assert (decoder.num_unfinished, done) == (0, [])
    decoder.step()
    assert run(decoder, request(PROMPTS[1], num=3)) == [[greedy[PROMPTS[1]]] * 3]
