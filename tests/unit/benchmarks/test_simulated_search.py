import random
import statistics

import pytest

from benchmarks.simulation.clock import run_virtual
from benchmarks.simulation.comparison import compare
from benchmarks.simulation.lockstep import Turn, by_rollout, by_turn, replay, rollouts
from benchmarks.simulation.runner import SimulatedRunner
from benchmarks.simulation.script import draw_run_seconds, draw_tokens, write
from benchmarks.simulation.server import BatchServer
from rstar_core.requests import Propose


def turns(*paths):
    return [Turn(tuple(path)) for path in paths]


def paths(batches):
    return [["".join(turn.steps) for turn in batch] for batch in batches]


# Two rollouts of 3 and 1 expansions, and two of 1 and 2; a path is written as its letters.
LONG_FIRST = turns("", "a", "ab", "c")
SHORT_FIRST = turns("", "x", "xy")


def test_a_rollout_ends_where_the_next_turn_does_not_go_on_below():
    assert paths(rollouts(LONG_FIRST)) == [["", "a", "ab"], ["c"]]
    assert paths(rollouts(turns("", "a", "", "a"))) == [["", "a"], ["", "a"]]


def test_lock_step_by_turns_leaves_out_only_trees_that_are_done():
    assert paths(by_turn([LONG_FIRST, SHORT_FIRST])) == [["", ""], ["a", "x"], ["ab", "xy"], ["c"]]


def test_in_the_released_order_a_tree_waits_for_the_rollouts_of_the_others():
    first, second = LONG_FIRST, turns("", "x", "z", "zz")
    assert paths(by_rollout([first, second])) == [["", ""], ["a", "x"], ["ab"], ["c", "z"], ["zz"]]


def test_in_lock_step_a_batch_is_generated_then_run_and_then_the_next_begins():
    server = BatchServer()
    batches = [
        [Turn((), (2, 1), (0.5,)), Turn((), (4,), (0.1,))],
        [Turn((), (10,))],
    ]
    _, makespan = run_virtual(replay(batches, server, SimulatedRunner(num_workers=1)))
    generation = 8.15e-3 + 8.10e-3 + 2 * 8.05e-3
    assert makespan == pytest.approx(generation + 0.6 + 10 * 8.05e-3)


def test_the_drawn_work_has_the_distributions_of_the_issue():
    rng = random.Random(1)
    tokens = sorted(draw_tokens(rng) for _ in range(20_000))
    seconds = [draw_run_seconds(rng) for _ in range(20_000)]
    assert statistics.median(tokens) == pytest.approx(40, rel=0.05)
    assert tokens[19_800] == pytest.approx(400, rel=0.1)
    assert statistics.median(seconds) == pytest.approx(0.005, rel=0.05)
    assert sum(each == 2.0 for each in seconds) / 20_000 == pytest.approx(0.01, abs=0.003)


def test_what_is_written_depends_on_the_request_alone():
    request = Propose("Problem 1", (), 8, 7, 0.8, 0.95, 4096)
    assert write(request) == write(request)
    assert len({each.text for each in write(request)}) == 8


def test_a_small_search_keeps_the_order_of_its_bounds_and_makes_3_to_7_expansions_a_rollout():
    run = compare(4)
    assert run.token_bound <= run.makespan <= run.lockstep_by_turn <= run.lockstep_by_rollout
    assert run == compare(4)
    assert len(run.expansions) == 4 * 16
    assert set(run.expansions) == {3, 4, 5, 6, 7}
    assert run.num_completions == 8 * sum(run.expansions)
