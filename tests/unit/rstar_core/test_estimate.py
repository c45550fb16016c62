from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstar_core.assumptions import PAPER_ROUNDS, assumed, paper_round, share_of
from rstar_core.config import (
    EscalationConfig,
    EvaluationConfig,
    PpmConfig,
    RoundConfig,
    SearchConfig,
    SftConfig,
)
from rstar_core.estimate import (
    Rate,
    Work,
    cut,
    efforts,
    greedy_work,
    hard_ones,
    new_rollouts,
    ppm_work,
    search_work,
    sft_work,
    system2_work,
)

ROUND_4 = RoundConfig(
    search=SearchConfig(num_candidates=16, num_rollouts=16),
    escalation=(
        EscalationConfig(num_rollouts=64),
        EscalationConfig(num_rollouts=128),
        EscalationConfig(num_new_trees=2),
    ),
)


def rates(**values):
    return {name: Rate(value, "given") for name, value in values.items()}


def test_an_escalation_counts_only_the_rollouts_that_it_adds():
    assert [new_rollouts(level, ROUND_4) for level in range(4)] == [16, 48, 64, 32]
    one_more_tree = RoundConfig(search=SearchConfig(num_rollouts=8))
    assert [new_rollouts(level, one_more_tree) for level in range(2)] == [8, 8]
    less = RoundConfig(search=SearchConfig(num_rollouts=8), escalation=(EscalationConfig(num_rollouts=4),))
    assert new_rollouts(1, less) == 0  # a tree never shrinks


def test_a_search_by_hand():
    # 100 problems of 16 rollouts and 16 candidates are 25,600 paths; at 10 tokens/s they take 256,000 s.
    given_rates = rates(
        nodes_per_rollout=3, tokens_per_rollout_and_candidate=100, search_tokens_per_second=10
    )
    assert cut(100, 32) == Work(shards=4, problems=100)
    assert search_work(cut(100, 32), 0, ROUND_4, given_rates, gpus=2) == Work(
        shards=4,
        problems=100,
        trees=100,
        rollouts=1_600,
        candidates=76_800,
        tokens=2_560_000,
        seconds=256_000,
        gpu_seconds=512_000,
    )
    last = search_work(Work(shards=1, problems=10), 3, ROUND_4, given_rates, gpus=0)
    assert (last.trees, last.rollouts, last.tokens, last.gpu_seconds) == (20, 320, 512_000, 0)


def test_evaluations_by_hand():
    given_rates = rates(
        nodes_per_rollout=3,
        greedy_tokens_per_problem=50,
        greedy_tokens_per_second=25,
        system2_tokens_per_rollout_and_candidate=50,
        system2_tokens_per_second=100,
    )
    greedy = greedy_work(Work(shards=2, problems=10), given_rates, gpus=1)
    assert greedy == Work(2, 10, 10, 10, 30, 0, 500, 20.0, 20.0)
    evaluation = EvaluationConfig(num_trees=4, num_candidates=32, num_rollouts=2)
    system2 = system2_work(Work(shards=2, problems=10), evaluation, given_rates, gpus=1)
    assert system2 == Work(2, 10, 40, 80, 7_680, 0, 128_000, 1_280.0, 1_280.0)


def test_training_by_hand():
    given_rates = rates(
        sft_tokens_per_example=300,
        sft_tokens_per_second=600,
        ppm_tokens_per_pair=500,
        ppm_tokens_per_second=100,
    )
    assert sft_work(80, SftConfig(num_epochs=2), given_rates, gpus=4) == Work(
        examples=80, tokens=48_000, seconds=80, gpu_seconds=320
    )
    assert ppm_work(100, PpmConfig(num_epochs=1, eval_fraction=0.1), given_rates, gpus=0) == Work(
        examples=100, tokens=45_000, seconds=450
    )


def test_a_shard_follows_each_shard_with_a_hard_problem():
    # Of 4 shards of 2 problems, half of which are hard, 3 have one: 1 - 1/2 · 1/2.
    assert hard_ones(Work(shards=4, problems=8), 0.5) == Work(shards=3, problems=4)
    assert hard_ones(Work(shards=4, problems=8), 1.0) == Work(shards=4, problems=8)
    assert hard_ones(Work(shards=4, problems=8), 0.0) == hard_ones(Work(), 0.5) == Work()


def test_what_is_planned_already_is_not_guessed_again():
    # Nothing of the search is left, so its escalation is what is written down; from there on it is a guess.
    left = efforts(Work(), [Work(), Work(shards=2, problems=10), Work()], [0.9, 0.5])
    assert left == [Work(), Work(shards=2, problems=10), Work(shards=2, problems=5)]


def total(problems, rollouts, shard_size, *, candidates=4, share=0.3):
    settings = RoundConfig(
        search=SearchConfig(num_candidates=candidates, num_rollouts=rollouts),
        escalation=(EscalationConfig(num_rollouts=12), EscalationConfig(num_new_trees=2)),
    )
    known = assumed(settings, 1, gpus=1, large=False)
    left = efforts(cut(problems, shard_size), [Work()] * 3, [share, share])
    works = (search_work(load, level, settings, known, 1) for level, load in enumerate(left))
    return sum(works, Work())


def at_most(one, other):
    return all(getattr(one, each.name) <= getattr(other, each.name) for each in fields(Work))


COUNT = st.integers(min_value=0, max_value=5_000)
ROLLOUTS = st.integers(min_value=1, max_value=64)
SIZE = st.integers(min_value=1, max_value=64)
SHARE = st.floats(min_value=0, max_value=1)


@given(problems=COUNT, more=COUNT, rollouts=ROLLOUTS, size=SIZE, share=SHARE)
def test_more_problems_are_never_less_work(problems, more, rollouts, size, share):
    less, all_of_them = (total(count, rollouts, size, share=share) for count in (problems, problems + more))
    assert at_most(less, all_of_them)


@given(problems=COUNT, rollouts=ROLLOUTS, more=ROLLOUTS, size=SIZE, share=SHARE)
def test_more_rollouts_are_never_less_work(problems, rollouts, more, size, share):
    less, all_of_them = (total(problems, count, size, share=share) for count in (rollouts, rollouts + more))
    assert at_most(less, all_of_them)


@given(problems=COUNT, size=SIZE, share=SHARE)
def test_no_effort_has_more_shards_than_problems_nor_more_of_either_than_the_one_before(
    problems, size, share
):
    left = efforts(cut(problems, size), [Work()] * 4, [share] * 3)
    for before, after in pairwise(left):
        assert after.shards <= before.shards
        assert after.problems <= before.problems
        assert after.shards <= after.problems
        assert (after.shards == 0) == (after.problems == 0)


@pytest.mark.parametrize("gpus", [0, 8])
@pytest.mark.parametrize("round_id", [1, 4, 9])
def test_every_assumption_is_a_positive_figure_that_says_what_it_is(gpus, round_id):
    settings = RoundConfig(sft=SftConfig(), ppm=PpmConfig(), escalation=ROUND_4.escalation)
    known = assumed(settings, round_id, gpus=gpus, large=round_id == 1)
    assert {share_of(1), share_of(2), share_of(3)} <= set(known)
    for rate in known.values():
        assert rate.value > 0
        assert rate.source.startswith("assumed: ")


def test_a_path_is_assumed_no_longer_than_it_can_be():
    short = RoundConfig(search=SearchConfig(max_depth=2, max_step_tokens=8))
    known = assumed(short, 1, gpus=0, large=False)
    assert known["tokens_per_rollout_and_candidate"].value == 16
    assert known["nodes_per_rollout"].value == 2


def test_the_papers_budget():
    assert [each.gpu_hours for each in PAPER_ROUNDS] == [26_880, 4_320, 4_320, 10_080]
    assert paper_round(1).num_gpus == 80
    assert paper_round(7) is PAPER_ROUNDS[3]
