"""Problems from files: formats, field mapping, dirt, and errors that name the place."""

import json

import fsspec
import polars as pl
import pytest

from infra.problems.answers import last_boxed, read_answer
from infra.problems.drops import Drop, DropReason
from infra.problems.files import read_file
from rstar_core.config import FileSource
from rstar_core.errors import SourceError
from rstar_core.types import Split, Tier

ROWS = [{"question": "What is 1 + 1?", "answer": "2"}, {"question": "What is 2 + 2?", "answer": 4}]


def write(path, rows):
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pl.DataFrame(rows, strict=False).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path, **settings):
    return list(read_file(FileSource(path=str(path), name="own", **settings)))


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".ndjson", ".parquet"])
def test_every_format_gives_the_same_problems(suffix, tmp_path):
    problems = read(write(tmp_path / f"rows{suffix}", ROWS))
    assert [(problem.question, problem.answer) for problem in problems] == [
        ("What is 1 + 1?", "2"),
        ("What is 2 + 2?", "4"),
    ]
    assert {(problem.source, problem.split, problem.tier) for problem in problems} == {
        ("own", Split.TRAIN, Tier.OTHER)
    }


def test_remote_addresses_are_read_like_local_ones():
    with fsspec.open("memory://bucket/rows.jsonl", "w") as handle:
        handle.write(json.dumps(ROWS[0]) + "\n\n" + json.dumps(ROWS[1]))
    assert len(read("memory://bucket/*.jsonl")) == 2


def test_a_glob_reads_its_files_in_order_and_the_limit_counts_over_all(tmp_path, monkeypatch):
    write(tmp_path / "b.jsonl", ROWS[1:])
    write(tmp_path / "a.jsonl", ROWS[:1])
    monkeypatch.setenv("OWN_DATA", str(tmp_path))
    assert [problem.answer for problem in read("$OWN_DATA/*.jsonl")] == ["2", "4"]
    assert [problem.answer for problem in read("${OWN_DATA}/*.jsonl", limit=1)] == ["2"]


def test_the_mapping_gives_tier_topic_licence_and_origin(tmp_path):
    rows = [
        {"problem": "Easy?", "answer": "1", "level": 5.9, "type": "Counting & Probability"},
        {"problem": "Hard?", "answer": "2", "level": "6", "type": None},
    ]
    easy, hard = read(
        write(tmp_path / "rows.json", rows),
        question="problem",
        difficulty="level",
        topic="type",
        licence="MIT",
        synthetic=True,
    )
    assert (easy.tier, easy.source, easy.licence, easy.synthetic) == (
        Tier.MATH,
        "own/counting_probability",
        "MIT",
        True,
    )
    assert (hard.tier, hard.source) == (Tier.OLYMPIAD, "own")


@pytest.mark.parametrize(
    ("value", "answer_format", "expected"),
    [
        (" 3 ", "plain", "3"),
        (3, "plain", "3"),
        (72.0, "plain", "72"),
        (0.5, "plain", "0.5"),
        (["7"], "plain", "7"),
        (["3", "-3"], "plain", "3, -3"),
        ("\tfrac32", "plain", r"\tfrac32"),
        (r"x\pmi", "plain", r"x\pmi"),
        (None, "plain", DropReason.EMPTY_ANSWER),
        ("  ", "plain", DropReason.EMPTY_ANSWER),
        ([], "plain", DropReason.EMPTY_ANSWER),
        ({"a": 1}, "plain", DropReason.UNSUPPORTED_ANSWER),
        (True, "plain", DropReason.UNSUPPORTED_ANSWER),
        ("6 * 7 = <<6*7=42>>42\n#### 1,042", "gsm8k", "1042"),
        ("42", "gsm8k", DropReason.NO_FINAL_ANSWER),
        ("so 42\n####", "gsm8k", DropReason.EMPTY_ANSWER),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}.", "boxed", r"\frac{1}{2}"),
        ("none", "boxed", DropReason.NO_FINAL_ANSWER),
    ],
)
def test_answers_are_read_by_the_rules(value, answer_format, expected):
    assert read_answer(value, answer_format) == expected


def test_an_unclosed_box_does_not_hide_the_one_before():
    assert last_boxed(r"\boxed{4} and \boxed{5") == "4"


def test_empty_rows_are_dropped_with_place_and_reason(tmp_path):
    path = write(
        tmp_path / "rows.jsonl", [{"question": " ", "answer": "1"}, {"question": "Q?", "answer": ""}]
    )
    first, second = read(path)
    assert first == Drop("own", f"{path}:1", DropReason.EMPTY_QUESTION, "field 'question' is empty")
    assert second == Drop("own", f"{path}:2", DropReason.EMPTY_ANSWER, "field 'answer' holds ''")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", '{"question": "a", "answer": "1"}\n{"question": ', r"rows\.jsonl:2: .*repair"),
        ("rows.jsonl", "[1, 2]\n", r"rows\.jsonl:1: it is a list"),
        ("rows.json", '[\n{"question": 1,}\n]', r"rows\.json:2: "),
        ("rows.json", '{"question": "a"}', r"rows\.json holds a dict, not a list"),
        ("rows.json", "[7]", r"rows\.json row 1: it is a int"),
        (
            "rows.jsonl",
            '{"query": "a", "answer": "1"}',
            r"rows\.jsonl:1 has no field 'question'; .* query, answer",
        ),
        ("rows.jsonl", '{"question": ["a"], "answer": "1"}', r"field 'question' is a list, not text"),
        ("rows.csv", "question,answer\n", r"format is not one of \.json"),
        ("rows.parquet", "nothing of the kind", r"rows\.parquet: .*Parquet"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        read(tmp_path / name)


def test_a_difficulty_that_is_no_number_is_named(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{**ROWS[0], "level": "hard"}])
    with pytest.raises(SourceError, match=r"field 'level' holds 'hard', not a number"):
        read(path, difficulty="level")


def test_a_missing_file_and_an_unset_variable_are_named(tmp_path):
    with pytest.raises(SourceError, match=r"There is no file at .*gone\.json"):
        read(tmp_path / "gone.json")
    with pytest.raises(SourceError, match=r"There is no file at .*\*\.json"):
        read(tmp_path / "*.json")
    with pytest.raises(SourceError, match=r"needs \$OWN_UNSET_FOLDER, which is not set"):
        read("$OWN_UNSET_FOLDER/rows.json")
