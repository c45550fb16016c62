"""What changed between two versions, and where a model came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from infra.catalog.round_rows import EvaluationRow, LineageRow, ModelRow
from infra.catalog.rows import RoundRow
from infra.catalog.schema import TABLES
from infra.catalog.statements import ask
from infra.catalog.transactions import read
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from infra.catalog.reader import CatalogReader

_CHANGES = """
    WITH changes AS (FROM lake.table_changes('{table}', {first}, {last})),
    added AS (
        SELECT * EXCLUDE (snapshot_id, rowid, change_type) FROM changes
        WHERE change_type IN ('insert', 'update_postimage')
    ), removed AS (
        SELECT * EXCLUDE (snapshot_id, rowid, change_type) FROM changes
        WHERE change_type IN ('delete', 'update_preimage')
    )
    SELECT (SELECT count(*) FROM (FROM added EXCEPT ALL FROM removed)),
        (SELECT count(*) FROM (FROM removed EXCEPT ALL FROM added))"""
_SOLVED = "SELECT DISTINCT problem_id FROM outcomes AT (VERSION => {version}) WHERE solved"


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one version to another.

    Attributes:
        tables: Rows added and removed by table; rows that were written again alike are neither.
        newly_solved: Problems that no round had solved in the first version, and one has in the second.
        newly_lost: The reverse.
    """

    tables: dict[str, tuple[int, int]]
    newly_solved: tuple[str, ...]
    newly_lost: tuple[str, ...]


def difference(catalog: CatalogReader, one: str, other: str) -> Difference:
    """Compare two versions, named by tag or number.

    Raises:
        CatalogError: A version does not exist, or the first is the newer one.
    """
    first, last = catalog.snapshot_of(one), catalog.snapshot_of(other)
    if first > last:
        raise CatalogError(f"Version {one} is newer than {other}; name the older one first.")
    tables = {}
    for row_type in TABLES:
        counts = _changes(catalog, row_type.TABLE, first, last)
        if any(counts):
            tables[row_type.TABLE] = counts
    before, after = (_solved(catalog, version) for version in (first, last))
    return Difference(tables, tuple(sorted(after - before)), tuple(sorted(before - after)))


def lineage(catalog: CatalogReader, model_id: str) -> dict[str, Any]:
    """Everything that made a model, and what was made with it.

    Keys: the columns of its row, and made_with (policy, PPM, configuration hash, campaign seed, shards and
    drops of decisions of its round), lineage (relation and parent), searched (rounds it proposed or scored
    in), evaluated (labels).

    Raises:
        CatalogError: There is no such model; the sentence names those that are there.
    """
    models = catalog.fetch(ModelRow, "model_id = ?", (model_id,))
    if not models:
        known = ", ".join(row.model_id for row in catalog.fetch(ModelRow, order_by="created_at"))
        raise CatalogError(f"There is no model '{model_id}' here; there are {known or 'none yet'}.")
    model = models[0]
    facts: dict[str, Any] = {name: getattr(model, name) for name in model.__slots__}
    rounds = catalog.fetch(RoundRow, "round_id = ?", (model.round_id,)) if model.round_id is not None else []
    for row in rounds:
        shards = [each.shard_id for each in catalog.done_shards(row.round_id)]
        facts["made_with"] = {
            "policy": row.policy_model,
            "ppm": row.ppm_model,
            "config_hash": row.config_hash,
            "campaign_seed": row.seed,
            "shards": [each for each in shards if not each.startswith("evaluate")],
        }
    parents = catalog.fetch(LineageRow, "child = ?", (model_id,), order_by="relation, parent")
    facts["lineage"] = [{"relation": row.relation, "parent": row.parent} for row in parents]
    # Older campaigns named a PPM by its folder.
    by_it = "policy_model = ? OR ppm_model = ? OR ends_with(ppm_model, ?)"
    used = catalog.fetch(RoundRow, by_it, (model_id, model_id, f"/{model_id}"))
    facts["searched"] = sorted(row.round_id for row in used)
    labels = catalog.fetch(EvaluationRow, "round_id = ?", (model.round_id,)) if model.round_id else []
    facts["evaluated"] = sorted({row.label for row in labels})
    children = catalog.fetch(LineageRow, "parent = ?", (model_id,), order_by="child, relation")
    facts["children"] = [{"relation": row.relation, "child": row.child} for row in children]
    return facts


def _changes(catalog: CatalogReader, table: str, first: int, last: int) -> tuple[int, int]:
    """Rows of a table that were added and removed."""
    before, after = (_num_rows(catalog, table, version) for version in (first, last))
    if first == last or before is None or after is None:
        return after or 0 if before is None else 0, 0
    query = _CHANGES.format(table=table, first=first + 1, last=last)
    added, removed = _ask(catalog, query)[0]
    return int(added), int(removed)


def _num_rows(catalog: CatalogReader, table: str, version: int) -> int | None:
    """Rows of a table at a version; None if there was no such table yet."""
    query = f"SELECT count(*) FROM {table} AT (VERSION => {version})"  # noqa: S608 - a table of ours
    try:
        return int(ask(catalog.connection, query)[1][0][0])
    except duckdb.CatalogException:
        return None


def _solved(catalog: CatalogReader, version: int) -> set[str]:
    if _num_rows(catalog, "trajectories", version) is None:
        return set()
    return {problem_id for (problem_id,) in _ask(catalog, _SOLVED.format(version=version))}


def _ask(catalog: CatalogReader, query: str) -> list[tuple[Any, ...]]:
    return read(catalog.location, lambda: ask(catalog.connection, query))[1]
