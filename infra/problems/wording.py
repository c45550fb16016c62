"""Plain questions and exact answers from the items of `reasoning-gym`.

The library adds instructions on how to reply, picks among several wordings and sometimes answers in a form
that no exact check can decide. Each function here rebuilds one family's question (or answer) from the item's
metadata; None means that the item is not usable. Order and names that carry no meaning are made canonical,
so that the same problem in another dress is the same problem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Any

Item = Mapping[str, Any]

_PLURALS = {
    "butterfly": "butterflies",
    "firefly": "fireflies",
    "jellyfish": "jellyfish",
    "sheep": "sheep",
    "deer": "deer",
    "leech": "leeches",
    "cockroach": "cockroaches",
    "praying mantis": "praying mantises",
    "shrimp": "shrimp",
}
_UNCLEAR_ANIMALS = frozenset({"starfish", "woodlouse", "human", "insect", "bird"})
_NUMBER_WORDS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
_GSM_SUFFIX = re.compile(r"\s*Give the result as your final answer\. Do not include units\.\s*$")
# Templates of the library whose English is broken or whose reference follows another reading.
_GSM_UNCLEAR = re.compile(
    r"times the number of boys|bumper cars \d+\.|\bslew\b|for \d+ the amount|\b\d+ as many|"
    r"weeks every month|  | \?|for \.|1 times"
)
_MAX_WORDS = 60


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _numbers(values: list[int]) -> str:
    return _listed([str(value) for value in sorted(values)])


def chain_sum(item: Item) -> str:
    """A sum of several terms."""
    return f"What is {item['metadata']['expression']}?"


def product(item: Item) -> str:
    """A product, the smaller factor first."""
    factors = [int(factor) for factor in item["metadata"]["expression"].split("*")]
    return f"What is the product of {_numbers(factors)}?"


def legs(item: Item) -> str | None:
    """Legs of a list of animals, without the animals whose legs are open to debate."""
    animals: dict[str, int] = item["metadata"]["animals"]
    if _UNCLEAR_ANIMALS & set(animals):
        return None
    counted = [
        f"{count} {name if count == 1 else _PLURALS.get(name, name + 's')}" for name, count in animals.items()
    ]
    return f"How many legs do {_listed(counted)} have in total?"


def gsm_story(item: Item) -> str | None:
    """A word problem, if it is short, clear and has a whole-number answer."""
    question = _GSM_SUFFIX.sub("", item["question"]).strip()
    if not re.fullmatch(r"-?\d+", item["answer"]) or _GSM_UNCLEAR.search(question):
        return None
    return question if len(question.split()) <= _MAX_WORDS else None


def linear_equation(item: Item) -> str:
    """A linear equation in x."""
    facts = item["metadata"]
    equation = re.sub(rf"\b{facts['variable']}\b", "x", facts["equation"])
    return f"Solve for x: {equation}"


def fraction(item: Item) -> str:
    """A fraction to reduce."""
    return f"Simplify the fraction {item['metadata']['numerator']}/{item['metadata']['denominator']}."


def fraction_answer(item: Item) -> str:
    """The reduced fraction; a whole number stands alone."""
    return str(Fraction(item["metadata"]["numerator"], item["metadata"]["denominator"]))


def greatest_common_divisor(item: Item) -> str:
    """The numbers in ascending order."""
    return f"What is the greatest common divisor of {_numbers(item['metadata']['numbers'])}?"


def least_common_multiple(item: Item) -> str:
    """The numbers in ascending order."""
    return f"What is the least common multiple of {_numbers(item['metadata']['numbers'])}?"


def base_change(item: Item) -> str:
    """A number written in another base; both bases are at most 10, so the answer is all digits."""
    facts = item["metadata"]
    return f"Convert {facts['source_repr']} from base {facts['source_base']} to base {facts['target_base']}."


def largest_prime_factor(item: Item) -> str:
    """One number out of the factorization, which unlike a product of factors has one way to be written."""
    return f"What is the largest prime factor of {item['metadata']['number']}?"


def largest_prime_factor_answer(item: Item) -> str:
    """The last of the factors."""
    return str(max(item["metadata"]["factors"]))


def prime_factor_sum(item: Item) -> str:
    """A number that needs the whole factorization."""
    return f"What is the sum of the prime factors of {item['metadata']['number']}, counted with multiplicity?"


def prime_factor_sum_answer(item: Item) -> str:
    """Each factor as often as it divides."""
    return str(sum(item["metadata"]["factors"]))


def polygon_angle(item: Item) -> str | None:
    """The last angle of a polygon, if the given ones leave it convex."""
    facts = item["metadata"]
    angle = facts["missing_angle_raw"]
    if not 0 < angle < 180 or angle != int(angle):
        return None
    known = _listed([f"{round(value)}" for value in facts["known_angles"]])
    count = facts["n_sides"] - 1
    return (
        f"A convex polygon has {facts['n_sides']} sides. The first {count} interior angles are {known} "
        f"degrees. How many degrees is the last one?"
    )


def primes_between(item: Item) -> str:
    """A count of primes, both ends included."""
    return (
        f"How many prime numbers are there from {item['metadata']['start']} to {item['metadata']['end']}, "
        f"inclusive?"
    )


def complex_product(item: Item) -> str:
    """The real part of a product, which is one whole number."""

    def written(number: tuple[float, float]) -> str:
        real, imaginary = (int(part) for part in number)
        return f"({real} {'-' if imaginary < 0 else '+'} {abs(imaginary)}i)"

    facts = item["metadata"]
    return f"What is the real part of {written(facts['num1'])} * {written(facts['num2'])}?"


def complex_product_answer(item: Item) -> str:
    """The real part."""
    return str(item["metadata"]["result"][0])


def one_bits(item: Item) -> str:
    """A count of binary digits."""
    return f"How many ones are there in the binary form of {item['metadata']['number']}?"


def hexadecimal(item: Item) -> str:
    """An expression of hexadecimal numbers, asked for in decimal."""
    expression = item["metadata"]["problem"]
    if expression.startswith("("):
        expression = expression[1:-1]
    return f"What is {expression} in decimal? Here << and >> shift bits, and 0x marks a hexadecimal number."


def hexadecimal_answer(item: Item) -> str:
    """The value in decimal."""
    return str(int(item["answer"], 16))


def dice_total(item: Item) -> str:
    """The chance of a total, as a reduced fraction."""
    puzzle = item["metadata"]["puzzle"]
    sides = [die.removeprefix("1d") for die in puzzle["dice_str"].split(", ")]
    return (
        f"{_NUMBER_WORDS[len(sides)]} dice with {_listed(sides)} sides are rolled. What is the probability "
        f"that their total is at least {puzzle['target']}? Give a reduced fraction."
    )


def working_days(item: Item) -> str:
    """Days from Monday to Friday in a range; the library prints a wrong year for some ends."""

    def written(text: str) -> str:
        day = date.fromisoformat(text)
        return f"{day.day} {day:%B} {day.year}"

    facts = item["metadata"]
    return (
        f"How many days that are not a Saturday or a Sunday are there from {written(facts['start_date'])} to "
        f"{written(facts['end_date'])}, both included?"
    )


def alternating_swaps(item: Item) -> str:
    """The fewest swaps that make a binary string alternate."""
    return (
        f"You may swap any two characters of the string {item['metadata']['string']}. How many swaps "
        f"are needed at least until no two neighbours are equal?"
    )
