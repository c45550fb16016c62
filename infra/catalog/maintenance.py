"""Care of the catalog: small files merged, versions that nobody needs forgotten, checksums written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from infra.catalog.connection import connect
from infra.catalog.history_rows import DataFileRow, VersionRow
from infra.catalog.merging import merge_small_files
from infra.catalog.round_rows import ModelRow
from infra.catalog.statements import delete, insert
from infra.catalog.transactions import patiently, read, write

if TYPE_CHECKING:
    import duckdb

    from infra.catalog.location import CatalogLocation
    from infra.catalog.reader import CatalogReader


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
        CatalogAwayError: The server or the store was away for too long.
        CatalogError: It cannot be written.
    """
    location = catalog.location
    kept, before = what_stays(catalog, keep_days)

    def work() -> Maintained:
        with location.writing():
            connection = connect(location, read_only=False)
            try:
                return read(location, lambda: _maintain(connection, location, kept, before))
            finally:
                connection.close()

    done = patiently(work)
    _write_checksums(catalog)
    return done


def what_stays(catalog: CatalogReader, keep_days: float) -> tuple[set[int], datetime]:
    """Versions that are kept because they have a name or trained a model, and since when all are kept."""
    kept = {row.version for row in catalog.fetch(VersionRow)}
    kept |= {row.dataset_version for row in catalog.fetch(ModelRow) if row.dataset_version is not None}
    return kept, datetime.now(UTC) - timedelta(days=keep_days)


def versions_to_forget(connection: duckdb.DuckDBPyConnection, kept: set[int], before: datetime) -> list[int]:
    """The old versions that nobody needs; never the newest."""
    query = """
        SELECT snapshot_id FROM lake.snapshots()
        WHERE snapshot_time < ? AND snapshot_id < (SELECT max(snapshot_id) FROM lake.snapshots())"""
    old = [number for (number,) in connection.execute(query, (before,)).fetchall()]
    return [number for number in old if number not in kept]


def _maintain(
    connection: duckdb.DuckDBPyConnection, location: CatalogLocation, kept: set[int], before: datetime
) -> Maintained:
    expired = versions_to_forget(connection, kept, before)
    merge_small_files(connection.execute)
    if expired:
        connection.execute("CALL ducklake_expire_snapshots('lake', versions => ?)", (expired,))
    present = location.files.sizes()
    connection.execute("CALL ducklake_cleanup_old_files('lake', cleanup_all => true)")
    connection.execute("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)")
    left = location.files.sizes()
    return Maintained(len(expired), len(present.keys() - left.keys()), len(left))


def _write_checksums(catalog: CatalogReader) -> None:
    """Checksums of the files that have none yet; a data file never changes, so each is read once.

    Others may write meanwhile: the first time it takes as long as reading all the data. The table of
    checksums itself is left out, for writing them would make another file each time.
    """
    files = catalog.location.files
    names = {name for name in files.sizes() if not name.startswith(f"main/{DataFileRow.TABLE}/")}
    known = {row.name for row in catalog.fetch(DataFileRow)}
    fresh = [DataFileRow(name, files.digest(name)) for name in sorted(names - known)]
    gone = sorted(known - names)
    if not fresh and not gone:
        return

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        delete(connection, DataFileRow, {"name": gone})
        insert(connection, DataFileRow, fresh)

    write(catalog.connection, catalog.location, f"checksums of {len(fresh)} files", work)
