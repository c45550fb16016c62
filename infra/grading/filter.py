"""`rstar grade`: compares the answers of each input line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from infra.sandbox.streaming import Row, stream_rows, text_field

if TYPE_CHECKING:
    from infra.grading.answer_check import AnswerCheck


def run_grade_filter(lines: TextIO, out: TextIO, answer_check: AnswerCheck) -> None:
    """Answer `{"id", "prediction", "reference"}` with `{"id", "correct", "method", "seconds"}`, in order.

    Raises: GradingError if math-verify does not start, SourceError for a line that is no such object.
    """

    def handle(row: Row) -> Row:
        verdict = answer_check.check(text_field(row, "prediction"), text_field(row, "reference"))
        return {
            "id": row.get("id"),
            "correct": verdict.correct,
            "method": verdict.method,
            "seconds": round(verdict.seconds, 6),
        }

    stream_rows(lines, out, handle, num_workers=answer_check.num_workers)
