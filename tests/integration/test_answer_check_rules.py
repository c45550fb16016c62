"""`docs/answer_check.md` row by row: what the page promises is what the answer check says."""

import re
from pathlib import Path

import pytest

from infra.grading.answer_check import AnswerCheck

PAGE = Path(__file__).parents[2] / "docs" / "answer_check.md"
ROW = re.compile(r"^\| `(.+)` \| ([↔→]) \| `(.+)` \| (yes|no) \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text())


@pytest.fixture(scope="module")
def answer_check():
    with AnswerCheck(num_workers=1) as answer_check:
        yield answer_check


def test_the_page_has_no_row_that_is_not_asked():
    assert len(ROWS) == len(re.findall(r"\| (?:yes|no) \|$", PAGE.read_text(), re.MULTILINE)) >= 80


@pytest.mark.parametrize(("prediction", "arrow", "reference", "same"), ROWS)
def test_a_row_holds(answer_check, prediction, arrow, reference, same):
    assert answer_check.check(prediction, reference).correct is (same == "yes")
    if arrow == "↔":
        assert answer_check.check(reference, prediction).correct is (same == "yes")
