"""Procedural problems: exact, deterministic, and never shared between splits or seeds."""

import math
import random
import re
from collections import Counter
from datetime import date, datetime
from fractions import Fraction
from itertools import product

import pytest

from infra.problems.builtin import NUM_SEED_CLASSES, generate, seed_class_of, split_of
from infra.problems.families import FAMILIES, Family
from rstar_core.config import BuiltinSource
from rstar_core.errors import SourceError
from rstar_core.types import Split, Tier

SLOW = {"simple_equations", "gsm_symbolic", "count_primes_far"}
FAST = tuple(name for name in FAMILIES if name not in SLOW)


def numbers(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def is_prime(number):
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def prime_factors(number):
    factors = []
    for divisor in range(2, math.isqrt(number) + 1):
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
    return factors + [number] * (number > 1)


def working_days(question):
    first, last = (
        datetime.strptime(day, "%d %B %Y").date()  # noqa: DTZ007 - a day has no zone
        for day in re.findall(r"\d+ [A-Z][a-z]+ \d{4}", question)
    )
    days = (date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1))
    return sum(day.weekday() < 5 for day in days)


def chance(question):
    *sides, target = numbers(question)
    totals = Counter({0: 1})
    for count in sides:
        rolled = Counter()
        for total, face in product(totals, range(1, count + 1)):
            rolled[total + face] += totals[total]
        totals = rolled
    return Fraction(sum(ways for total, ways in totals.items() if total >= target), math.prod(sides))


def swaps(question):
    bits = re.search(r"[01]{5,}", question)[0]
    distances = []
    for first in "01":
        wanted = "".join(first if index % 2 == 0 else "10"[int(first)] for index in range(len(bits)))
        if wanted.count("1") == bits.count("1"):
            distances.append(sum(a != b for a, b in zip(bits, wanted, strict=True)) // 2)
    return min(distances)


def real_part(question):
    real, imaginary = "(-?\\d+)", "([+-]) (\\d+)i"
    found = re.search(rf"\({real} {imaginary}\) \* \({real} {imaginary}\)", question).groups()
    a, b, c, d = int(found[0]), int(found[1] + found[2]), int(found[3]), int(found[4] + found[5])
    return a * c - b * d


def expression(question):
    return eval(re.sub(r"^(Calculate|What is) |( in decimal\? .*|[.?])$", "", question))  # noqa: S307 - ours


SOLVERS = {
    "basic_arithmetic": expression,
    "chain_sum": expression,
    "products": lambda question: math.prod(numbers(question)),
    "fraction_simplification": lambda question: Fraction(*numbers(question)),
    "gcd": lambda question: math.gcd(*numbers(question)),
    "lcm": lambda question: math.lcm(*numbers(question)),
    "gcd_many": lambda question: math.gcd(*numbers(question)),
    "lcm_many": lambda question: math.lcm(*numbers(question)),
    "largest_prime_factor": lambda question: max(prime_factors(*numbers(question))),
    "prime_factor_sum": lambda question: sum(prime_factors(*numbers(question))),
    "simple_geometry": lambda question: 180 * (numbers(question)[0] - 2) - sum(numbers(question)[2:]),
    "count_primes": lambda question: sum(
        is_prime(n) for n in range(numbers(question)[0], numbers(question)[1] + 1)
    ),
    "complex_product": real_part,
    "count_bits": lambda question: bin(*numbers(question)).count("1"),
    "bitwise_arithmetic": expression,
    "dice": chance,
    "working_days": working_days,
    "alternating_swaps": swaps,
}


@pytest.fixture(scope="module")
def sample():
    source = BuiltinSource(families=FAST, num_problems=3 * len(FAST), seed=3)
    return list(generate(source))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_reference_answer_is_what_an_independent_solution_gives(name, sample):
    problems = [problem for problem in sample if problem.source == f"builtin/{name}"]
    assert [str(SOLVERS[name](problem.question)) for problem in problems] == [p.answer for p in problems]


def test_a_number_is_converted_between_bases(sample):
    for problem in sample:
        if problem.source == "builtin/base_conversion":
            _, digits, source_base, target_base = re.match(
                r"(Convert) (\d+) from base (\d+) to base (\d+)", problem.question
            ).groups()
            assert int(digits, int(source_base)) == int(problem.answer, int(target_base))


def test_each_tier_has_at_least_five_families_and_each_a_short_plain_question(sample):
    tiers = Counter(family.tier for family in FAMILIES.values())
    assert all(tiers[tier] >= 5 for tier in (Tier.GSM, Tier.MATH, Tier.OLYMPIAD))
    for problem in sample:
        assert len(problem.question.split()) <= 60
        assert not re.search(r"final answer|Give only|\n|  ", problem.question)
        assert re.fullmatch(r"-?\d+(/\d+)?", problem.answer)


def test_problems_are_spread_evenly_and_the_first_families_take_the_remainder():
    source = BuiltinSource(families=("gcd", "lcm", "products"), num_problems=8)
    counts = Counter(problem.source for problem in generate(source))
    assert counts == {"builtin/gcd": 3, "builtin/lcm": 3, "builtin/products": 2}


def test_the_same_source_gives_the_same_problems_and_leaves_global_randomness_alone(sample):
    before = random.getstate()
    again = list(generate(BuiltinSource(families=FAST, num_problems=2 * len(FAST), seed=3)))
    assert again == sample[: len(again)]
    assert random.getstate() == before


def test_splits_and_seeds_never_share_a_problem():
    seen = {}
    for split, seed in product((Split.TRAIN, Split.HELDOUT), range(4)):
        source = BuiltinSource(families=("products", "lcm"), num_problems=40, split=split, seed=seed)
        for problem in generate(source):
            assert seen.setdefault(problem.problem_id, (split, seed)) == (split, seed)
            assert split_of(problem.problem_id) == problem.split == split
            assert seed_class_of(problem.problem_id) == seed % NUM_SEED_CLASSES
    assert len(seen) == 8 * 40


def test_an_exhausted_family_says_how_far_it_came(monkeypatch):
    tiny = Family("tiny", Tier.GSM, "products", {"max_digits": 1})
    monkeypatch.setitem(FAMILIES, "tiny", tiny)
    with pytest.raises(SourceError, match=r"Family tiny gave \d+ of 500 train problems for seed 0"):
        list(generate(BuiltinSource(families=("tiny",), num_problems=500)))


def test_an_unknown_family_is_named_with_the_known_ones():
    with pytest.raises(SourceError, match=r"unknown families sudoku; choose from basic_arithmetic"):
        list(generate(BuiltinSource(families=("sudoku",))))


def test_slow_families_are_clean_too():
    for problem in generate(BuiltinSource(families=tuple(sorted(SLOW)), num_problems=6, seed=1)):
        assert re.fullmatch(r"-?\d+", problem.answer)
        assert len(problem.question.split()) <= 60
        if problem.source == "builtin/simple_equations":
            left, right = problem.question.removeprefix("Solve for x: ").split(" = ")
            assert eval(left, {"x": int(problem.answer)}) == int(right)  # noqa: S307 - ours
