"""What maintenance would do to a catalog, without doing it.

DuckLake's own `dry_run` knows only the files that are to be deleted already, not those that forgetting
versions sets free; so these are found in its metadata, which is only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.catalog.maintenance import versions_to_forget, what_stays
from infra.catalog.merging import SMALL_BYTES
from infra.catalog.quoting import identifier
from infra.catalog.statements import ask
from infra.catalog.transactions import read

if TYPE_CHECKING:
    from infra.catalog.reader import CatalogReader


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What one run of the maintenance would do now.

    Attributes:
        versions: Versions that would be forgotten, ascending.
        files: Files that would be deleted, by name; those that are merged come on top.
        small_files: Small files of tables with several, which would be merged.
        kept_files: Files that are there now and are not deleted.
    """

    versions: tuple[int, ...]
    files: tuple[str, ...]
    small_files: int
    kept_files: int


def foresee(catalog: CatalogReader, *, keep_days: float) -> Foreseen:
    """The versions and files that maintenance would remove; nothing is changed.

    Args:
        catalog: The catalog; reading is enough.
        keep_days: Versions younger than this are kept.

    Raises:
        CatalogError: It cannot be read.
    """
    kept, before = what_stays(catalog, keep_days)
    connection, location = catalog.connection, catalog.location
    versions = read(location, lambda: versions_to_forget(connection, kept, before))
    meta = f"__ducklake_metadata_lake.{identifier(location.metadata.schema)}"
    query = f"""
        WITH files AS (
            SELECT table_id, path, begin_snapshot, end_snapshot, file_size_bytes AS size, true AS data
            FROM {meta}.ducklake_data_file
            UNION ALL
            SELECT table_id, path, begin_snapshot, end_snapshot, file_size_bytes, false
            FROM {meta}.ducklake_delete_file
        ), staying AS (
            SELECT snapshot_id FROM lake.snapshots() WHERE snapshot_id NOT IN (SELECT unnest(?::BIGINT[]))
        )
        SELECT s.path || t.path || f.path, t.table_name, f.data AND f.end_snapshot IS NULL AND f.size < ?,
            EXISTS (SELECT 1 FROM staying WHERE snapshot_id >= f.begin_snapshot
                AND (f.end_snapshot IS NULL OR snapshot_id < f.end_snapshot))
        FROM files f JOIN {meta}.ducklake_table t USING (table_id)
        JOIN {meta}.ducklake_schema s USING (schema_id)"""  # noqa: S608 - our own name
    known = read(location, lambda: ask(connection, query, (versions, SMALL_BYTES)))[1]
    needed = {name for name, _, _, is_needed in known if is_needed}
    small: dict[str, int] = {}
    for _, table, is_small, _ in known:
        small[table] = small.get(table, 0) + is_small
    present = location.files.sizes().keys()
    return Foreseen(
        versions=tuple(sorted(versions)),
        files=tuple(sorted(present - needed)),
        small_files=sum(count for count in small.values() if count > 1),
        kept_files=len(present & needed),
    )
