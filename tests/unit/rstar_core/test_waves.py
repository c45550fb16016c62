import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rstar_core.audit import regrow
from rstar_core.config import SearchConfig
from rstar_core.replay import decode_reply, encode_reply
from rstar_core.requests import Propose, Together
from rstar_core.waves import search_in_waves, start_search

few = effort(max_examples=25, deadline=None, derandomize=True, database=None)
GAMES = {
    "num_candidates": st.integers(1, 4),
    "num_rollouts": st.integers(1, 12),
    "annotation": st.sampled_from(["terminal", "ppm"]),
    "percent_bad": st.sampled_from([0, 30, 95]),
    "seed": st.integers(0, 2**31 - 1),
}


def grow(start, world, config, seed, *, seen=None):
    searching, reply = start("How many?", "5", config, random.Random(seed)), None
    while True:
        try:
            request = searching.send(reply)
        except StopIteration as end:
            return end.value
        reply = decode_reply(request, encode_reply(world.reply(request)))
        if seen is not None:
            seen.append(request)


def config_of(in_flight, num_candidates, num_rollouts, annotation):
    return SearchConfig(
        num_candidates=num_candidates,
        num_rollouts=num_rollouts,
        annotation=annotation,
        rollouts_in_flight=in_flight,
        max_depth=5,
    )


@few
@given(**GAMES)
def test_one_rollout_in_flight_grows_the_tree_of_the_plain_search(world, percent_bad, seed, **settings):
    config = config_of(1, **settings)
    made = world(seed, percent_bad=percent_bad)
    assert grow(search_in_waves, made, config, seed) == grow(start_search, made, config, seed)


@few
@given(**GAMES, in_flight=st.integers(2, 8))
def test_a_tree_regrown_from_its_replies_has_every_failed_candidate(
    world, percent_bad, seed, in_flight, **settings
):
    config = config_of(in_flight, **settings)
    made = world(seed, percent_bad=percent_bad)
    found = regrow("How many?", "5", config, random.Random(seed), made.reply)
    assert found == grow(start_search, made, config, seed)
    assert Counter(each.reason for node in found.rejected.values() for each in node) == found.drops


@few
@given(**GAMES, in_flight=st.integers(2, 8))
def test_no_virtual_loss_is_left_in_a_tree(world, percent_bad, seed, in_flight, **settings):
    config = config_of(in_flight, **settings)
    tree = grow(start_search, world(seed, percent_bad=percent_bad), config, seed)
    assert tree.root.visits == tree.num_rollouts <= config.num_rollouts
    assert tree.num_rollouts == config.num_rollouts or tree.root.closed
    for node in tree.nodes:
        assert node.visits >= sum(child.visits for child in tree.children(node))
        if config.annotation == "terminal":
            assert -1.0 <= node.q <= 1.0
        if node.visits == 0:
            assert node.q_sum == pytest.approx(node.prior)


def test_rollouts_in_flight_ask_for_different_children_at_the_same_time(world):
    seen = []
    grow(start_search, world(3, percent_bad=0), config_of(4, 4, 8, "terminal"), 3, seen=seen)
    together = [request for request in seen if isinstance(request, Together)]
    assert max(len(request.requests) for request in together) == 4
    for request in together:
        asked = [each.steps for each in request.requests if isinstance(each, Propose)]
        assert len(set(asked)) == len(asked), "two rollouts asked for the same children"


def test_a_plain_search_never_asks_together(world):
    seen = []
    grow(start_search, world(3), config_of(1, 4, 8, "terminal"), 3, seen=seen)
    assert not any(isinstance(request, Together) for request in seen)
