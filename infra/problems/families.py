"""The table of procedural families: which there are, how hard they are, how they are worded.

Parameters are small on purpose: a small model must solve some of each tier, and none of them all. Left out
because no exact check can decide them: power_function and decimal arithmetic (rounded floats),
number_sequence (several rules fit), polynomial_equations and integrals (expressions or lists), puzzles with
many solutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.problems import wording
from rstar_core.types import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.problems.wording import Item


def _as_asked(item: Item) -> str:
    return str(item["question"])


def _as_answered(item: Item) -> str:
    return str(item["answer"])


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of procedural problem.

    Attributes:
        name: Name in configurations and in `Problem.source`.
        tier: Difficulty class.
        dataset: Name of the generator in `reasoning-gym`.
        config: Its parameters.
        question: Rebuilds the question from an item; None if the item is not usable.
        answer: The exact answer of an item.
    """

    name: str
    tier: Tier
    dataset: str
    config: Mapping[str, object]
    question: Callable[[Item], str | None] = _as_asked
    answer: Callable[[Item], str] = _as_answered


_TABLE = (
    # gsm: one or two operations, mostly on numbers below a thousand
    Family(
        "basic_arithmetic",
        Tier.GSM,
        "basic_arithmetic",
        {"min_terms": 2, "max_terms": 4, "max_digits": 2, "operators": ("+", "-", "*")},
    ),
    Family("chain_sum", Tier.GSM, "chain_sum", {"max_terms": 4, "max_digits": 3}, wording.chain_sum),
    Family("products", Tier.GSM, "products", {"max_digits": 3}, wording.product),
    Family(
        "leg_counting",
        Tier.GSM,
        "leg_counting",
        {"min_animals": 2, "max_animals": 3, "max_instances": 12},
        wording.legs,
    ),
    Family("gsm_symbolic", Tier.GSM, "gsm_symbolic", {}, wording.gsm_story),
    Family(
        "simple_equations",
        Tier.GSM,
        "simple_equations",
        {"max_terms": 3, "max_value": 30},
        wording.linear_equation,
    ),
    Family(
        "fraction_simplification",
        Tier.GSM,
        "fraction_simplification",
        {"max_value": 90, "min_factor": 2, "max_factor": 30, "styles": ("plain",)},
        wording.fraction,
        wording.fraction_answer,
    ),
    # math: one named idea, a line or two of code
    Family("gcd", Tier.MATH, "gcd", {"min_value": 10, "max_value": 600}, wording.greatest_common_divisor),
    Family("lcm", Tier.MATH, "lcm", {"min_value": 4, "max_value": 300}, wording.least_common_multiple),
    Family(
        "base_conversion",
        Tier.MATH,
        "base_conversion",
        {"max_base": 10, "min_value": 10},
        wording.base_change,
    ),
    Family(
        "largest_prime_factor",
        Tier.MATH,
        "prime_factorization",
        {"min_value": 20, "max_value": 60_000},
        wording.largest_prime_factor,
        wording.largest_prime_factor_answer,
    ),
    Family("simple_geometry", Tier.MATH, "simple_geometry", {"max_sides": 6}, wording.polygon_angle),
    Family("count_primes", Tier.MATH, "count_primes", {"max_n": 500}, wording.primes_between),
    Family(
        "complex_product",
        Tier.MATH,
        "complex_arithmetic",
        {
            "min_real": -20,
            "max_real": 20,
            "min_imag": -20,
            "max_imag": 20,
            "operations": ("*",),
            "operations_weights": [1.0],
        },
        wording.complex_product,
        wording.complex_product_answer,
    ),
    # olympiad: needs a small program
    Family(
        "count_primes_far",
        Tier.OLYMPIAD,
        "count_primes",
        {"min_n": 1_000, "max_n": 20_000},
        wording.primes_between,
    ),
    Family(
        "gcd_many",
        Tier.OLYMPIAD,
        "gcd",
        {"min_numbers": 3, "max_numbers": 5, "min_value": 20, "max_value": 900},
        wording.greatest_common_divisor,
    ),
    Family(
        "lcm_many",
        Tier.OLYMPIAD,
        "lcm",
        {"min_numbers": 3, "max_numbers": 5, "min_value": 6, "max_value": 80},
        wording.least_common_multiple,
    ),
    Family(
        "prime_factor_sum",
        Tier.OLYMPIAD,
        "prime_factorization",
        {"min_value": 10_000, "max_value": 2_000_000},
        wording.prime_factor_sum,
        wording.prime_factor_sum_answer,
    ),
    Family("count_bits", Tier.OLYMPIAD, "count_bits", {"min_n": 2**16}, wording.one_bits),
    Family(
        "bitwise_arithmetic",
        Tier.OLYMPIAD,
        "bitwise_arithmetic",
        {"difficulty": 2},
        wording.hexadecimal,
        wording.hexadecimal_answer,
    ),
    Family("dice", Tier.OLYMPIAD, "dice", {"num_dice": 5, "max_dice_size": 20}, wording.dice_total),
    Family(
        "working_days",
        Tier.OLYMPIAD,
        "calendar_arithmetic",
        {"tasks": ["count_business_days"], "offset_upper_bound": 200},
        wording.working_days,
    ),
    Family(
        "alternating_swaps",
        Tier.OLYMPIAD,
        "binary_alternation",
        {"min_n": 10, "max_n": 24, "p_solvable": 1.0},
        wording.alternating_swaps,
    ),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}
