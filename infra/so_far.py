"""What a campaign has done so far, in counts: read once, in a few grouped questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.catalog.round_rows import ModelRow, StageRow
from infra.catalog.rows import RoundRow
from infra.catalog.statements import ask
from infra.catalog.transactions import read

if TYPE_CHECKING:
    from infra.catalog.reader import CatalogReader

Key = tuple[int, str]
"""Round and kind of shard, stage, label or role."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Shards of one kind; `tokens` are those of committed attempts."""

    shards: int = 0
    problems: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class SoFar:
    """Counts of one catalog; an empty one stands for a campaign that has not begun.

    Attributes:
        name: Of the catalog, for whoever reads where a figure comes from.
        done: Done shards by round and kind.
        unfinished: Shards that are written down and not done, likewise.
        candidates: Candidates of the trees that done shards of this kind wrote.
        seconds: Wall time by round and stage.
        evaluated: Problems and tokens by round and label.
        models: Models by round and role.
        rounds: Rounds by number, 0 for the time before round 1.
        examples: Training examples (role policy) and pairs (role ppm) that were chosen, by round and role.
    """

    name: str = ""
    done: dict[Key, Tally] = field(default_factory=dict)
    unfinished: dict[Key, Tally] = field(default_factory=dict)
    candidates: dict[Key, int] = field(default_factory=dict)
    seconds: dict[Key, float] = field(default_factory=dict)
    evaluated: dict[Key, tuple[int, int]] = field(default_factory=dict)
    models: dict[Key, ModelRow] = field(default_factory=dict)
    rounds: dict[int, RoundRow] = field(default_factory=dict)
    examples: dict[Key, int] = field(default_factory=dict)

    def planned(self, key: Key) -> Tally:
        """Shards that are written down, done or not."""
        done, rest = self.done.get(key, Tally()), self.unfinished.get(key, Tally())
        return Tally(done.shards + rest.shards, done.problems + rest.problems, done.tokens + rest.tokens)


_SHARDS = """
    SELECT round_id, kind, count(*), sum(num_problems)::BIGINT, coalesce(sum(num_tokens), 0)::BIGINT
    FROM shards WHERE (status = 'done') = ? GROUP BY ALL"""
_CANDIDATES = """
    SELECT round_id, kind, sum(num_candidates)::BIGINT FROM trees JOIN (FROM shards WHERE status = 'done')
    USING (round_id, shard_id) GROUP BY ALL"""
_EVALUATED = "SELECT round_id, label, count(*), sum(num_tokens)::BIGINT FROM evaluations GROUP BY ALL"
_EXAMPLES = """
    SELECT round_id, 'policy', count(*) FROM sft_examples GROUP BY ALL
    UNION ALL SELECT round_id, 'ppm', count(*) FROM step_pairs GROUP BY ALL"""


def read_so_far(catalog: CatalogReader) -> SoFar:
    """The counts of a catalog as it is now."""

    def asked(query: str, *params: object) -> list[tuple[Any, ...]]:
        return read(catalog.location, lambda: ask(catalog.connection, query, params))[1]

    done, unfinished = (
        {(row[0], row[1]): Tally(*row[2:]) for row in asked(_SHARDS, status)} for status in (True, False)
    )
    return SoFar(
        name=catalog.location.root,
        done=done,
        unfinished=unfinished,
        candidates={(row[0], row[1]): row[2] for row in asked(_CANDIDATES)},
        seconds={(row.round_id, row.stage): row.seconds for row in catalog.fetch(StageRow)},
        evaluated={(row[0], row[1]): (row[2], row[3]) for row in asked(_EVALUATED)},
        models={(row.round_id, row.role): row for row in catalog.fetch(ModelRow) if row.round_id is not None},
        rounds={row.round_id: row for row in catalog.fetch(RoundRow, order_by="round_id")},
        examples={(row[0], row[1]): row[2] for row in asked(_EXAMPLES)},
    )


def training_problems(catalog: CatalogReader, round_id: int) -> int:
    """How many problems a round trains on: those of the split without what was dropped before it."""
    query = """
        SELECT count(*) FROM problems WHERE split = 'train' AND problem_id NOT IN (
            SELECT problem_id FROM decisions WHERE from_round <= ?
            GROUP BY problem_id HAVING arg_max(decision, decided_at) = 'drop')"""
    return _count(catalog, query, round_id)


def heldout_problems(catalog: CatalogReader) -> int:
    """How many problems are held out."""
    return _count(catalog, "SELECT count(*) FROM problems WHERE split = 'heldout'")


def _count(catalog: CatalogReader, query: str, *params: object) -> int:
    _, rows = read(catalog.location, lambda: ask(catalog.connection, query, params))
    return int(rows[0][0])
