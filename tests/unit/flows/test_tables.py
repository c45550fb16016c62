"""Tables of the command line in a terminal of 80 columns."""

import pytest

from flows.tables import print_table

SHARDS = (
    *("round", "kind", "shards", "pending", "running", "done", "failed", "problems", "seconds"),
    "num_tokens",
)
EVALUATIONS = (
    *("round", "label", "n", "correct", "undecided", "num_tokens", "seconds", "pass_at_1", "low", "high"),
)


@pytest.fixture
def printed(monkeypatch, capsys):
    """A function that gives the lines of a table."""
    monkeypatch.setenv("COLUMNS", "80")

    def printed(names, rows):
        print_table(names, rows)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        return lines

    return printed


def test_the_shards_stand_in_80_columns_with_every_name_and_number_whole(printed):
    head, _, *rest = printed(SHARDS, [[2, "evaluate:system2", 80, 0, 3, 77, 0, 640, 12345.678, 12000000]])
    assert head.split() == list(SHARDS)
    assert rest[0].split()[2:] == ["80", "0", "3", "77", "0", "640", "12346", "12000000"]
    assert "".join(line[6:17].strip() for line in rest) == "evaluate:system2"


def test_the_evaluations_stand_in_80_columns_with_shares_in_percent(printed):
    head, _, row = printed(EVALUATIONS, [[2, "system2", 64, 20, 0, 12000, 345.678, 0.3125, 0.2, 0.43]])
    assert head.split() == list(EVALUATIONS)
    assert row.split() == [
        "2",
        "system2",
        "64",
        "20",
        "0",
        "12000",
        "345.7",
        "31.2",
        "%",
        "20.0",
        "%",
        "43.0",
        "%",
    ]


def test_numbers_stand_right_and_text_left(printed):
    assert [line.rstrip() for line in printed(["n", "name", "x"], [[5, "a", None], [10, "bc", 0.5]])] == [
        " n  name    x",
        "──  ────  ───",
        " 5  a",
        "10  bc    0.5",
    ]


def test_only_the_widest_text_is_wrapped(printed):
    lines = printed(["id", "question", "source"], [["p1", "[red] how many " * 12, "builtin/gcd"]])
    assert lines[0].split() == ["id", "question", "source"]
    assert len(lines) > 4
    assert "[red]" in lines[2]
    assert lines[2].startswith("p1 ")
    assert lines[2].endswith("builtin/gcd")


def test_a_table_that_is_too_wide_all_the_same_becomes_a_block_for_each_row(printed):
    names = [f"column_{i}" for i in range(12)]
    lines = printed(names, [range(12), ["word " * 30] * 12])
    assert [line.split() for line in lines[:12]] == [[name, str(i)] for i, name in enumerate(names)]
    assert lines[12].strip() == ""
    assert lines[13].startswith("column_0   word word")


def test_no_rows_show_the_names(printed):
    assert printed(["n", "name"], [])[0].split() == ["n", "name"]
