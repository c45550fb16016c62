"""Training sets from rows of the catalog, as the files that the trainers read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from infra.training.job import PairRow, SftRow
from rstar_core.parsing import split_steps
from rstar_core.prompts import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

    from infra.catalog.round_rows import SftExampleRow, StepPairRow
    from rstar_core.types import Problem


def write_sft(path: Path, rows: Sequence[SftExampleRow]) -> Path:
    """Each example as its prompt (the question alone) and the pieces of its solution."""
    return _write(
        path,
        (
            SftRow(
                problem_id=row.problem_id,
                pieces=render(row.question, (), "finetuned"),
                completion_pieces=row.step_texts,
            )
            for row in rows
        ),
    )


def write_pairs(path: Path, rows: Sequence[StepPairRow], problems: Mapping[str, Problem]) -> Path:
    """Each pair as the pieces of its question and shared steps, and the pieces of both sides."""
    return _write(
        path,
        (
            PairRow(
                problem_id=row.problem_id,
                group=row.group_id,
                prefix_pieces=render(problems[row.problem_id].question, split_steps(row.prefix), "finetuned"),
                positive_pieces=split_steps(row.positive),
                negative_pieces=split_steps(row.negative),
                weight=row.weight,
                positive_q=row.positive_q,
                negative_q=row.negative_q,
                depth=row.depth,
                final=row.final,
                tier=problems[row.problem_id].tier,
            )
            for row in rows
        ),
    )


def _write(path: Path, rows: Iterable[BaseModel]) -> Path:
    """JSON lines, complete or not there at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return path
