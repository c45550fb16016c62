import torch
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from infra.engines.kv_slots import KvBlock
from infra.engines.prompt_cache import PromptCache

BYTES_PER_TOKEN = 8  # one float32 key and one float32 value
PLENTY = 1 << 20


def block(tokens):
    """A block whose keys and values are the tokens themselves, so what is found can be read."""
    numbers = torch.tensor(tokens, dtype=torch.float32)
    return KvBlock(numbers.view(1, 1, 1, -1).clone(), numbers.view(1, 1, -1, 1).clone())


def read(blocks):
    keys = [int(token) for each in blocks for token in each.keys.flatten()]
    assert keys == [int(token) for each in blocks for token in each.values.flatten()]
    return keys


def store(cache, tokens, start=0, end=None):
    end = len(tokens) if end is None else end
    cache.store(tokens, start, block(tokens[start:end]))


def test_an_empty_cache_knows_nothing():
    assert PromptCache(PLENTY).find([1, 2]) == []


def test_the_longest_stored_prefix_is_found():
    cache = PromptCache(PLENTY)
    store(cache, [1, 2, 3])
    store(cache, [1, 2, 3, 4, 5], start=3)
    store(cache, [1, 2, 3, 6], start=3)
    assert read(cache.find([1, 2, 3, 4, 5, 9])) == [1, 2, 3, 4, 5]
    assert read(cache.find([1, 2, 3, 6, 7])) == [1, 2, 3, 6]
    assert read(cache.find([2, 3])) == []


def test_part_of_a_segment_is_found_where_the_tokens_part():
    cache = PromptCache(PLENTY)
    store(cache, [1, 2, 3, 4])
    assert read(cache.find([1, 2, 9])) == [1, 2]
    assert read(cache.find([1, 2])) == [1, 2]
    store(cache, [1, 2, 9, 8])  # branches off in the middle of the first segment
    assert read(cache.find([1, 2, 9, 8, 7])) == [1, 2, 9, 8]
    assert read(cache.find([1, 2, 3, 4])) == [1, 2, 3, 4]


def test_what_is_known_is_not_stored_again():
    cache = PromptCache(PLENTY)
    store(cache, [1, 2, 3])
    store(cache, [1, 2, 3])
    store(cache, [1, 2])
    assert cache.num_bytes == 3 * BYTES_PER_TOKEN
    store(cache, [1, 2, 3, 4, 5])
    assert cache.num_bytes == 5 * BYTES_PER_TOKEN


def test_a_block_without_what_comes_before_it_is_not_kept():
    cache = PromptCache(PLENTY)
    store(cache, [1, 2, 3, 4], start=2)
    assert cache.num_bytes == 0
    assert cache.find([1, 2, 3, 4]) == []


def test_the_least_recently_used_leaf_leaves_first():
    cache = PromptCache(10 * BYTES_PER_TOKEN)
    for first in (1, 2, 3):
        store(cache, [first, 0, 0])
    cache.find([1, 0, 0])
    store(cache, [4, 0, 0])  # 12 tokens: the one not used longest goes, then there is room
    assert [bool(cache.find([first])) for first in (1, 2, 3, 4)] == [True, False, True, True]
    assert cache.num_bytes == 9 * BYTES_PER_TOKEN


def test_a_block_larger_than_the_budget_is_not_kept():
    cache = PromptCache(2 * BYTES_PER_TOKEN)
    store(cache, [1, 2, 3])
    assert cache.find([1]) == []
    assert cache.num_bytes == 0


def test_clearing_forgets_everything():
    cache = PromptCache(PLENTY)
    store(cache, [1, 2, 3])
    cache.clear()
    assert cache.find([1, 2, 3]) == []
    assert cache.num_bytes == 0
    store(cache, [1, 2])
    assert read(cache.find([1, 2, 3])) == [1, 2]


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7)
STORES = st.lists(st.tuples(TOKENS, st.integers(0, 6), st.integers(1, 7)), max_size=12)
few = effort(max_examples=40, deadline=None, derandomize=True, database=None)


@few
@given(STORES, TOKENS)
def test_with_room_for_all_the_cache_agrees_with_a_plain_set_of_prefixes(stores, query):
    cache, known = PromptCache(PLENTY), {()}
    for tokens, start, count in stores:
        end = min(start + count, len(tokens))
        if start >= end:
            continue
        store(cache, tokens, start, end)
        if tuple(tokens[:start]) in known:
            known |= {tuple(tokens[:length]) for length in range(end + 1)}
    longest = max(length for length in range(len(query) + 1) if tuple(query[:length]) in known)
    assert read(cache.find(query)) == query[:longest]
    assert cache.num_bytes == BYTES_PER_TOKEN * (len(known) - 1)


@few
@given(STORES, TOKENS, st.integers(1, 12))
def test_a_small_cache_keeps_its_budget_and_never_lies(stores, query, budget):
    cache = PromptCache(budget * BYTES_PER_TOKEN)
    for tokens, start, count in stores:
        end = min(start + count, len(tokens))
        if start < end:
            store(cache, tokens, start, end)
        assert 0 <= cache.num_bytes <= cache.max_bytes
        found = read(cache.find(query))
        assert found == query[: len(found)]
