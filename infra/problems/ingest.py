"""From the sources of a campaign to problems that are there once, and on one side only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.problems.builtin import generate
from infra.problems.drops import Drop, DropReason
from infra.problems.files import read_file
from infra.problems.identity import normalise_question
from rstar_core.config import BuiltinSource, Source
from rstar_core.types import Problem, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def with_campaign_seed(source: Source, seed: int) -> Source:
    """Procedural problems follow the campaign's seed, so another seed is another experiment."""
    if isinstance(source, BuiltinSource):
        return source.model_copy(update={"seed": source.seed + seed})
    return source


def load(source: Source) -> Iterator[Problem | Drop]:
    """What one source holds, in its order, duplicates included.

    Raises:
        SourceError: The source cannot be read.
    """
    return generate(source) if isinstance(source, BuiltinSource) else read_file(source)


def dedupe(
    items: Iterable[Problem | Drop], first: dict[str, Problem] | None = None
) -> Iterator[Problem | Drop]:
    """The items with every repeated question turned into a `Drop`; the first one stays.

    A repetition with another answer is dropped too, as `conflicting_answer`: one of the two references
    may be wrong. Text that differs in more than `normalise_question` forgives is not a repetition.

    Args:
        items: Problems and drops.
        first: The first problem of each normalised question so far; it is extended, so pass the same one to
            remove repetitions across calls.
    """
    first = {} if first is None else first
    for item in items:
        if isinstance(item, Drop):
            yield item
            continue
        known = first.setdefault(normalise_question(item.question), item)
        if known is item:
            yield item
        elif known.answer == item.answer:
            yield _drop(item, DropReason.DUPLICATE, f"same question as {known.problem_id} of {known.source}")
        else:
            yield _drop(
                item,
                DropReason.CONFLICTING_ANSWER,
                f"same question as {known.problem_id} of {known.source}, which answers {known.answer!r}, "
                f"not {item.answer!r}",
            )


def collect(sources: Sequence[Source]) -> tuple[list[Problem], list[Drop]]:
    """All sources together: held-out problems first, then training problems that are not among them.

    Raises:
        SourceError: A source cannot be read.
    """
    heldout: dict[str, Problem] = {}
    train: dict[str, Problem] = {}
    problems: list[Problem] = []
    drops: list[Drop] = []
    for source in sorted(sources, key=lambda source: source.split != Split.HELDOUT):
        is_heldout = source.split == Split.HELDOUT
        items = load(source) if is_heldout else _without_overlap(load(source), heldout)
        for item in dedupe(items, heldout if is_heldout else train):
            if isinstance(item, Drop):
                drops.append(item)
            else:
                problems.append(item)
    return problems, drops


def _without_overlap(
    items: Iterable[Problem | Drop], heldout: dict[str, Problem]
) -> Iterator[Problem | Drop]:
    for item in items:
        known = None if isinstance(item, Drop) else heldout.get(normalise_question(item.question))
        if isinstance(item, Drop) or known is None:
            yield item
        else:
            yield _drop(
                item, DropReason.HELDOUT_OVERLAP, f"same question as {known.problem_id} of {known.source}"
            )


def _drop(problem: Problem, reason: DropReason, detail: str) -> Drop:
    return Drop(problem.source, problem.problem_id, reason, detail)
