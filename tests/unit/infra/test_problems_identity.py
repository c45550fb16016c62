"""When two problems are the same problem."""

import pytest

from infra.problems.identity import normalise_question, problem_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is  $2+2$?", "what is 2 + 2"),
        (r"Find $\dfrac{1}{2}x$.", r"Find \[\frac12x.\]"),
        ("Find the LCM of 2,5", "Find the LCM of 2, 5."),
        (r"Let $x^{2}\ne 3$.", r"Let $x^2 \neq 3$"),
        ("5 − 3", "5 - 3"),
    ],
)
def test_copies_of_one_question_are_one_question(one, other):
    assert normalise_question(one) == normalise_question(other)


def test_where_one_number_ends_and_the_next_begins_is_part_of_the_question():
    questions = [
        "LCM of 1, 234",
        "LCM of 12, 34",
        "LCM of 1.234",
        "LCM of 1:234",
        "LCM of 1234",
        "LCM of -1234",
    ]
    assert len({normalise_question(question) for question in questions}) == len(questions)


def test_an_id_is_sixteen_hex_digits_of_question_and_answer():
    content_id = problem_id("What is 2 + 2?", "4")
    assert content_id == problem_id("what is 2+2", " 4 ") == "6a4248fb22114f52"
    assert content_id != problem_id("What is 2 + 2?", "5")
