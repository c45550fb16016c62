"""Whether the catalog, its files and itself agree; each difference in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from infra.catalog.history_rows import DataFileRow
from infra.catalog.quoting import identifier
from infra.catalog.round_rows import ModelRow
from infra.catalog.statements import ask
from infra.catalog.transactions import read
from infra.models.layout import has_digest
from infra.models.store import is_address, read_manifest
from rstar_core.errors import ArtifactError, CatalogError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.catalog.data_files import DataFiles
    from infra.catalog.reader import CatalogReader

# Rows whose shard or problem the catalog does not know, and counts that two tables tell differently.
_FACTS = {
    "trees of a shard that does not exist": "SELECT round_id, shard_id FROM trees"
    " ANTI JOIN shards USING (round_id, shard_id) GROUP BY ALL",
    "trajectories of a tree that does not exist": "SELECT round_id, problem_id FROM trajectories"
    " ANTI JOIN trees USING (round_id, problem_id, tree_index) GROUP BY ALL",
    "trees of a problem that does not exist": "SELECT DISTINCT problem_id FROM trees"
    " ANTI JOIN problems USING (problem_id)",
    "the same tree twice": "SELECT round_id, problem_id, tree_index FROM trees GROUP BY ALL"
    " HAVING count(*) > 1",
    "the same shard twice": "SELECT round_id, shard_id FROM shards GROUP BY ALL HAVING count(*) > 1",
    "a tree whose trajectories are not as many as it says": "SELECT round_id, problem_id, tree_index"
    " FROM trees LEFT JOIN (SELECT round_id, problem_id, tree_index, count(*) AS n FROM trajectories"
    " GROUP BY ALL) USING (round_id, problem_id, tree_index) WHERE coalesce(n, 0) <> num_trajectories",
    "a problem whose outcome is not what its trajectories say": """
        SELECT coalesce(sums.round_id, facts.round_id), coalesce(sums.problem_id, facts.problem_id) FROM (
            SELECT round_id, problem_id, sum(tries) AS tries, sum(num_trajectories) AS found,
                sum(num_correct) AS correct, sum(tried) AS tried, sum(solved) AS solved
            FROM outcome_changes GROUP BY ALL HAVING sum(tries) <> 0 OR sum(num_trajectories) <> 0
        ) sums FULL JOIN (
            WITH done AS (
                SELECT round_id, shard_id, unnest(problem_ids) AS problem_id FROM shards
                WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')
            ), tried AS (SELECT round_id, problem_id, count(*) AS tries FROM done
                SEMI JOIN (FROM problems WHERE split = 'train') USING (problem_id) GROUP BY ALL),
            found AS (SELECT round_id, problem_id, count(*) AS found,
                    count(*) FILTER (WHERE correct) AS correct
                FROM trajectories SEMI JOIN (SELECT DISTINCT round_id, shard_id FROM done)
                    USING (round_id, shard_id) GROUP BY ALL)
            SELECT round_id, problem_id, tries, coalesce(found, 0) AS found, coalesce(correct, 0) AS correct
            FROM tried LEFT JOIN found USING (round_id, problem_id)
        ) facts ON sums.round_id = facts.round_id AND sums.problem_id = facts.problem_id
        WHERE sums.tries IS DISTINCT FROM facts.tries OR sums.found IS DISTINCT FROM facts.found
            OR sums.correct IS DISTINCT FROM facts.correct OR sums.tried <> 1
            OR sums.solved <> (facts.correct > 0)::BIGINT""",
    "a version whose snapshot is gone": "SELECT tag FROM versions"
    " ANTI JOIN (SELECT snapshot_id AS known FROM lake.snapshots()) ON version = known",
}


def differences(catalog: CatalogReader, *, checksums: bool = False) -> Iterator[str]:
    """Every way in which the catalog, its files and itself disagree; one sentence each.

    Files: each is there, has the size and the rows that the catalog says, and none lies beside them that the
    catalog does not know; with `checksums` each byte is read and compared with what maintenance has seen.
    Models: each is where its row says, with the weights that it had. Facts: nothing is there twice, and
    nothing belongs to what does not exist.
    """
    yield from _file_differences(catalog, checksums=checksums)
    for model in catalog.fetch(ModelRow, "digest IS NOT NULL", order_by="created_at"):
        if is_address(model.location):
            yield from _pushed_differences(model)
            continue
        folder = Path(model.location)
        if not any(folder.glob("*.safetensors")):
            yield f"The model {model.model_id} at {folder} is not there."
        elif not has_digest(folder, str(model.digest)):
            yield f"The model {model.model_id} at {folder} is not what it was when it was registered."
    for what, query in _FACTS.items():
        yield from _fact_differences(catalog, what, query)


def _pushed_differences(model: ModelRow) -> Iterator[str]:
    """What its manifest says; `rstar models pull` reads every byte."""
    try:
        found = read_manifest(model.location).digest
    except (ModelError, ArtifactError) as error:
        yield f"The model {model.model_id} cannot be had: {error}"
        return
    if found != model.digest:
        yield f"The model {model.model_id} at {model.location} is not what it was when it was registered."


def _file_differences(catalog: CatalogReader, *, checksums: bool) -> Iterator[str]:
    files = catalog.location.files
    known = {name: (size, rows) for name, size, rows in _known_files(catalog)}
    sizes = files.sizes()
    seen = {row.name: row.sha256 for row in catalog.fetch(DataFileRow)} if checksums else {}
    for name, (size, rows) in known.items():
        if name not in sizes:
            yield f"{files.address(name)} is not there, but the catalog has {rows:,} rows in it."
        elif sizes[name] != size:
            yield f"{files.address(name)} has {sizes[name]:,} bytes, but the catalog says {size:,}."
        else:
            yield from _content_difference(files, name, rows, seen.get(name))
    for name in sorted(sizes.keys() - known.keys() - _replaced_files(catalog)):
        yield f"{files.address(name)} is unknown to the catalog; `rstar catalog maintain` removes it."


def _replaced_files(catalog: CatalogReader) -> set[str]:
    """Names of the files that were merged into others and that the next maintenance removes."""
    query = f"SELECT path FROM {_metadata(catalog)}.ducklake_files_scheduled_for_deletion"  # noqa: S608 - our own
    return {name for (name,) in read(catalog.location, lambda: ask(catalog.connection, query))[1]}


def _metadata(catalog: CatalogReader) -> str:
    return f"__ducklake_metadata_lake.{identifier(catalog.location.metadata.schema)}"


def _known_files(catalog: CatalogReader) -> list[tuple[str, int, int]]:
    """Name, bytes and rows of each file that some version needs."""
    meta = _metadata(catalog)
    query = f"""
        SELECT s.path || t.path || f.path, f.file_size_bytes, f.record_count FROM (
            SELECT table_id, path, file_size_bytes, record_count FROM {meta}.ducklake_data_file
            UNION ALL
            SELECT table_id, path, file_size_bytes, delete_count FROM {meta}.ducklake_delete_file
        ) f JOIN {meta}.ducklake_table t USING (table_id) JOIN {meta}.ducklake_schema s USING (schema_id)
        ORDER BY 1"""  # noqa: S608 - our own name
    return read(catalog.location, lambda: ask(catalog.connection, query))[1]


def _content_difference(files: DataFiles, name: str, rows: int, digest: str | None) -> Iterator[str]:
    address = files.address(name)
    try:
        if digest is not None and files.digest(name) != digest:
            yield f"{address} has other bytes than maintenance saw."
        with files.open(name) as file:
            counted = pq.read_metadata(file).num_rows
        if counted != rows:
            yield f"{address} has {counted:,} rows, but the catalog says {rows:,}."
    except (OSError, pa.ArrowException) as error:
        yield f"{address} cannot be read: {error}."


def _fact_differences(catalog: CatalogReader, what: str, query: str) -> Iterator[str]:
    try:
        rows = read(catalog.location, lambda: ask(catalog.connection, query))[1]
    except CatalogError as error:  # a file is missing, which has been said
        yield f"It cannot be seen whether there is {what}: {error}"
        return
    for row in rows:
        yield f"There is {what}: {', '.join(map(str, row))}."
