"""Versions, differences, decisions and lineage, on a campaign of two rounds."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.history import difference, lineage
from infra.catalog.history_rows import DecisionRow, VersionRow
from infra.catalog.round_rows import LineageRow, ModelRow
from infra.catalog.rows import RoundRow, ShardRow, TrajectoryRow, TreeRow
from infra.catalog.schema import SCHEMA_VERSION
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("p1", "p2", "p3", "p4")


def search(catalog, round_id, solved, *, tokens=100):
    """One shard over all problems; those in `solved` are right, the others wrong twice in the same way."""
    name = f"search-{round_id}"
    shard = ShardRow(round_id, name, "search", 1, "running", len(NAMES), NAMES)
    trees = [
        TreeRow(round_id, name, each, 0, 1, 4, 9, int(each in solved), 2, each in solved, tokens, 8, 0, 2.0)
        for each in NAMES
    ]
    paths = [
        TrajectoryRow(
            round_id, name, each, 0, index, (1,), ("s",), (0.5,), 0.5, 0.5, "1", each in solved, f"s{index}"
        )
        for each in NAMES
        for index in range(2)
    ]
    catalog.commit_shard(shard, trees=trees, trajectories=paths)


def problems():
    first = Problem("p1", "q", "5", Tier.GSM, "here", "MIT", Split.TRAIN)
    return [replace(first, problem_id=each, tier=Tier.MATH if each == "p4" else Tier.GSM) for each in NAMES]


@pytest.fixture
def catalog(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path / "c")) as catalog:
        catalog.add_problems(problems())
        yield catalog


def test_a_tag_names_the_catalog_as_it_was(catalog):
    search(catalog, 1, {"p1"})
    first = catalog.tag("round-1/search", "4 trees")
    search(catalog, 2, {"p1", "p2"})
    assert catalog.snapshot_of("round-1/search") == catalog.snapshot_of(str(first)) == first
    with Catalog.open(catalog.location.root, at=first) as then:
        assert [row["round"] for row in then.coverage() if row["tier"] == "all"] == [1]
        with pytest.raises(CatalogError, match="reading only"):
            then.tag("x", "")
    assert [row["round"] for row in catalog.coverage() if row["tier"] == "all"] == [1, 2]


def test_a_tag_that_exists_moves(catalog):
    first, second = catalog.tag("round-1/sft", "a"), catalog.tag("round-1/sft", "b")
    assert second > first
    assert [(row.tag, row.version, row.message) for row in catalog.fetch(VersionRow)] == [
        ("round-1/sft", second, "b")
    ]


def test_a_version_that_is_not_there_is_named_with_the_nearest(catalog):
    catalog.tag("round-1/sft", "")
    with pytest.raises(CatalogError, match=r"'round-1/stf' here; the nearest are round-1/sft\."):
        catalog.snapshot_of("round-1/stf")
    with pytest.raises(CatalogError, match="no version 999999"):
        catalog.snapshot_of("999999")
    with pytest.raises(CatalogError, match="No version is called"):
        catalog.snapshot_of("9" * 40)


def test_a_difference_counts_rows_and_names_problems(catalog):
    search(catalog, 1, {"p1", "p2"})
    catalog.tag("one", "")
    before = catalog.newest_snapshot()
    search(catalog, 1, {"p2", "p3"})  # the same shard again: p1 is lost, p3 is new
    found = difference(catalog, "one", str(catalog.newest_snapshot()))
    assert found.newly_solved == ("p3",)
    assert found.newly_lost == ("p1",)
    assert found.tables["trajectories"] == (4, 4)  # those of p2 and p4 were written again alike
    assert found.tables["trees"] == (2, 2)
    assert difference(catalog, "one", "one").tables == {}
    with pytest.raises(CatalogError, match="older one first"):
        difference(catalog, str(before + 1), "one")
    everything = difference(catalog, "0", str(catalog.newest_snapshot()))
    assert everything.tables["problems"] == (4, 0)
    assert everything.newly_solved == ("p2", "p3")


def test_what_rounds_gained_lost_and_cost(catalog):
    search(catalog, 1, {"p1"})
    search(catalog, 2, {"p2", "p4"}, tokens=50)
    _, changes = catalog.sql('SELECT * FROM coverage_changes ORDER BY "round", tier')
    assert changes == [
        (1, "all", 1, 0, 1),
        (1, "gsm", 1, 0, 1),
        (1, "math", 0, 0, 0),
        (2, "all", 2, 1, 3),
        (2, "gsm", 1, 1, 2),
        (2, "math", 1, 0, 1),
    ]
    _, costs = catalog.sql("SELECT * FROM costs WHERE tier = 'all' ORDER BY \"round\"")
    assert costs == [(1, "all", 4, 16, 400, 8.0, 1, 400.0, 8.0), (2, "all", 4, 16, 200, 8.0, 2, 100.0, 4.0)]


def test_a_decision_is_honoured_by_the_next_round_that_is_planned(catalog):
    search(catalog, 1, {"p1"})
    assert catalog.decide("p2", "drop") == 2
    assert catalog.decide("p3", "fix", answer="7", reason="typo") == 2
    catalog.decide("p4", "fix", answer="8")
    catalog.decide("p4", "keep")
    assert {each.problem_id: each.answer for each in catalog.problems(round_id=1)} == dict.fromkeys(
        NAMES, "5"
    )
    then = {each.problem_id: each.answer for each in catalog.problems(Split.TRAIN, round_id=2)}
    assert then == {"p1": "5", "p3": "7", "p4": "5"}
    assert {each.answer for each in catalog.problems()} == {"5"}
    assert len(catalog.fetch(DecisionRow)) == 4
    assert len(catalog.fetch(LineageRow, "child = 'round-2/problems' AND relation = 'decided'")) == 4
    _, suspects = catalog.sql(
        "SELECT problem_id, agreed_answer, num_agreeing, num_trees, mean_q, decision FROM suspects"
    )
    assert sorted(suspects, key=str) == [
        ("p2", "1", 2, 1, 0.5, "drop"),
        ("p3", "1", 2, 1, 0.5, "fix"),
        ("p4", "1", 2, 1, 0.5, "keep"),
    ]


@pytest.mark.parametrize(("decision", "answer"), [("fix", None), ("fix", " "), ("drop", "3"), ("burn", None)])
def test_a_decision_that_makes_no_sense_is_refused(catalog, decision, answer):
    with pytest.raises(CatalogError):
        catalog.decide("p1", decision, answer=answer)
    assert not catalog.fetch(DecisionRow)


def test_held_out_problems_stay_as_they_are(catalog):
    catalog.add_problems([replace(problems()[0], problem_id="h1", split=Split.HELDOUT)])
    for name in ("h1", "unknown"):
        with pytest.raises(CatalogError, match=f"{name} is no training problem"):
            catalog.decide(name, "drop")
    assert not catalog.fetch(DecisionRow)


def test_the_lineage_of_a_model_goes_both_ways(catalog):
    search(catalog, 1, {"p1"})
    catalog.replace_round(RoundRow, 1, [RoundRow(1, "c", {}, "abc", 7, "base", None, "done", NOW, NOW)])
    policy = ModelRow(
        "round-1/policy", 1, "policy", "base", "/m", "d", {}, 4, NOW, 12, "digest", 99, "0.1.0+abc"
    )
    catalog.replace_round(ModelRow, 1, [policy])
    catalog.replace_round(
        RoundRow, 2, [RoundRow(2, "c", {}, "abc", 7, policy.model_id, None, "done", NOW, NOW)]
    )
    rows = [LineageRow(policy.model_id, "round-1/sft_examples at version 12", "trained_on", 1)]
    catalog.replace_round(LineageRow, 1, rows)
    catalog.replace_round(LineageRow, 2, [LineageRow("round-2/ppm", policy.model_id, "started_from", 2)])
    facts = lineage(catalog, policy.model_id)
    assert facts["made_with"] == {
        "policy": "base",
        "ppm": None,
        "config_hash": "abc",
        "campaign_seed": 7,
        "shards": ["search-1"],
    }
    assert (facts["dataset_version"], facts["dataset_digest"], facts["seed"]) == (12, "digest", 99)
    assert facts["lineage"] == [{"relation": "trained_on", "parent": "round-1/sft_examples at version 12"}]
    assert facts["searched"] == [2]
    assert facts["children"] == [{"relation": "started_from", "child": "round-2/ppm"}]
    with pytest.raises(CatalogError, match="there are round-1/policy"):
        lineage(catalog, "round-9/policy")


def test_an_old_catalog_is_upgraded_by_a_writer_and_named_by_a_reader(catalog):
    search(catalog, 1, {"p1"})
    model = ModelRow("base", None, "base", None, "hub", None, {}, None, NOW)
    catalog.replace_round(ModelRow, None, [model])
    # What the first schema lacked.
    for statement in (
        "DROP VIEW suspects",
        "DROP VIEW costs",
        "DROP VIEW coverage_changes",
        "DROP TABLE decisions",
        "DROP TABLE versions",
        "ALTER TABLE models DROP COLUMN dataset_version",
        "ALTER TABLE models DROP COLUMN seed",
        "UPDATE meta_schema SET version = 1",
    ):
        catalog.connection.execute(statement)
    root = catalog.location.root
    catalog.close()
    with pytest.raises(CatalogError, match="rstar catalog upgrade"):
        Catalog.open(root, read_only=True)
    for _ in range(2):  # the second time nothing is left to do
        with Catalog.open(root) as upgraded:
            assert upgraded.fetch(ModelRow) == [model]
            assert upgraded.sql("SELECT version FROM meta_schema")[1] == [(SCHEMA_VERSION,)]
            assert upgraded.sql("SELECT newly_solved FROM costs WHERE tier = 'all'")[1] == [(1,)]
            assert upgraded.fetch(DecisionRow) == []
            snapshot = upgraded.newest_snapshot()
    assert snapshot == Catalog.open(root, read_only=True).newest_snapshot()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT solvd FROM coverage", 'Referenced column "solvd" not found .*candidate bindings: "solved"'),
        ("FROM coverag", 'coverag does not exist .did you mean "coverage"'),
        ("FROM coverage AT (VERSION => 99999)", "No snapshot found at version 99999"),
        ("SELEC 1", "cannot be understood"),
    ],
)
def test_a_query_that_is_wrong_is_answered_with_the_nearest_name(catalog, query, words):
    with pytest.raises(CatalogError, match=words):
        catalog.sql(query)
