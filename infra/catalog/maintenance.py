"""Care of the catalog: small files merged, versions that nobody needs forgotten, files compared with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from infra.catalog.connection import connect
from infra.catalog.history_rows import VersionRow
from infra.catalog.round_rows import ModelRow
from infra.catalog.statements import ask
from infra.catalog.transactions import read
from infra.models.layout import digest_of_weights
from rstar_core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.catalog.reader import CatalogReader

_META = "__ducklake_metadata_lake"
_FILES = f"""
    SELECT s.path || t.path || f.path, f.file_size_bytes, f.record_count FROM (
        SELECT table_id, path, file_size_bytes, record_count FROM {_META}.ducklake_data_file
        UNION ALL SELECT table_id, path, file_size_bytes, delete_count FROM {_META}.ducklake_delete_file
    ) f JOIN {_META}.ducklake_table t USING (table_id) JOIN {_META}.ducklake_schema s USING (schema_id)
    ORDER BY 1"""  # noqa: S608 - a constant
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
    "a version whose snapshot is gone": "SELECT tag FROM versions"
    " ANTI JOIN (SELECT snapshot_id AS known FROM lake.snapshots()) ON version = known",
}


@dataclass(frozen=True, slots=True)
class Maintained:
    """What one run of the maintenance did.

    Attributes:
        expired: Versions that were forgotten.
        removed: Files that were deleted.
        files: Data files that are left.
    """

    expired: int
    removed: int
    files: int


def maintain(catalog: CatalogReader, *, keep_days: float) -> Maintained:
    """Merge small files, forget old versions that have no name and trained no model, delete what is unused.

    Nobody can write meanwhile; readers of the newest version are not disturbed.

    Args:
        catalog: The catalog.
        keep_days: Versions younger than this are kept.

    Raises:
        CatalogBusyError: Others were writing for too long.
        CatalogError: It cannot be written.
    """
    location = catalog.location
    kept = {row.version for row in catalog.fetch(VersionRow)}
    kept |= {row.dataset_version for row in catalog.fetch(ModelRow) if row.dataset_version is not None}
    before = datetime.now(UTC) - timedelta(days=keep_days)
    with location.writing():
        connection = connect(location, read_only=False)
        try:
            newest = catalog.newest_snapshot()
            query = "SELECT snapshot_id FROM lake.snapshots() WHERE snapshot_time < ?"
            old = [number for (number,) in connection.execute(query, (before,)).fetchall()]
            expired = [number for number in old if number not in kept and number != newest]

            def work() -> int:
                connection.execute("CALL ducklake_merge_adjacent_files('lake')")
                if expired:
                    connection.execute("CALL ducklake_expire_snapshots('lake', versions => ?)", (expired,))
                connection.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
                connection.execute("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)")
                return len(connection.execute(_FILES).fetchall())

            present = _num_files(location.data_path)
            files = read(location, work)
            return Maintained(len(expired), max(0, present - _num_files(location.data_path)), files)
        finally:
            connection.close()


def differences(catalog: CatalogReader) -> Iterator[str]:
    """Every way in which the catalog, its files and itself disagree; one sentence each.

    Files: each is there, has the size and the rows that the catalog says, and none lies beside them that the
    catalog does not know. Models: each is where its row says, with the weights that it had. Facts: nothing is
    there twice, and nothing belongs to what does not exist.
    """
    folder = Path(catalog.location.data_path)
    known = set()
    for name, size, rows in read(catalog.location, lambda: ask(catalog.connection, _FILES))[1]:
        known.add(folder / name)
        yield from _file_difference(folder / name, size, rows)
    for path in sorted(folder.rglob("*.parquet")):
        if path not in known:
            yield f"{path} is unknown to the catalog; `rstar catalog maintain` removes it."
    for model in catalog.fetch(ModelRow, "digest IS NOT NULL", order_by="created_at"):
        folder = Path(model.location)
        if not any(folder.glob("*.safetensors")):
            yield f"The model {model.model_id} at {folder} is not there."
        elif digest_of_weights(folder) != model.digest:
            yield f"The model {model.model_id} at {folder} has other weights than when it was registered."
    for what, query in _FACTS.items():
        yield from _fact_differences(catalog, what, query)


def _fact_differences(catalog: CatalogReader, what: str, query: str) -> Iterator[str]:
    try:
        rows = read(catalog.location, lambda: ask(catalog.connection, query))[1]
    except CatalogError as error:  # a file is missing, which has been said
        yield f"It cannot be seen whether there is {what}: {error}"
        return
    for row in rows:
        yield f"There is {what}: {', '.join(map(str, row))}."


def _file_difference(path: Path, size: int, rows: int) -> Iterator[str]:
    try:
        found = path.stat().st_size
        if found != size:
            yield f"{path} has {found:,} bytes, but the catalog says {size:,}."
        elif (counted := pq.read_metadata(path).num_rows) != rows:
            yield f"{path} has {counted:,} rows, but the catalog says {rows:,}."
    except FileNotFoundError:
        yield f"{path} is not there, but the catalog has {rows:,} rows in it."
    except (OSError, pa.ArrowException) as error:
        yield f"{path} cannot be read: {error}."


def _num_files(folder: str) -> int:
    return sum(name.endswith(".parquet") for _, _, names in os.walk(folder) for name in names)
