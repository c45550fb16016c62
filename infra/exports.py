"""Training data for other programs: in TRL's field names, as Parquet, JSON lines or a data set of the hub.

Rows are read and written in batches, so the size of a round does not matter. The folder appears under its
name only when it is complete.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from infra.provenance import code_version
from rstar_core.errors import CatalogError
from rstar_core.prompts import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from infra.catalog.reader import CatalogReader

Record = dict[str, Any]

FORMATS: Final = ("parquet", "jsonl", "hf")
_BATCH_ROWS: Final = 5000


@dataclass(frozen=True, slots=True)
class _Kind:
    """What can be exported.

    Attributes:
        query: Selects it; its parameter is the round.
        record: Makes a row's record.
        fields: Each field's type and meaning.
    """

    query: str
    record: Callable[[Sequence[Any]], Record]
    fields: dict[str, tuple[pa.DataType, str]]


def _sft(row: Sequence[Any]) -> Record:
    problem_id, rank, question, steps, mean_q = row
    prompt, completion = "".join(render(question, (), "finetuned")), "".join(steps)
    return {
        "prompt": prompt,
        "completion": completion,
        "problem_id": problem_id,
        "rank": rank,
        "mean_q": mean_q,
    }


def _pair(row: Sequence[Any]) -> Record:
    question, prefix, *rest = row
    names = (
        "chosen",
        "rejected",
        "chosen_q",
        "rejected_q",
        "weight",
        "depth",
        "final",
        "group",
        "problem_id",
    )
    return {
        "prompt": "".join(render(question, (), "finetuned")) + prefix,
        **dict(zip(names, rest, strict=True)),
    }


def _trajectory(row: Sequence[Any]) -> Record:
    names = ("problem_id", "question", "reference", "answer", "correct", "text", "mean_q", "q_values", "tree")
    return dict(zip(names, row, strict=True))


_TEXT, _NUMBER, _REAL, _FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
KINDS: Final = {
    "sft": _Kind(
        "SELECT problem_id, rank, question, step_texts, mean_q FROM sft_examples WHERE round_id = ?"
        " ORDER BY problem_id, rank",
        _sft,
        {
            "prompt": (_TEXT, "The question as the policy sees it, and the first lines of every program."),
            "completion": (_TEXT, "The solution: steps of code, output, answer."),
            "problem_id": (_TEXT, "Content hash of the problem."),
            "rank": (_NUMBER, "Place among the problem's correct trajectories by mean Q; 1 is the best."),
            "mean_q": (_REAL, "Mean Q over the steps, in [-1, 1]."),
        },
    ),
    "pairs": _Kind(
        "SELECT question, prefix, positive, negative, positive_q, negative_q, weight, depth, final, group_id,"
        " problem_id FROM step_pairs JOIN problems USING (problem_id) WHERE round_id = ?"
        " ORDER BY group_id, prefix, positive, negative",
        _pair,
        {
            "prompt": (_TEXT, "The question and the steps that both sides share."),
            "chosen": (_TEXT, "The better continuation."),
            "rejected": (_TEXT, "The worse continuation."),
            "chosen_q": (_REAL, "Q of the better side, in [-1, 1]."),
            "rejected_q": (_REAL, "Q of the worse side, in [-1, 1]."),
            "weight": (_REAL, "1 / (positives × negatives) of the group."),
            "depth": (_NUMBER, "Depth of the compared step; 1 is the first."),
            "final": (_FLAG, "Whole solutions are compared."),
            "group": (_TEXT, "Step that the pair belongs to."),
            "problem_id": (_TEXT, "Content hash of the problem."),
        },
    ),
    "trajectories": _Kind(
        "SELECT problem_id, question, problems.answer, trajectories.answer, correct, text, mean_q, q_values,"
        " tree_index FROM trajectories JOIN problems USING (problem_id) SEMI JOIN (SELECT round_id, shard_id"
        " FROM shards WHERE status = 'done' AND NOT starts_with(kind, 'evaluate')) USING (round_id, shard_id)"
        " WHERE round_id = ? ORDER BY problem_id, tree_index, trajectory_index",
        _trajectory,
        {
            "problem_id": (_TEXT, "Content hash of the problem."),
            "question": (_TEXT, "The question."),
            "reference": (_TEXT, "The reference answer."),
            "answer": (_TEXT, "The answer that the solution gives."),
            "correct": (_FLAG, "Verdict of the answer check."),
            "text": (_TEXT, "The solution: steps of code, output, answer."),
            "mean_q": (_REAL, "Mean Q over the steps, in [-1, 1]."),
            "q_values": (pa.list_(_REAL), "Q of each step."),
            "tree": (_NUMBER, "Which tree of the problem it came from."),
        },
    ),
}


def export(catalog: CatalogReader, what: str, round_id: int, form: str, folder: Path) -> int:
    """Write a round's data and a card that describes it into a new folder; returns the number of rows.

    Args:
        catalog: Where it is read, possibly at a version.
        what: sft, pairs or trajectories.
        round_id: The round.
        form: parquet, jsonl or hf (Parquet in the layout that `datasets.load_dataset` reads).
        folder: Must not exist.

    Raises:
        CatalogError: There is nothing to export, the folder exists, or it cannot be written.
    """
    if what not in KINDS or form not in FORMATS:
        raise CatalogError(f"{what} as {form} cannot be exported; choose {_any(KINDS)} as {_any(FORMATS)}.")
    if folder.exists():
        raise CatalogError(f"{folder} exists already; remove it or name another folder.")
    kind = KINDS[what]
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    name = "data/train-00000-of-00001.parquet" if form == "hf" else f"{what}.{form}"
    try:
        (partial / name).parent.mkdir(parents=True)
        write = _write_jsonl if form == "jsonl" else _write_parquet
        count = write(partial / name, kind, _batches(catalog, kind, round_id))
        if count:
            (partial / "README.md").write_text(_card(catalog, what, round_id, name, count), encoding="utf-8")
            partial.rename(folder)
    except OSError as error:
        raise CatalogError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not count:
        raise CatalogError(f"Round {round_id} has no {what} to export here.")
    return count


def _any(names: Sequence[str] | dict[str, _Kind]) -> str:
    return ", ".join(names)


def _batches(catalog: CatalogReader, kind: _Kind, round_id: int) -> Iterator[list[Record]]:
    cursor = catalog.connection.execute(kind.query, (round_id,))
    while rows := cursor.fetchmany(_BATCH_ROWS):
        yield [kind.record(row) for row in rows]


def _write_jsonl(path: Path, _: _Kind, batches: Iterator[list[Record]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", errors="replace") as file:
        for batch in batches:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in batch)
            count += len(batch)
    return count


def _write_parquet(path: Path, kind: _Kind, batches: Iterator[list[Record]]) -> int:
    count = 0
    schema = pa.schema([(name, data_type) for name, (data_type, _) in kind.fields.items()])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _card(catalog: CatalogReader, what: str, round_id: int, name: str, count: int) -> str:
    """The card of the data set, with the header that the hub reads."""
    query = "SELECT source, any_value(licence), count(*) FROM problems WHERE split = 'train' GROUP BY source"
    sources = catalog.connection.execute(f"{query} ORDER BY source").fetchall()
    fields = "\n".join(f"| `{field}` | {text} |" for field, (_, text) in KINDS[what].fields.items())
    origins = "\n".join(f"| {source} | {number} | {licence} |" for source, licence, number in sources)
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {name}
tags:
- mathematics
- synthetic
---
# {what}, round {round_id}

{count} rows, from version {catalog.newest_snapshot()} of the catalog, written by rstar {code_version()}.

| field | meaning |
| --- | --- |
{fields}

Training problems of the campaign, of which these rows are some:

| source | problems | licence |
| --- | --- | --- |
{origins}
"""
