"""What is said of a PPM's ranking, by hand."""

from dataclasses import dataclass

import pytest

from infra.training.pair_metrics import pair_metrics, spread


@dataclass(frozen=True)
class Pair:
    group: str
    positive_pieces: tuple = ("good",)
    negative_pieces: tuple = ("bad",)
    positive_q: float | None = 0.5
    negative_q: float | None = -1.0
    depth: int = 1
    final: bool = False
    tier: str = "math"

    @property
    def problem_id(self):
        return f"problem of {self.group}"


ROWS = [Pair("a"), Pair("b", depth=2, tier="gsm"), Pair("c", depth=2), Pair("d", depth=7, final=True)]
SCORES = [(0.9, -0.9), (0.1, 0.3), (0.6, 0.2), (-0.2, -0.2)]


def test_accuracy_and_margin_of_all_by_depth_and_by_tier():
    found = pair_metrics(ROWS, SCORES)
    assert found["pair_accuracy"] == 0.5  # a tie is not the right order
    assert found["mean_margin"] == pytest.approx((1.8 - 0.2 + 0.4) / 4)
    assert (found["pair_accuracy_depth_1"], found["pairs_depth_1"]) == (1.0, 1)
    assert (found["pair_accuracy_depth_2"], found["pairs_depth_2"]) == (0.5, 2)
    assert found["mean_margin_depth_2"] == pytest.approx(0.1)
    assert found["pairs_depth_all"] == 1  # whole trajectories have no step
    assert (found["pair_accuracy_tier_gsm"], found["pairs_tier_math"]) == (0.0, 3)


def test_the_calibration_counts_each_side_once_and_knows_its_later_success():
    twice = [Pair("a", negative_pieces=("bad", str(number))) for number in range(2)]
    found = pair_metrics(twice, [(0.9, -0.9), (0.9, 0.1)])
    assert (found["success_at_0.75"], found["steps_at_0.75"]) == (0.75, 1)
    assert (found["success_at_-0.75"], found["steps_at_-0.75"]) == (0.0, 1)
    assert (found["success_at_0.25"], found["steps_at_0.25"]) == (0.0, 1)
    assert "steps_at_-0.25" not in found


def test_the_ends_of_the_scale_are_in_the_outer_quarters():
    found = pair_metrics([Pair("a")], [(1.0, -1.0)])
    assert (found["steps_at_0.75"], found["steps_at_-0.75"]) == (1, 1)


def test_pairs_without_q_or_tier_count_where_they_can():
    found = pair_metrics([Pair("a", positive_q=None, negative_q=None, tier="")], [(0.2, 0.1)])
    assert found == {
        "pair_accuracy": 1.0,
        "mean_margin": pytest.approx(0.1),
        "pair_accuracy_depth_1": 1.0,
        "mean_margin_depth_1": pytest.approx(0.1),
        "pairs_depth_1": 1,
        "pair_accuracy_low": None,  # one problem says nothing of others
        "pair_accuracy_high": None,
    }


def test_the_interval_of_the_accuracy_takes_problems_not_pairs_as_independent():
    often = [pair for pair in ROWS for _ in range(50)]
    scores = [score for score in SCORES for _ in range(50)]
    once, many = pair_metrics(ROWS, SCORES), pair_metrics(often, scores)
    for name in ("pair_accuracy", "pair_accuracy_low", "pair_accuracy_high"):
        assert many[name] == pytest.approx(once[name])
    assert once["pair_accuracy_low"] < 0.5 < once["pair_accuracy_high"]


def test_nothing_held_out_is_unknown_and_not_zero():
    assert set(pair_metrics([], []).values()) == {None}


def test_the_spread_is_zero_for_a_constant():
    assert spread([(0.25, 0.25), (0.25, 0.25)]) == 0
    assert spread(SCORES) == 1.8
