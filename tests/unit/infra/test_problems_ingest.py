"""Problems are there once and on one side only."""

import json

from infra.problems.drops import Drop, DropReason
from infra.problems.ingest import collect, dedupe, load
from rstar_core.config import BuiltinSource, FileSource
from rstar_core.types import Split


def source(path, pairs, **settings):
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs))
    return FileSource(path=str(path), name=path.stem, **settings)


def test_repeated_questions_are_dropped_and_contradictions_told_apart(tmp_path):
    items = list(
        dedupe(
            load(source(tmp_path / "own.jsonl", [("1 + 1?", "2"), ("1+1", "2"), ("1 + 1", "3"), ("x", "")]))
        )
    )
    assert [item.reason for item in items if isinstance(item, Drop)] == [
        DropReason.DUPLICATE,
        DropReason.CONFLICTING_ANSWER,
        DropReason.EMPTY_ANSWER,
    ]
    assert "answers '2', not '3'" in items[2].detail


def test_a_training_problem_that_is_held_out_elsewhere_is_dropped_whatever_the_order(tmp_path):
    train = source(tmp_path / "train.jsonl", [("What is $3!$?", "6"), ("What is 4!?", "24")])
    heldout = source(tmp_path / "bench.jsonl", [("what is 3!", "5")], split=Split.HELDOUT)
    problems, drops = collect([train, heldout])
    assert [(problem.question, problem.split) for problem in problems] == [
        ("what is 3!", Split.HELDOUT),
        ("What is 4!?", Split.TRAIN),
    ]
    assert [(drop.source, drop.reason) for drop in drops] == [("train", DropReason.HELDOUT_OVERLAP)]


def test_a_problem_is_kept_once_over_all_sources_of_a_split(tmp_path):
    first = source(tmp_path / "first.jsonl", [("a?", "1")])
    second = source(tmp_path / "second.jsonl", [("A?", "1"), ("b?", "2")])
    problems, drops = collect([first, second])
    assert [problem.source for problem in problems] == ["first", "second"]
    assert drops[0].detail == f"same question as {problems[0].problem_id} of first"


def test_builtin_and_file_sources_go_together(tmp_path):
    built = BuiltinSource(families=("gcd",), num_problems=3)
    copied = next(iter(load(built)))
    heldout = source(tmp_path / "bench.jsonl", [(copied.question, copied.answer)], split=Split.HELDOUT)
    problems, drops = collect([built, heldout])
    assert len(problems) == 3
    assert [drop.row for drop in drops] == [copied.problem_id]
