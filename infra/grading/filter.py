"""`rstar grade`: compares the answers of each input line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from infra.streaming import Row, stream_rows, text_field

if TYPE_CHECKING:
    from infra.grading.answer_check import AnswerCheck


def run_grade_filter(lines: TextIO, out: TextIO, answer_check: AnswerCheck) -> None:
    """Answer `{"id", "prediction", "reference"}` with `{"id", "correct", "method", "seconds"}`, in order.

    A line that is no such object is answered with the method `unreadable_line` and the reason as `error`.

    Raises: GradingError if math-verify does not start, SourceError if a line was no such object, after all
    lines were answered.
    """

    def handle(row: Row) -> Row:
        verdict = answer_check.check(text_field(row, "prediction"), text_field(row, "reference"))
        return {
            "id": row.get("id"),
            "correct": verdict.correct,
            "method": verdict.method,
            "seconds": round(verdict.seconds, 6),
        }

    def refuse(identity: Any, reason: str) -> Row:  # noqa: ANN401 - any JSON value
        answer = {"id": identity, "correct": None, "method": "unreadable_line", "seconds": 0.0}
        return {**answer, "error": reason}

    stream_rows(lines, out, handle, refuse, num_workers=answer_check.num_workers)
