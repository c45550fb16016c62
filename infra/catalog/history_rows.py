"""Rows about the catalog itself: its named versions, and what people decided about problems."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

from infra.catalog.rows import Row


@dataclass(frozen=True, slots=True)
class VersionRow(Row):
    """Named snapshots: the catalog as it was when a stage had written its output."""

    TABLE: ClassVar[str] = "versions"
    tag: Annotated[str, "Name, for example round-2/sft; a stage that is run again moves it."]
    version: Annotated[int, "DuckLake snapshot, for AT (VERSION => …); kept by maintenance."]
    message: Annotated[str, "What the stage did, one line."]
    created_at: Annotated[datetime, "When the name was given, UTC."]


@dataclass(frozen=True, slots=True)
class DataFileRow(Row):
    """Checksums of the data files, written by maintenance, for `rstar catalog check --checksums`."""

    TABLE: ClassVar[str] = "data_files"
    name: Annotated[str, "File below the data path."]
    sha256: Annotated[str, "SHA-256 of its bytes, hex."]


@dataclass(frozen=True, slots=True)
class DecisionRow(Row):
    """What a person decided about a problem whose reference is in doubt; the newest counts."""

    TABLE: ClassVar[str] = "decisions"
    problem_id: Annotated[str, "The problem; see problems."]
    decision: Annotated[str, "keep, fix (another reference) or drop."]
    answer: Annotated[str | None, "The new reference; null unless the decision is fix."]
    reason: Annotated[str, "Why, in the words of whoever decided; may be empty."]
    from_round: Annotated[int, "First round that honours it: those before had been planned already."]
    decided_at: Annotated[datetime, "When, UTC."]
