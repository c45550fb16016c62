"""The views, on one small campaign worked out by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.catalog import Catalog, EvaluationRow, ModelRow, ShardRow, TrajectoryRow
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def path(round_id, shard_id, problem_id, index, answer, *, correct):
    return TrajectoryRow(
        round_id, shard_id, problem_id, 0, index, (1,), ("s",), (0.5,), 0.5, 0.5, answer, correct, "s"
    )


def shard(round_id, shard_id, kind, *problem_ids):
    return ShardRow(round_id, shard_id, kind, 1, "running", len(problem_ids), problem_ids)


def write_campaign(catalog):
    """Round 1 solves g1 and, in an escalation, m1; m2 agrees on a wrong answer; o1 gives none at all."""
    tiers = {"g1": Tier.GSM, "m1": Tier.MATH, "m2": Tier.MATH, "o1": Tier.OLYMPIAD, "x1": Tier.OTHER}
    problem = Problem("h1", "q", "1", Tier.GSM, "held", "MIT", Split.HELDOUT)
    catalog.add_problems(
        [problem]
        + [
            replace(problem, problem_id=name, tier=tier, source=f"source-{name[0]}", split=Split.TRAIN)
            for name, tier in tiers.items()
        ]
    )
    first = shard(1, "search-0", "search", "g1", "m1", "m2", "o1")
    paths = [
        path(1, "search-0", "g1", 0, "1", correct=True),
        path(1, "search-0", "g1", 1, "2", correct=False),
        path(1, "search-0", "m1", 0, "3", correct=False),
        *(path(1, "search-0", "m2", i, "7", correct=False) for i in range(3)),
        path(1, "search-0", "m2", 3, "8", correct=False),
    ]
    catalog.commit_shard(first, trajectories=paths)
    extra = path(1, "search-0.1", "m1", 0, "1", correct=True)
    catalog.commit_shard(shard(1, "search-0.1", "escalation-1", "m1"), trajectories=[extra])
    held = path(1, "eval-0", "h1", 0, "1", correct=True)
    on_train = path(1, "eval-0", "o1", 0, "1", correct=True)
    catalog.commit_shard(shard(1, "eval-0", "evaluate:system2", "h1", "o1"), trajectories=[held, on_train])
    # Round 2 starts again: one shard is done, the other one has failed after an earlier commit.
    again = path(2, "search-0", "g1", 0, "2", correct=False)
    catalog.commit_shard(shard(2, "search-0", "search", "g1"), trajectories=[again])
    undone = shard(2, "search-1", "search", "x1")
    catalog.commit_shard(undone, trajectories=[path(2, "search-1", "x1", 0, "1", correct=True)])
    catalog.fail_shard(undone, "Lost.")

    verdicts = [True] * 6 + [False] * 3 + [None]
    for label in ("base", "r1"):
        rows = [
            EvaluationRow(1, label, None, f"h{i}", f"family-{i % 2}", "gsm", correct, "1", 1, 10, 0.5)
            for i, correct in enumerate(verdicts)
        ]
        catalog.replace_round(EvaluationRow, 1, rows, label=label)
    base = ModelRow("smollm", None, "base", None, "hub", None, {}, None, NOW)
    catalog.replace_round(ModelRow, None, [base], role="base")
    for role in ("policy", "ppm"):
        made = replace(base, model_id=f"{role}-r1", round_id=1, role=role, num_examples=4)
        catalog.replace_round(ModelRow, 1, [made], role=role)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, empty_catalog):
    root = empty_catalog(tmp_path_factory.mktemp("views"))
    with Catalog.open(root) as writer:
        write_campaign(writer)
    with Catalog.open(root, read_only=True) as reader:
        yield reader


def test_coverage_counts_training_problems_of_done_search_shards(catalog):
    assert catalog.coverage() == [
        {"round": 1, "tier": "gsm", "problems": 1, "solved": 1, "coverage": 1.0},
        {"round": 1, "tier": "math", "problems": 2, "solved": 1, "coverage": 0.5},
        {"round": 1, "tier": "olympiad", "problems": 1, "solved": 0, "coverage": 0.0},
        {"round": 1, "tier": "all", "problems": 4, "solved": 2, "coverage": 0.5},
        {"round": 2, "tier": "gsm", "problems": 1, "solved": 0, "coverage": 0.0},
        {"round": 2, "tier": "all", "problems": 1, "solved": 0, "coverage": 0.0},
    ]


def test_coverage_by_source_of_one_round(catalog):
    assert catalog.coverage(1, by="source") == [
        {"round": 1, "source": "source-g", "problems": 1, "solved": 1, "coverage": 1.0},
        {"round": 1, "source": "source-m", "problems": 2, "solved": 1, "coverage": 0.5},
        {"round": 1, "source": "source-o", "problems": 1, "solved": 0, "coverage": 0.0},
    ]
    with pytest.raises(CatalogError, match="by tier, source, rollouts, not by 'colour'"):
        catalog.coverage(by="colour")


def test_unsolved_problems_are_those_no_round_solved(catalog):
    query = "SELECT problem_id, num_rounds, last_round, num_trajectories FROM unsolved ORDER BY problem_id"
    assert catalog.sql(query)[1] == [("m2", 1, 1, 4), ("o1", 1, 1, 0)]


def test_a_suspect_is_an_unsolved_problem_whose_wrong_answers_agree(catalog):
    query = (
        "SELECT problem_id, reference, agreed_answer, agreement, num_agreeing, num_trajectories FROM suspects"
    )
    assert catalog.sql(query)[1] == [("m2", "1", "7", 0.75, 3, 4)]


def test_shard_status_counts_every_status(catalog):
    query = 'SELECT kind, shards, done, failed, problems FROM shard_status ORDER BY "round", kind'
    assert catalog.sql(query)[1] == [
        ("escalation-1", 1, 1, 0, 1),
        ("evaluate:system2", 1, 1, 0, 2),
        ("search", 1, 1, 0, 4),
        ("search", 2, 1, 1, 2),
    ]


def test_evaluation_summary_has_the_wilson_interval_and_keeps_undecided_apart(catalog):
    first, _ = catalog.evaluation_summary(1)
    assert (first["round"], first["label"], first["n"], first["correct"], first["undecided"]) == (
        1,
        "base",
        10,
        6,
        1,
    )
    # Wilson score interval of 6 of 10 at 95 %, from Newcombe (1998), method 3.
    assert first["pass_at_1"] == 0.6
    assert first["low"] == pytest.approx(0.3127, abs=1e-4)
    assert first["high"] == pytest.approx(0.8318, abs=1e-4)
    sources = catalog.sql(
        "SELECT source, n, correct FROM evaluation_by_source WHERE label = 'r1' ORDER BY source"
    )
    assert sources[1] == [("family-0", 5, 3), ("family-1", 5, 3)]


def test_model_history_shows_each_model_once_with_its_own_evaluation(catalog):
    query = 'SELECT "round", role, model_id, n, pass_at_1 FROM model_history'
    rows = catalog.sql(query)[1]
    assert rows[0] == (None, "base", "smollm", 10, 0.6)
    assert sorted(rows[1:]) == [(1, "policy", "policy-r1", 10, 0.6), (1, "ppm", "ppm-r1", None, None)]
