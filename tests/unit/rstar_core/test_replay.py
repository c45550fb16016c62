"""A search is a function of its replies: fed with the logged ones it goes on as if nothing had happened."""

import json
import random

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from rstar_core.config import SearchConfig
from rstar_core.replay import decode_reply, encode_reply, fingerprint
from rstar_core.requests import Propose, Together
from rstar_core.types import Completion
from rstar_core.waves import start_search

GAMES = {
    "config": st.builds(
        SearchConfig,
        num_candidates=st.integers(1, 4),
        num_rollouts=st.integers(1, 6),
        num_proposals=st.integers(1, 2),
        max_depth=st.integers(2, 5),
        annotation=st.sampled_from(["terminal", "ppm"]),
        answer_step=st.sampled_from(["policy", "output"]),
        rollouts_in_flight=st.sampled_from([1, 1, 3]),
    ),
    "reference": st.sampled_from(["3", "5", None]),
    "percent_bad": st.sampled_from([0, 30, 70]),
    "seed": st.integers(0, 2**31 - 1),
}


def ask(world, request):
    """The world's reply, with texts that are hard to write down and completions that were cut."""
    if isinstance(request, Together):
        return tuple(ask(world, each) for each in request.requests)
    if isinstance(request, Propose):
        texts = world.propose(request)
        return tuple(Completion(f"{text}\ud800\x00", len(text), len(text) % 3 > 0) for text in texts)
    return world.reply(request)


def grow(world, game, log, *, live=True):
    """Grow a tree over the log of JSON lines, then with the world, whose replies are added to the log."""
    config, reference, seed = game
    searching, reply = start_search("How many?", reference, config, random.Random(seed)), None
    logged = iter(list(log))
    while True:
        try:
            request = searching.send(reply)
        except StopIteration as end:
            return end.value
        line = next(logged, None)
        if line is None:
            assert live, "a whole log asks nobody"
            reply = ask(world, request)
            log.append(json.dumps([fingerprint(request), encode_reply(reply)]))
        else:
            mark, values = json.loads(line)
            assert mark == fingerprint(request)
            reply = decode_reply(request, values)


@effort(max_examples=20, deadline=None, derandomize=True, database=None)
@given(**GAMES)
def test_a_search_cut_at_any_reply_grows_the_same_tree(world, config, reference, percent_bad, seed):
    made, game = world(seed, percent_bad=percent_bad), (config, reference, seed)
    whole = []
    tree = grow(made, game, whole)
    for cut in range(len(whole)):
        log = whole[:cut]
        assert grow(made, game, log) == tree
        assert log == whole
    assert grow(made, game, whole, live=False) == tree
