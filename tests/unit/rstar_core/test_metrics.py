import itertools

import pytest

from rstar_core.metrics import (
    clustered_interval,
    paired_difference,
    pass_at_k,
    weighted_majority,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # as in R's prop.test(x, n, correct = FALSE)
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_the_wilson_interval_has_its_known_values(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_nothing_counted_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_wilson_interval_holds_its_share_and_shrinks():
    for n in (1, 7, 40):
        for successes in range(n + 1):
            low, high = wilson_interval(successes, n)
            assert 0.0 <= low <= successes / n + 1e-12
            assert successes / n - 1e-12 <= high <= 1.0
    widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)


def test_a_change_is_counted_on_the_same_problems():
    # 4 gained, 1 lost of 20: 3/20; spread 1.96·sqrt(5 − 9/20)/20 = 0.2090
    before = [False] * 4 + [True] + [True] * 10 + [False] * 5
    after = [True] * 4 + [False] + [True] * 10 + [False] * 5
    assert paired_difference(before, after) == pytest.approx((0.15, -0.0590, 0.3590), abs=5e-5)


def test_no_change_has_no_spread_and_a_total_one_stays_within_its_bounds():
    assert paired_difference([True, False], [True, False]) == (0.0, 0.0, 0.0)
    assert paired_difference([False] * 3, [True] * 3) == (1.0, 1.0, 1.0)
    difference, low, high = paired_difference([False, True], [True, False])
    assert (difference, low, high) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_unpaired_results_are_refused(before, after):
    with pytest.raises(ValueError, match="equal, positive lengths"):
        paired_difference(before, after)


@pytest.mark.parametrize(("correct", "n", "k"), [(0, 5, 2), (1, 5, 1), (2, 6, 3), (4, 6, 3), (5, 5, 1)])
def test_pass_at_k_is_the_share_of_samples_with_a_correct_one(correct, n, k):
    outcomes = [True] * correct + [False] * (n - correct)
    draws = list(itertools.combinations(outcomes, k))
    assert pass_at_k(correct, n, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize("k", [0, 6])
def test_pass_at_k_needs_k_samples(k):
    with pytest.raises(ValueError, match="between 1 and 5"):
        pass_at_k(1, 5, k)


def test_the_majority_is_the_largest_sum_of_weights():
    assert weighted_majority([("5", 1.0), ("7", 1.0), ("5", 1.0)]) == "5"
    assert weighted_majority([("5", 0.2), ("7", 0.9), ("5", 0.3)]) == "7"
    assert weighted_majority([("7", 1.0), ("5", 1.0)]) == "7"
    assert weighted_majority([("5", -0.5), ("7", -0.1)]) == "7"
    assert weighted_majority([]) is None


def test_the_interval_of_grouped_counts_by_hand():
    # shares 1, 0.5 and 0 of 2 each: residuals 1, 0, -1, so 1.96 * sqrt(2 * 3 / 2) / 6
    low, high = clustered_interval([(2, 2), (1, 2), (0, 2)])
    assert (low, high) == (0.0, 1.0)
    low, high = clustered_interval([(3, 4), (2, 4), (2, 4), (3, 4)])
    spread = 1.959963984540054 * (4 * 0.25 * 4 / 3) ** 0.5 / 16
    assert (low, high) == pytest.approx((0.625 - spread, 0.625 + spread))
    assert clustered_interval([(1, 1)]) is None
    assert clustered_interval([(1, 1), (0, 0)]) is None
