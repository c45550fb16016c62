"""What every program in `benchmarks/` prints: one row a figure, with the goal its issue asked for.

A figure without a goal is there to explain the others; it always holds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        name: What was measured.
        value: The value, in `unit`.
        unit: `s`, `1/s`, `MB`; `1` for counts and ratios.
        goal: The limit that the issue set, in `unit`, or None.
        holds: Whether the value keeps to the goal.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    holds: bool = True


def at_most(name: str, value: float, unit: str, goal: float) -> Figure:
    """A figure that must not be over its goal."""
    return Figure(name, value, unit, goal, value <= goal)


def at_least(name: str, value: float, unit: str, goal: float) -> Figure:
    """A figure that must not be under its goal."""
    return Figure(name, value, unit, goal, value >= goal)


def show(figures: Sequence[Figure], *, as_json: bool) -> None:
    """Print a table, or the JSON list that design.md's contract names."""
    if as_json:
        print(json.dumps([asdict(each) for each in figures]))
        return
    for each in figures:
        verdict = "" if each.goal is None else f"  goal {each.goal:g}: {'holds' if each.holds else 'MISSED'}"
        print(f"{each.name:<58} {each.value:>12,.3f} {each.unit}{verdict}")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a program's docstring as it is, with the `--json` that all of them have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    return parser


def run_sections(description: str | None, sections: Mapping[str, Callable[[], Sequence[Figure]]]) -> None:
    """The command line of a program whose figures come in sections: all of them, or those of `--only`."""
    parser = arguments(description)
    parser.add_argument(
        "--only", action="append", choices=list(sections), help="this section; may be repeated"
    )
    options = parser.parse_args()
    show([each for name in options.only or sections for each in sections[name]()], as_json=options.json)
