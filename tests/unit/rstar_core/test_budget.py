import pytest

from rstar_core.budget import (
    Difficulty,
    derive_seed,
    difficulty,
    escalate,
    greedy_search,
    plan_trees,
    problems_to_escalate,
    system2_search,
)
from rstar_core.config import EscalationConfig, EvaluationConfig, SearchConfig


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    [
        (0, 0, Difficulty.HARD),
        (0, 5, Difficulty.HARD),
        (1, 5, Difficulty.MEDIUM),
        (4, 5, Difficulty.MEDIUM),
        (5, 5, Difficulty.EASY),
    ],
)
def test_a_problem_is_as_hard_as_its_trajectories_say(correct, total, expected):
    assert difficulty(correct, total) is expected


def test_only_hard_problems_are_tried_again_in_a_fixed_order():
    tried = [("c", 0, 4), ("a", 1, 4), ("b", 0, 0), ("d", 4, 4)]
    assert problems_to_escalate(tried) == problems_to_escalate(reversed(tried)) == ("b", "c")


def test_a_seed_depends_on_its_parts_alone():
    assert derive_seed(0, "round", 1, "abc", 0) == derive_seed("0", "round", "1", "abc", "0")
    seeds = {
        derive_seed(0, round_id, problem, tree) for round_id in (1, 2) for problem in "abc" for tree in (0, 1)
    }
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_seed_is_the_same_in_every_version():
    assert derive_seed(0, "search", "p", 0) == 1050627050


def test_the_policy_alone_answers_once_and_greedily():
    greedy = greedy_search(SearchConfig(annotation="ppm", max_depth=7, answer_step="output"))
    assert (greedy.num_candidates, greedy.num_rollouts, greedy.num_proposals) == (1, 1, 1)
    assert (greedy.temperature, greedy.annotation) == (0.0, "terminal")
    assert (greedy.max_depth, greedy.answer_step) == (7, "output")


def test_system_2_is_guided_by_the_ppm_with_the_evaluations_budget():
    config = system2_search(
        SearchConfig(temperature=0.7), EvaluationConfig(num_candidates=32, num_rollouts=3)
    )
    assert (config.num_candidates, config.num_rollouts, config.annotation) == (32, 3, "ppm")
    assert config.temperature == 0.7
    assert system2_search(SearchConfig(), EvaluationConfig(), with_ppm=False).annotation == "terminal"


ROUND_4 = (
    EscalationConfig(num_rollouts=64),
    EscalationConfig(num_rollouts=128),
    EscalationConfig(num_new_trees=2),
)


@pytest.mark.parametrize(
    ("level", "escalation", "expected"),
    [
        (0, ROUND_4, [(0, 16)]),
        (1, ROUND_4, [(0, 64)]),
        (2, ROUND_4, [(0, 128)]),
        (3, ROUND_4, [(1, 16), (2, 16)]),
        (1, (EscalationConfig(num_new_trees=1),), [(1, 16)]),
        (2, (EscalationConfig(num_new_trees=1), EscalationConfig(num_rollouts=32)), [(0, 32), (1, 32)]),
    ],
)
def test_each_level_of_effort_adds_trees_or_grows_those_that_are_there(level, escalation, expected):
    planned = plan_trees(level, SearchConfig(num_rollouts=16), escalation)
    assert [(each.tree_index, each.num_rollouts) for each in planned] == expected


def test_only_what_is_unsolved_is_escalated_and_only_as_long_as_there_is_a_next_level():
    tried = [("b", 0, 3), ("a", 0, 0), ("c", 2, 3)]
    assert escalate(0, tried, ROUND_4) == (1, ("a", "b"))
    assert escalate(2, tried, ROUND_4) == (3, ("a", "b"))
    assert escalate(3, tried, ROUND_4) is None
    assert escalate(0, [("c", 1, 3)], ROUND_4) is None
    assert escalate(0, tried, ()) is None
