import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import EvaluationRow, StageRow
from infra.report import markdown, summarise

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
COST_QUERY = re.search(r'rstar sql "(.*cost.*)" -c', OPERATIONS)[1]
"""As the page for the night says how to ask."""


def evaluation(label, problem, correct, source="builtin/gcd"):
    return EvaluationRow(
        round_id=0 if label == "base" else 2,
        label=label,
        shard_id=None,
        problem_id=problem,
        source=source,
        tier="math",
        correct=correct,
        answer="1",
        num_trajectories=1,
        num_tokens=10,
        seconds=1.0,
    )


@pytest.fixture(scope="module")
def summary(tmp_path_factory, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path_factory.mktemp("campaign"))) as catalog:
        base = [evaluation("base", f"p{i}", correct=i < 1) for i in range(4)]
        last = [evaluation("r2", f"p{i}", correct=i < 3) for i in range(4)]
        catalog.replace_round(EvaluationRow, 0, base)
        bound = [evaluation("system2-pass@2", f"p{i}", correct=True) for i in range(4)]
        catalog.replace_round(EvaluationRow, 2, last + bound)
        detail = {"wall_seconds": 10.0, "busy_seconds": 9.0, "generated_tokens": 2000}
        catalog.replace_round(StageRow, 1, [StageRow(1, "search", 11.0, detail, datetime.now(UTC))])
        return summarise(catalog)


def test_the_rise_is_measured_on_the_same_problems(summary):
    assert summary.rise is not None
    assert summary.rise["difference"] == pytest.approx(0.5)
    assert summary.rise["low"] < 0.5 < summary.rise["high"]


def test_speed_and_busy_share_come_from_the_search_stages(summary):
    assert summary.tokens_per_second == pytest.approx(200.0)
    assert summary.busy_share == pytest.approx(0.9)


def test_the_summary_has_the_fields_of_the_contract(summary):
    assert summary.as_json().keys() >= {"heldout", "coverage", "stages", "tokens_per_second", "busy_share"}
    assert summary.heldout["base"].keys() == {"correct", "n", "pass_at_1", "low", "high"}
    assert list(summary.heldout) == ["base", "r2", "system2-pass@2"]


def test_the_report_shows_every_label_and_family(summary):
    text = markdown(summary, name="demo", seed=1)
    assert "| r2 | 3 | 4 | 75.0 % |" in text
    assert "| system2-pass@2 | 4 | 4 | 100.0 % |" in text
    assert "| builtin/gcd | 1/4 | 3/4 |\n" in text
    assert "+50.0 points" in text


def test_money_is_shown_where_some_was_spent(summary, tmp_path, empty_catalog):
    assert "| stage | seconds |\n| --- | ---: |\n| round-1/search | 11.0 |\n" in markdown(
        summary, name="x", seed=1
    )
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        rows = [("search", {"cost": 2.5}), ("evaluate r1", {"cost": 1.0}), ("sft", {})]
        now = datetime.now(UTC)
        catalog.replace_round(StageRow, 1, [StageRow(1, stage, 7.0, detail, now) for stage, detail in rows])
        paid = summarise(catalog)
        _, asked = catalog.sql(COST_QUERY)
    assert paid.costs == {"round-1/search": 2.5, "round-1/evaluate r1": 1.0}
    text = markdown(paid, name="x", seed=1)
    assert "| round-1/search | 7.0 | 2.50 |\n" in text
    assert "| round-1/sft | 7.0 |  |\n" in text
    assert "All stages together have cost 3.50." in text
    assert asked == [(1, "search", 2.5), (1, "evaluate r1", 1.0)]


def test_an_empty_catalog_has_an_empty_summary(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path), read_only=True) as catalog:
        summary = summarise(catalog)
    assert summary.rise is None
    assert summary.tokens_per_second is None
    assert markdown(summary, name="demo", seed=1).startswith("# Campaign demo")
