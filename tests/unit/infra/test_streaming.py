"""Lines in, lines out: what is wrong with one is said in its own answer."""

import io
import json
import threading

import pytest

from infra.streaming import stream_rows, text_field
from rstar_core.errors import SandboxError, SourceError


def answers(lines, handle=lambda row: {"id": row.get("id"), "text": text_field(row, "text")}, **options):
    out = io.StringIO()
    refuse = lambda identity, reason: {"id": identity, "refused": reason}  # noqa: E731
    error = None
    try:
        stream_rows(lines, out, handle, refuse, **{"num_workers": 2, **options})
    except SourceError as raised:
        error = str(raised)
    return [json.loads(line) for line in out.getvalue().splitlines()], error


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "is not JSON"),
        ('{"id": 1', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("null", "is not a JSON object"),
        ('{"id": 7}', "has no string in its field 'text'"),
        ('{"id": 7, "text": 5}', "has no string in its field 'text'"),
        ("\0", "is not JSON"),
        ("\udcff", "is not JSON"),
    ],
)
def test_an_unusable_line_has_an_answer_of_its_own(line, reason):
    good = '{"id": 1, "text": "x"}'
    rows, error = answers(io.StringIO(f"{good}\n\n{line}\n{good}\n"))
    assert [rows[0], rows[2]] == [{"id": 1, "text": "x"}] * 2
    assert rows[1]["refused"] == error
    assert error.startswith(f"Line 3 of the input {reason}")
    assert rows[1]["id"] == (7 if "7" in line else None)


def test_half_characters_come_out_as_they_came_in():
    rows, error = answers(io.StringIO('{"id": "\\ud800", "text": "\\udcff\\u00e9"}\n'))
    assert (rows, error) == ([{"id": "\ud800", "text": "\udcffé"}], None)


def test_another_error_stops_the_stream_after_what_came_before():
    def handle(row):
        if row["id"] == 2:
            raise SandboxError("nothing runs here")
        return row

    out = io.StringIO()
    with pytest.raises(SandboxError, match="nothing runs"):
        stream_rows(
            io.StringIO("".join(f'{{"id": {n}}}\n' for n in range(1000))), out, handle, dict, num_workers=2
        )
    assert out.getvalue() == '{"id": 0}\n{"id": 1}\n'


def test_few_rows_are_held_at_a_time():
    taken, answered, most = 0, 0, 0

    def lines():
        nonlocal taken
        for number in range(2000):
            taken += 1
            yield f'{{"id": {number}}}\n'

    lock = threading.Lock()

    def handle(row):
        nonlocal answered, most
        with lock:
            answered += 1
            most = max(most, taken - answered)
        return row

    rows, _ = answers(lines(), handle, num_workers=4)
    assert [row["id"] for row in rows] == list(range(2000))
    assert most <= 2 * 4 * 4
