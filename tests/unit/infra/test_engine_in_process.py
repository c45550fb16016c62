import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from infra.engines.in_process import InProcessPolicy
from infra.training.tiny import write_tiny_model
from rstar_core.engine_config import PolicyConfig
from rstar_core.errors import EngineError
from rstar_core.prompts import render
from rstar_core.requests import Propose
from rstar_core.types import Completion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads cost more than they give on so small a model
    yield write_tiny_model(tmp_path_factory.mktemp("tiny"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def policy(folder):
    policy = InProcessPolicy(folder, "finetuned", PolicyConfig(max_sequences=6, cache_mb=1))
    yield policy
    policy.close()


def ask(question="What is 1 + 1?", **changes):
    return Propose(
        **{
            "question": question,
            "steps": (),
            "num_candidates": 2,
            "seed": 5,
            "temperature": 1.0,
            "top_p": 0.95,
            "max_tokens": 6,
            **changes,
        }
    )


async def test_candidates_come_as_asked_for_and_are_counted(policy):
    before = policy.stats()
    completions = await policy.propose(ask(num_candidates=3))
    assert [each.num_tokens <= 6 for each in completions] == [True] * 3
    after = policy.stats()
    assert after.generated_tokens - before.generated_tokens == sum(each.num_tokens for each in completions)
    assert after.prompt_tokens + after.reused_tokens > before.prompt_tokens + before.reused_tokens
    assert await policy.propose(ask(num_candidates=3)) == completions
    assert await policy.propose(ask(num_candidates=3, seed=6)) != completions


async def test_a_cut_completion_says_so(policy):
    (completion,) = await policy.propose(ask(num_candidates=1, max_tokens=2, temperature=0.0))
    assert (completion.num_tokens, completion.finished) == (2, False)


async def test_a_step_ends_where_the_models_positions_end(policy):
    roomy = policy._max_positions
    prompt = len(policy._tokenizer.encode("".join(render("What is 1 + 1?", (), "finetuned"))))
    try:
        policy._max_positions = prompt + 3
        cut = await policy.propose(ask(max_tokens=50, seed=6))
        policy._max_positions = prompt
        none = await policy.propose(ask())
    finally:
        policy._max_positions = roomy
    assert {(each.num_tokens, each.finished) for each in cut} == {(3, False)}
    assert none == (Completion("", 0, finished=False),) * 2
    assert roomy == 4096


async def test_a_childs_prompt_reuses_its_parents(policy):
    await policy.propose(ask("A new question?"))
    before = policy.stats()
    await policy.propose(ask("A new question?", steps=("x = 1\n<end_of_step>\n",)))
    after = policy.stats()
    computed = after.prompt_tokens - before.prompt_tokens
    assert after.reused_tokens - before.reused_tokens > computed > 0


def test_two_event_loops_in_two_threads_share_one_policy(policy):
    questions = [f"What is {number} + {number}?" for number in range(6)]

    async def together(mine):
        return await asyncio.gather(*(policy.propose(ask(question)) for question in mine))

    expected = [asyncio.run(together([question]))[0] for question in questions]
    found = {}
    threads = [
        threading.Thread(
            target=lambda part=part: found.update({part: asyncio.run(together(questions[part::2]))})
        )
        for part in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {0: expected[0::2], 1: expected[1::2]}


async def test_more_candidates_than_sequences_are_refused_and_others_go_on(policy):
    wrong, right = await asyncio.gather(
        policy.propose(ask(num_candidates=7)), policy.propose(ask()), return_exceptions=True
    )
    assert isinstance(wrong, EngineError)
    assert "1 to 6 candidates" in str(wrong)
    assert len(right) == 2


async def test_a_model_that_fails_fails_its_requests_and_serves_the_next(folder):
    policy = InProcessPolicy(folder, "finetuned", PolicyConfig(max_sequences=6, cache_mb=1))
    good = await policy.propose(ask())
    forward, policy._decoder._model = policy._decoder._model, None
    with pytest.raises(EngineError, match="the in-process model failed"):
        await policy.propose(ask("Another question?"))
    policy._decoder._model = forward
    assert await policy.propose(ask()) == good
    in_flight = [
        asyncio.create_task(policy.propose(ask(num_candidates=4, max_tokens=100_000))) for _ in range(2)
    ]
    await asyncio.sleep(0.05)
    await asyncio.to_thread(policy.close)
    for each in await asyncio.gather(*in_flight, return_exceptions=True):
        assert isinstance(each, EngineError)
        assert "closed while a request was in flight" in str(each)
    policy.close()  # once more does no harm
    with pytest.raises(EngineError, match="open a new one"):
        await policy.propose(ask())


def test_a_stop_tag_ends_a_continuation_wherever_its_tokens_part(policy):
    def ids(text):
        return policy._tokenizer.encode(text, add_special_tokens=False)

    assert policy._stops(ids("print(x)\n<output>"))
    assert not policy._stops(ids("a > b"))
    assert not policy._stops(ids("x = 1 <output"))
    assert policy._stops([*ids("x"), policy._tokenizer.eos_token_id])


def test_the_end_of_text_is_counted_but_not_shown(policy):
    tokens = [*policy._tokenizer.encode("x = 1", add_special_tokens=False), policy._tokenizer.eos_token_id]
    completion = policy._completion(SimpleNamespace(tokens=tokens, finished=True))
    assert (completion.text, completion.num_tokens, completion.finished) == ("x = 1", 6, True)


def test_a_cancelled_request_does_not_keep_others_from_failing(policy):
    cancelled, waiting = Future(), Future()
    cancelled.cancel()
    stand_in = SimpleNamespace(
        _decoder=SimpleNamespace(drop_all=list), _futures={}, _inbox=type(policy._inbox)()
    )
    for future in (cancelled, waiting):
        stand_in._inbox.put((None, future))
    InProcessPolicy._fail(stand_in, "closed")
    assert isinstance(waiting.exception(timeout=0), EngineError)
