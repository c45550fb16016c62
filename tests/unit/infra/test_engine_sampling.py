import numpy as np
import pytest
import torch

from infra.engines.sampling import sample, uniforms


def draw(logits, u, *, temperature=1.0, top_p=1.0):
    rows = len(u)
    logits = torch.as_tensor(logits, dtype=torch.float32)
    return sample(
        logits.expand(rows, -1) if logits.ndim == 1 else logits,
        torch.as_tensor(u, dtype=torch.float32),
        torch.full((rows,), temperature),
        torch.full((rows,), top_p),
    ).tolist()


GRID = (np.arange(4000) + 0.5) / 4000


def test_at_temperature_zero_the_likeliest_token_is_taken():
    logits = torch.randn(20, 100, generator=torch.Generator().manual_seed(0))
    assert draw(logits, np.linspace(0, 0.999, 20), temperature=0.0, top_p=0.5) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature):
    logits = torch.tensor([1.0, -1.0, 0.5, 0.0, -8.0])
    counts = np.bincount(draw(logits, GRID, temperature=temperature), minlength=5)
    expected = torch.softmax(logits / temperature, -1).numpy()
    assert counts / len(GRID) == pytest.approx(expected, abs=1e-3)


def test_the_nucleus_leaves_the_tail_out_and_keeps_the_token_that_crosses_its_edge():
    logits = torch.log(torch.tensor([0.15, 0.5, 0.05, 0.3]))
    counts = np.bincount(draw(logits, GRID, top_p=0.7), minlength=4)
    assert counts / len(GRID) == pytest.approx([0.0, 5 / 8, 0.0, 3 / 8], abs=1e-3)
    assert set(draw(logits, GRID, top_p=0.01)) == {1}


def test_each_row_has_its_own_settings():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.3]] * 3))
    chosen = sample(
        logits, torch.tensor([0.95] * 3), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 0.5, 1.0])
    )
    assert chosen.tolist() == [0, 1, 2]


def test_a_larger_vocabulary_is_searched_among_its_64_likeliest_tokens():
    logits = torch.arange(100, dtype=torch.float32) * 1e-3
    assert set(draw(logits, GRID)) == set(range(36, 100))


def test_the_largest_uniform_stays_within_the_nucleus():
    logits = torch.cat((torch.tensor([5.0, 4.0]), torch.zeros(98)))
    largest = (2**53 - 1) / 2**53  # the largest value of `uniforms`
    assert draw(logits, [largest], top_p=0.5) == [0]


def numbers(seed, candidate, position):
    return uniforms(
        *(np.atleast_1d(np.asarray(each, dtype=np.int64)) for each in (seed, candidate, position))
    )


def test_uniforms_depend_on_seed_candidate_and_position():
    grid = np.stack(np.meshgrid(range(12), range(12), range(12), indexing="ij")).reshape(3, -1)
    drawn = numbers(*grid)
    assert len(set(drawn.tolist())) == 12**3
    assert (drawn == numbers(*grid)).all()
    assert numbers(3, 1, 2) == drawn[3 * 144 + 1 * 12 + 2]


def test_uniforms_are_spread_evenly_along_every_argument():
    many, zero = np.arange(20_000), np.zeros(20_000, dtype=np.int64)
    for arguments in ((many, zero, zero), (zero, many, zero), (zero, zero, many)):
        drawn = numbers(*arguments)
        assert drawn.min() >= 0.0
        assert drawn.max() < 1.0
        shares = np.bincount((drawn * 10).astype(int), minlength=10) / len(drawn)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)
        assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03


def test_the_largest_seed_is_a_seed_like_any_other():
    assert 0.0 <= numbers(2**31 - 1, 127, 4096)[0] < 1.0
