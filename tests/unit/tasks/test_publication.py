"""A PPM that ranks too badly is not published."""

from pathlib import Path

import pytest

from infra.training.job import TrainingResult
from rstar_core.errors import TrainingError
from rstar_core.training_config import PpmConfig
from tasks.train import _refuse_bad_ppm


def result(**metrics):
    return TrainingResult(
        model_dir=Path("models/ppm"), curve=(), metrics=metrics, seconds=1.0, tokens_per_second=1.0
    )


@pytest.mark.parametrize(
    ("settings", "metrics", "says"),
    [
        (
            {},
            {"score_spread": 0.0, "pair_accuracy": None},
            "has collapsed: it gives every step the same score",
        ),
        ({}, {"score_spread": None, "pair_accuracy": None}, "scores are no numbers; it lies in"),
        (
            {"min_pair_accuracy": 0.6},
            {"score_spread": 1.0, "pair_accuracy": 0.48},
            "but it ranks 48 %; it lies in",
        ),
        (
            {"min_pair_accuracy": 0.6},
            {"score_spread": 1.0, "pair_accuracy": None},
            "no pairs are held out to tell",
        ),
    ],
)
def test_it_is_refused_in_one_sentence_that_says_why(settings, metrics, says):
    with pytest.raises(TrainingError, match=says):
        _refuse_bad_ppm(PpmConfig(**settings), result(**metrics))


@pytest.mark.parametrize(
    ("settings", "metrics"),
    [
        ({}, {"score_spread": 0.5, "pair_accuracy": 0.3}),
        ({}, {}),  # trained by an older version
        ({"min_pair_accuracy": 0.6}, {"score_spread": 0.5, "pair_accuracy": 0.6}),
    ],
)
def test_it_is_published_if_it_ranks_well_enough_or_nobody_asked(settings, metrics):
    _refuse_bad_ppm(PpmConfig(**settings), result(**metrics))
