"""Public data sets are read as they lie, dirt included."""

import os
from collections import Counter

import pytest

from infra.problems.drops import Drop
from infra.problems.ingest import collect, dedupe, load
from rstar_core.config import FileSource
from rstar_core.types import Problem

pytestmark = pytest.mark.skipif(
    not os.environ.get("RSTAR_DATA_DIR"), reason="real data is absent (RSTAR_DATA_DIR names no folder of it)"
)
TRAIN = {
    "gsm8k_train.jsonl": {"answer_format": "gsm8k"},
    "math_train.json": {"question": "problem", "difficulty": "difficulty", "topic": "type"},
    "aime_1983_2023.json": {"question": "problem", "difficulty": "difficulty"},
}
BENCHMARKS = {
    "GSM8K_test.json": {},
    "MATH_test.json": {},
    "math500_test.json": {},
    "math500_with_level.jsonl": {"question": "problem", "difficulty": "level", "topic": "subject"},
    "aime2024_test.json": {},
    "amc23_test.json": {},
    "collegemath_test.json": {},
    "gaokao2023en_test.json": {},
    "olympiadbench_test.json": {},
    "omni_test.json": {},
}
# Rows; problems by tier; drops by reason.
EXPECTED = {
    "gsm8k_train.jsonl": (7473, {"gsm": 7473}, {}),
    "math_train.json": (7474, {"math": 7466}, {"empty_answer": 4, "duplicate": 2, "conflicting_answer": 2}),
    "aime_1983_2023.json": (975, {"math": 725, "olympiad": 250}, {}),
    "GSM8K_test.json": (1319, {"other": 1319}, {}),
    "MATH_test.json": (5000, {"other": 4999}, {"duplicate": 1}),
    "math500_test.json": (500, {"other": 500}, {}),
    "math500_with_level.jsonl": (500, {"math": 500}, {}),
    "aime2024_test.json": (30, {"other": 30}, {}),
    "amc23_test.json": (40, {"other": 40}, {}),
    "collegemath_test.json": (2818, {"other": 2779}, {"duplicate": 11, "conflicting_answer": 28}),
    "gaokao2023en_test.json": (385, {"other": 383}, {"empty_answer": 2}),
    "olympiadbench_test.json": (675, {"other": 675}, {}),
    "omni_test.json": (
        4428,
        {"other": 4380},
        {"empty_answer": 9, "duplicate": 29, "conflicting_answer": 10},
    ),
}


def source(name):
    if name in TRAIN:
        return FileSource(path=f"$RSTAR_DATA_DIR/train/{name}", name=name.partition(".")[0], **TRAIN[name])
    return FileSource(
        path=f"$RSTAR_DATA_DIR/benchmarks/{name}",
        name=name.partition(".")[0],
        split="heldout",
        **BENCHMARKS[name],
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_every_row_is_a_problem_or_a_drop_with_a_reason(name):
    items = list(dedupe(load(source(name))))
    tiers = Counter(item.tier.value for item in items if isinstance(item, Problem))
    reasons = Counter(item.reason.value for item in items if isinstance(item, Drop))
    assert (len(items), dict(tiers), dict(reasons)) == EXPECTED[name]


def test_gsm8k_keeps_only_the_number_after_the_marker():
    first = next(iter(load(source("gsm8k_train.jsonl"))))
    assert first.answer == "72"


def test_lists_of_answers_are_joined_and_lost_backslashes_come_back():
    answers = {item.answer for item in load(source("MATH_test.json")) if isinstance(item, Problem)}
    assert "3, -3" in answers
    assert r"\left(\tfrac32, -\tfrac52\right), \left(-\tfrac52, -\tfrac52\right)" in answers


def test_contest_problems_that_a_benchmark_repeats_never_reach_training():
    problems, drops = collect([source("aime_1983_2023.json"), source("MATH_test.json")])
    assert Counter(drop.reason.value for drop in drops) == {"heldout_overlap": 39, "duplicate": 1}
    assert len(problems) == 975 - 39 + 4999
