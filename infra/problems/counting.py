"""How many problems the sources of a campaign would give, without writing them anywhere."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from infra.problems.builtin import NUM_SEED_CLASSES
from infra.problems.families import FAMILIES
from infra.problems.ingest import collect
from rstar_core.config import BuiltinSource, FileSource
from rstar_core.types import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rstar_core.config import Source


def count_problems(sources: Sequence[Source]) -> dict[Split, int]:
    """Problems of each split after duplicates and overlap are taken away.

    Files are read. Procedural problems are generated only where two sources may give the same ones: else they
    are as many as were asked for. That one of them stands in a file too is left out of account.

    Raises:
        SourceError: A source cannot be read.
    """
    builtin = [each for each in sources if isinstance(each, BuiltinSource)]
    if any(_may_repeat(one, other) for one, other in combinations(builtin, 2)) or not _known(builtin):
        problems, _ = collect(sources)
        return _by_split([problem.split for problem in problems])
    problems, _ = collect([each for each in sources if isinstance(each, FileSource)])
    found = _by_split([problem.split for problem in problems])
    for each in builtin:
        found[each.split] += each.num_problems
    return found


def _by_split(splits: Sequence[Split]) -> dict[Split, int]:
    return {split: sum(each == split for each in splits) for split in (Split.TRAIN, Split.HELDOUT)}


def _known(sources: Sequence[BuiltinSource]) -> bool:
    """Whether all families exist; if not, generating says which does not."""
    return all(name in FAMILIES for each in sources for name in each.families)


def _may_repeat(one: BuiltinSource, other: BuiltinSource) -> bool:
    families, others = ({*each.families} or {*FAMILIES} for each in (one, other))
    return (
        one.split == other.split
        and (one.seed - other.seed) % NUM_SEED_CLASSES == 0
        and bool(families & others)
    )
