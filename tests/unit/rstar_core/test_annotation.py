import pytest

from rstar_core.annotation import initial_q, terminal_value
from rstar_core.tree import Terminal


def test_a_step_starts_at_its_ppm_score_or_at_zero():
    assert initial_q(None) == 0.0
    assert initial_q(-0.25) == -0.25


@pytest.mark.parametrize(
    ("correct", "score", "value"),
    [(True, None, 1.0), (False, None, -1.0), (True, -0.9, 1.0), (False, 0.9, -1.0), (None, 0.3, 0.3)],
)
def test_an_answer_is_worth_its_verdict_and_the_score_only_without_a_reference(correct, score, value):
    assert terminal_value(Terminal.ANSWER, correct=correct, score=score) == value


def test_an_answer_that_nobody_can_judge_is_worth_nothing():
    assert terminal_value(Terminal.ANSWER, correct=None, score=None) == 0.0


@pytest.mark.parametrize("terminal", [Terminal.DEAD_END, Terminal.DEPTH_LIMIT])
def test_a_rollout_without_an_answer_always_loses(terminal):
    assert terminal_value(terminal, correct=None, score=0.9) == -1.0
