"""Released training data into the catalog: read in a stream, staged in files, written in one transaction."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ijson
import pyarrow.parquet as pq

from infra.catalog.columns import table_of
from infra.catalog.quoting import quoted
from infra.catalog.round_rows import LineageRow, SftExampleRow, StepPairRow
from infra.catalog.rows import DropRow, ProblemRow, Row
from infra.catalog.statements import insert
from infra.catalog.transactions import write
from infra.released import NotUnderstoodError, ReleasedProblem, example_of, pair_of
from rstar_core.errors import CatalogError, SourceError
from rstar_core.types import Split, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from infra.catalog.catalog import Catalog

_BATCH_ROWS = 5_000
_BLOCK_BYTES = 1 << 20
_RELATION = "imported_from"


@dataclass(slots=True)
class Imported:
    """What a file gave.

    Attributes:
        examples: Solutions for the policy.
        pairs: Preferences for the PPM.
        problems: Problems that the catalog did not know.
        dropped: Rows that could not be understood, by reason.
        known: The same file had been imported before, so nothing was done.
    """

    examples: int = 0
    pairs: int = 0
    problems: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    known: bool = False


def import_file(catalog: Catalog, path: Path, round_id: int, source: str, licence: str) -> Imported:
    """Add the rows of one released file to a round's training sets, all of them or none.

    Args:
        catalog: Open for writing.
        path: A JSON array, or JSON lines, of {query, response} or of {prompt, pos, neg, …}.
        round_id: The round that gets them; it must have no shards and no data of its own.
        source: Name of the problems' source.
        licence: Its licence.

    Raises:
        SourceError: The file cannot be read or is no JSON.
        CatalogError: The round has data of its own, or the catalog cannot be written.
    """
    digest = f"sha256:{_digest(path)}"
    known = catalog.fetch(LineageRow, "parent = ? AND relation = ?", (digest, _RELATION))
    if known:
        return Imported(known=True)
    _refuse_round_of_ones_own(catalog, round_id)
    with tempfile.TemporaryDirectory(prefix="rstar-import-") as folder:
        staged = _Staged(Path(folder), round_id, source, licence)
        with staged:
            for row in _rows(path):
                staged.add(row)
        return write(
            catalog.connection,
            catalog.location,
            f"round {round_id}: import {path.name}",
            lambda connection: _write(connection, staged, digest, path.name),
        )


class _Staged:
    """Rows of the catalog's tables in Parquet files of a local folder."""

    def __init__(self, folder: Path, round_id: int, source: str, licence: str) -> None:
        self.folder, self.round_id, self.source, self.licence = folder, round_id, source, licence
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._rows: dict[type[Row], list[Any]] = {ProblemRow: [], SftExampleRow: [], StepPairRow: []}
        self._writers: dict[type[Row], pq.ParquetWriter] = {}
        self._now = datetime.now(UTC)

    def add(self, row: object) -> None:
        """Stage one row of the file, or count why it cannot be."""
        if not isinstance(row, dict):
            self.dropped["no_object"] += 1
            return
        try:
            self._add_pair(row) if "prompt" in row else self._add_example(row)
        except NotUnderstoodError as reason:
            self.dropped[str(reason)] += 1
        if len(self._rows[ProblemRow]) >= _BATCH_ROWS:
            self._flush()

    def file_of(self, row_type: type[Row]) -> Path | None:
        """The staged rows of a table, or None if there are none."""
        path = self.folder / f"{row_type.TABLE}.parquet"
        return path if path.exists() else None

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._flush()
        for writer in self._writers.values():
            writer.close()

    def _add_example(self, row: dict[str, Any]) -> None:
        example = example_of(row)
        self._add_problem(example.problem)
        self.counts[SftExampleRow.TABLE] += 1
        self._rows[SftExampleRow].append(
            SftExampleRow(
                round_id=self.round_id,
                problem_id=example.problem.problem_id,
                rank=self.counts[SftExampleRow.TABLE],  # its place in the file, until all of it is known
                question=example.problem.question,
                step_texts=example.step_texts,
                mean_q=None,
                tree_index=None,
            )
        )

    def _add_pair(self, row: dict[str, Any]) -> None:
        pair = pair_of(row)
        self._add_problem(pair.problem)
        self.counts[StepPairRow.TABLE] += 1
        group = hashlib.sha256(pair.prefix.encode()).hexdigest()[:16] if pair.prefix else "final"
        self._rows[StepPairRow].append(
            StepPairRow(
                round_id=self.round_id,
                problem_id=pair.problem.problem_id,
                group_id=f"{pair.problem.problem_id}/{group}",
                prefix=pair.prefix,
                positive=pair.positive,
                negative=pair.negative,
                positive_q=None,
                negative_q=None,
                depth=pair.prefix.count("<end_of_step>") + 1,
                final=not pair.prefix,
                weight=1 / pair.num_pairs,
            )
        )

    def _add_problem(self, problem: ReleasedProblem) -> None:
        self._rows[ProblemRow].append(
            ProblemRow(
                problem_id=problem.problem_id,
                question=problem.question,
                answer=problem.answer,
                tier=Tier.OTHER,
                source=self.source,
                licence=self.licence,
                split=Split.IMPORTED,
                synthetic=True,
                added_at=self._now,
            )
        )

    def _flush(self) -> None:
        for row_type, rows in self._rows.items():
            if rows:
                table = table_of(row_type, rows)
                if row_type not in self._writers:
                    path = self.folder / f"{row_type.TABLE}.parquet"
                    self._writers[row_type] = pq.ParquetWriter(path, table.schema)
                self._writers[row_type].write_table(table)
                rows.clear()


def _write(connection: duckdb.DuckDBPyConnection, staged: _Staged, digest: str, name: str) -> Imported:
    """Everything that was staged, into the open transaction."""
    done = Imported(dropped=staged.dropped)
    if (problems := staged.file_of(ProblemRow)) is not None:
        query = f"""
            INSERT INTO problems BY NAME
            SELECT DISTINCT ON (problem_id) * FROM read_parquet({quoted(str(problems))}) new
            ANTI JOIN problems USING (problem_id) ORDER BY problem_id"""  # noqa: S608 - a path of ours
        done.problems = _count(connection, query)
    if (examples := staged.file_of(SftExampleRow)) is not None:
        query = f"""
            INSERT INTO sft_examples BY NAME
            SELECT * REPLACE (row_number() OVER (PARTITION BY problem_id ORDER BY rank) AS rank)
            FROM read_parquet({quoted(str(examples))})"""  # noqa: S608 - as above
        done.examples = _count(connection, query)
    if (pairs := staged.file_of(StepPairRow)) is not None:
        query = f"INSERT INTO step_pairs BY NAME FROM read_parquet({quoted(str(pairs))})"
        done.pairs = _count(connection, query)
    drops = [
        DropRow(staged.round_id, None, "import", None, staged.source, reason, name, count)
        for reason, count in sorted(staged.dropped.items())
    ]
    insert(connection, DropRow, drops)
    made = {"sft_examples": done.examples, "step_pairs": done.pairs}
    insert(
        connection,
        LineageRow,
        [
            LineageRow(f"round-{staged.round_id}/{table}", digest, _RELATION, staged.round_id)
            for table, count in made.items()
            if count
        ],
    )
    return done


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    (count,) = connection.execute(query).fetchall()[0]
    return int(count)


def _refuse_round_of_ones_own(catalog: Catalog, round_id: int) -> None:
    query = """
        SELECT (SELECT count(*) FROM shards WHERE round_id = $1),
            (SELECT count(*) FROM lineage WHERE round_id = $1 AND relation = $2),
            (SELECT count(*) FROM sft_examples WHERE round_id = $1)
                + (SELECT count(*) FROM step_pairs WHERE round_id = $1)"""
    shards, imported, rows = catalog.connection.execute(query, (round_id, _RELATION)).fetchall()[0]
    if shards or (rows and not imported):
        raise CatalogError(f"Round {round_id} has data of its own; import into a round that has none.")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
                digest.update(block)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _rows(path: Path) -> Iterator[object]:
    """The rows of a JSON array or of JSON lines, one at a time."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()[:1]
            file.seek(0)
            if start == b"[":
                yield from ijson.items(file, "item", use_float=True)
            else:
                yield from ijson.items(file, "", multiple_values=True, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is no JSON array and no JSON lines: {str(error).splitlines()[0]}."
        ) from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
