import random
from collections import Counter, deque

import pytest

from rstar_core.audit import Rejected, regrow


def again(config, replies, rng):
    left = deque(replies)
    return regrow("How many?", "5", config, rng, lambda _: left.popleft() if left else None)


@pytest.mark.parametrize("annotation", ["terminal", "ppm"])
@pytest.mark.parametrize("answer_step", ["policy", "output"])
def test_a_regrown_tree_is_the_same_and_has_every_failed_candidate(world, settings, annotation, answer_step):
    config = settings(
        num_candidates=4,
        num_rollouts=8,
        num_proposals=2,
        annotation=annotation,
        answer_step=answer_step,
    )
    reasons = Counter()
    for seed in range(30):
        played = world(seed, percent_bad=50).play(config, seed=seed)
        found = again(config, played.replies, random.Random(seed))
        assert found.finished
        assert found == played.tree
        kept = Counter(each.reason for node in found.rejected.values() for each in node)
        assert kept == played.tree.drops
        assert all(0 <= node < len(found) for node in found.rejected)
        reasons += kept
    assert {"no_end_tag", "empty_step", "code_error", "identical_sibling"} <= set(reasons)


def test_a_failed_candidate_stands_at_its_node_with_text_and_error(play, settings):
    proposed = (
        ["x = 5\n<end_of_step>", "raise\n<end_of_step>"],
        ["no tag", "print(5)\n<end_of_code>"],
        ["\\boxed{5}<end_of_answer>"] * 2,
    )
    config = settings()
    played = play(config, lambda request: proposed[len(request.steps)])
    found = again(config, played.replies, random.Random(0))
    assert found.rejected == {
        0: [Rejected("code_error", "raise\n<end_of_step>\n", "ValueError: no")],
        1: [Rejected("no_end_tag", "no tag", "")],
        2: [Rejected("identical_sibling", "\\boxed{5}<end_of_answer>", "")],
    }


def test_where_the_replies_end_the_tree_so_far_is_there(world, settings):
    config = settings(num_candidates=4, num_rollouts=8)
    played = world(3).play(config, seed=3)
    sizes = []
    for count in range(len(played.replies)):
        found = again(config, played.replies[:count], random.Random(3))
        assert not found.finished
        sizes.append(len(found))
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[-1] <= len(played.tree)
