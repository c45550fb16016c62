"""Procedural problems without overlap, from the families of `families`.

A problem's content id decides where it belongs: one quarter of all ids is held out, the rest is for training,
and each side is divided into `NUM_SEED_CLASSES` classes, one of which a seed draws from. So the two splits
never share a problem whatever the seeds, and seeds that differ modulo `NUM_SEED_CLASSES` never share one
either; seeds in one class start at different places and meet only by chance.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from infra.problems.families import FAMILIES, Family
from infra.problems.identity import problem_id
from rstar_core.errors import SourceError
from rstar_core.types import Problem, Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rstar_core.config import BuiltinSource

NUM_SEED_CLASSES = 17
_HELDOUT_ONE_IN = 4
_BLOCK = 2048
# Without one new problem in so many items a family counts as exhausted.
_MAX_MISSES = 12_000
_LICENCE = "Apache-2.0"


def split_of(content_id: str) -> Split:
    """The only split that a procedural problem with this id may be in."""
    return Split.HELDOUT if int(content_id, 16) % _HELDOUT_ONE_IN == 0 else Split.TRAIN


def seed_class_of(content_id: str) -> int:
    """The class of seeds that may draw the problem with this id: 0 to NUM_SEED_CLASSES - 1."""
    return int(content_id, 16) // _HELDOUT_ONE_IN % NUM_SEED_CLASSES


def generate(source: BuiltinSource) -> Iterator[Problem]:
    """The source's problems, its families in turn; the first families give the remainder.

    Fewer problems from the same source are the first of its problems within each family.

    Raises:
        SourceError: A family is unknown, or has too few different problems for this seed and split.
    """
    families = _chosen(source.families)
    share, remainder = divmod(source.num_problems, len(families))
    counts = [share + (position < remainder) for position in range(len(families))]
    seen: set[str] = set()
    streams = [_stream(family, source, seen) for family in families]
    for turn in range(share + (remainder > 0)):
        for family, stream, count in zip(families, streams, counts, strict=True):
            if turn < count:
                yield _next_of(stream, family, source, turn, count)


def _chosen(names: tuple[str, ...]) -> list[Family]:
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise SourceError(
            f"The builtin source names unknown families {', '.join(unknown)}; "
            f"choose from {', '.join(FAMILIES)}."
        )
    return [FAMILIES[name] for name in dict.fromkeys(names)] or list(FAMILIES.values())


def _next_of(
    stream: Iterator[Problem], family: Family, source: BuiltinSource, found: int, wanted: int
) -> Problem:
    problem = next(stream, None)
    if problem is None:
        raise SourceError(
            f"Family {family.name} gave {found} of {wanted} {source.split} problems for seed {source.seed} "
            f"and has no more; ask for fewer problems, name more families, or add a source with another seed."
        )
    return problem


def _stream(family: Family, source: BuiltinSource, seen: set[str]) -> Iterator[Problem]:
    """New problems of one family that belong to the source's split and seed, until none turns up."""
    misses = 0
    for item in _items(family, source.seed):
        problem = _problem(family, item, source)
        if problem is None or problem.problem_id in seen:
            misses += 1
            if misses >= _MAX_MISSES:
                return
            continue
        misses = 0
        seen.add(problem.problem_id)
        yield problem


def _problem(family: Family, item: dict[str, Any], source: BuiltinSource) -> Problem | None:
    question = family.question(item)
    if question is None:
        return None
    answer = family.answer(item)
    content_id = problem_id(question, answer)
    if split_of(content_id) != source.split or seed_class_of(content_id) != source.seed % NUM_SEED_CLASSES:
        return None
    return Problem(
        problem_id=content_id,
        question=question,
        answer=answer,
        tier=family.tier,
        source=f"builtin/{family.name}",
        licence=_LICENCE,
        split=source.split,
    )


def _items(family: Family, seed: int) -> Iterator[dict[str, Any]]:
    """The family's endless stream of raw items; the library seeds item i of a dataset with seed + i."""
    import reasoning_gym  # noqa: PLC0415 - takes two seconds, and only this function needs it

    block = 0
    while True:
        digest = hashlib.sha256(f"{family.name}/{seed}/{block}".encode()).digest()
        dataset = reasoning_gym.create_dataset(
            family.dataset, seed=int.from_bytes(digest[:6]), size=_BLOCK, **family.config
        )
        for index in range(_BLOCK):
            yield dataset[index]
        block += 1
