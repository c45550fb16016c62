"""Two rounds of self-evolution from the first question to the report, and once more with a real model."""

import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from infra.catalog.round_rows import (
    EvaluationRow,
    LineageRow,
    ModelRow,
    SftExampleRow,
    StageRow,
    StepPairRow,
    TrainingCurveRow,
)
from infra.catalog.rows import DropRow, NodeRow, ProblemRow, RoundRow, ShardRow, TrajectoryRow, TreeRow
from infra.configuration import load_config
from infra.models.layout import digest_of_model, missing_parts
from infra.models.resolve import default_cache_dir
from infra.report import summarise
from infra.tree_history import tree_history
from infra.workspace import Workspace
from rstar_core.errors import ConfigError
from tests.integration.conftest import UNHURRIED

TABLES = (
    *(ProblemRow, RoundRow, ShardRow, TreeRow, NodeRow, TrajectoryRow, DropRow, StepPairRow, SftExampleRow),
    *(ModelRow, TrainingCurveRow, EvaluationRow, LineageRow),
)
REAL_MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, write_config, undisturbed, served_cli):
    """A campaign of one round, to which a second one was added when it was over."""
    folder = tmp_path_factory.mktemp("two-rounds")
    if not (undisturbed / "runs" / "small" / "report.md").exists():  # no test before this one has run it
        served_cli.answer("run", undisturbed / "campaign.toml")
    shutil.copytree(undisturbed / "runs", folder / "runs")
    config = write_config(folder, rounds=2, rollouts=UNHURRIED)
    served_cli.answer("run", config)
    return load_config(config)


@pytest.fixture
def catalog(campaign):
    with Workspace.of(campaign).open_catalog(read_only=True) as opened:
        yield opened


def test_coverage_is_known_for_each_round_and_tier(catalog):
    rows = {(row["round"], row["tier"]): row for row in catalog.coverage()}
    assert set(rows) == {(number, tier) for number in (1, 2) for tier in ("gsm", "math", "all")}
    for (_, tier), row in rows.items():
        assert row["problems"] == (12 if tier == "all" else 6)
        assert row["coverage"] == row["solved"] / row["problems"]
    assert rows[1, "gsm"]["solved"] > 0
    assert rows[1, "math"]["solved"] < 6  # nobody prints 7


def test_the_policy_learns_from_at_most_two_correct_solutions_of_a_training_problem(catalog):
    examples = catalog.fetch(SftExampleRow)
    assert {row.round_id for row in examples} == {1, 2}
    assert max(Counter((row.round_id, row.problem_id) for row in examples).values()) <= 2
    right = {
        (row.round_id, row.problem_id, row.step_texts) for row in catalog.fetch(TrajectoryRow) if row.correct
    }
    assert {(row.round_id, row.problem_id, row.step_texts) for row in examples} <= right
    train = {row.problem_id for row in catalog.fetch(ProblemRow, "split = 'train'")}
    assert {row.problem_id for row in examples} <= train


def test_the_pairs_of_a_group_weigh_one(catalog):
    for round_id in (1, 2):
        weights = Counter()
        for row in catalog.fetch(StepPairRow, "round_id = ?", (round_id,)):
            weights[row.group_id] += row.weight
            assert row.positive != row.negative
        assert weights
        assert list(weights.values()) == pytest.approx([1.0] * len(weights))


def test_only_the_round_with_a_ppm_before_it_has_step_scores(catalog):
    _, records = catalog.sql("SELECT round_id, count(prior) FROM nodes GROUP BY round_id")
    scored = dict(records)
    assert scored[1] == 0
    assert scored[2] > 0


def test_every_model_is_registered_and_loads(catalog):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    models = {row.model_id: row for row in catalog.fetch(ModelRow)}
    trained = {f"round-{number}/{role}" for number in (1, 2) for role in ("policy", "ppm")}
    assert set(models) == {"base"} | trained
    for number in (1, 2):
        policy, ppm = models[f"round-{number}/policy"], models[f"round-{number}/ppm"]
        assert policy.base_model == "base"
        assert ppm.base_model == policy.model_id
        assert AutoModelForCausalLM.from_pretrained(policy.location).num_parameters() > 0
        assert AutoModelForSequenceClassification.from_pretrained(ppm.location).config.num_labels == 1
    for model_id in trained:
        assert models[model_id].digest == digest_of_model(Path(models[model_id].location))
        assert models[model_id].num_examples > 0
    curves = Counter((row.round_id, row.role) for row in catalog.fetch(TrainingCurveRow))
    assert set(curves) == {(number, role) for number in (1, 2) for role in ("policy", "ppm")}


def test_every_policy_and_system_2_are_evaluated_on_the_same_problems(catalog):
    rows = catalog.fetch(EvaluationRow)
    problems = {row.problem_id for row in catalog.fetch(ProblemRow, "split = 'heldout'")}
    assert len(problems) == 8
    asked = defaultdict(list)
    for row in rows:
        asked[row.round_id, row.label].append(row.problem_id)
    # System 2 is evaluated after the last round, and each of the two was the last one once.
    assert set(asked) == {(0, "base"), (1, "r1"), (1, "system2"), (2, "r2"), (2, "system2")}
    assert all(sorted(ids) == sorted(problems) for ids in asked.values())


def test_the_summary_has_the_keys_that_other_programs_read(catalog):
    summary = summarise(catalog).as_json()
    assert {"heldout", "coverage", "stages", "tokens_per_second", "busy_share"} <= set(summary)
    for figures in summary["heldout"].values():
        assert set(figures) == {"correct", "n", "pass_at_1", "low", "high"}
        assert figures["low"] <= figures["pass_at_1"] <= figures["high"]
    stages = {"search", "select", "pairs", "sft", "ppm"}
    assert {f"round-{number}/{stage}" for number in (1, 2) for stage in stages} <= set(summary["stages"])
    assert {"round-0/evaluate base", "round-2/evaluate system2"} <= set(summary["stages"])
    assert summary["tokens_per_second"] > 0
    assert {row["tier"] for row in summary["coverage"]} == {"gsm", "math", "all"}


def test_a_finished_campaign_has_nothing_to_do(campaign):
    from flows.campaign import campaign_flow

    report = Workspace.of(campaign).report
    written = report.read_text()
    assert written.startswith("# Campaign small, seed 3")
    before = everything(campaign)
    assert campaign_flow(campaign) == report
    after = everything(campaign)
    for table in before:
        assert after[table] == before[table], f"{table} changed"
    assert report.read_text() == written


def test_a_round_with_other_settings_is_refused_and_changes_nothing(campaign):
    from flows.round import round_flow

    settings = campaign.rounds[0].model_copy(update={"escalation": ()})
    other = campaign.model_copy(update={"rounds": (settings, *campaign.rounds[1:])})
    before = everything(campaign)
    with pytest.raises(ConfigError, match=r"another rounds\.0\.escalation"):
        round_flow(other, 1)
    assert everything(campaign) == before


def test_a_search_that_is_killed_after_its_last_shard_keeps_its_figures(tmp_path, write_config):
    from flows.stages import recorded_stage

    config = load_config(write_config(tmp_path))
    figures = {"generated_tokens": 100, "wall_seconds": 2.0, "busy_seconds": 1.0}

    def search(*, killed):
        with recorded_stage(config, 1, "search", measure=lambda: figures) as record:
            record.save_now_and_then()  # as after a shard
            record.save_now_and_then()  # at most every half minute
            if killed:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(killed=True)
    with Workspace.of(config).open_catalog() as catalog:
        assert [row.detail for row in catalog.fetch(StageRow)] == [figures]
    search(killed=False)
    with Workspace.of(config).open_catalog() as catalog:
        (row,) = catalog.fetch(StageRow)
        assert row.detail == {name: 2 * value for name, value in figures.items()}
        assert summarise(catalog).tokens_per_second == pytest.approx(50.0)


def test_every_tree_grows_again_from_its_replay_log(campaign):
    assert_logs_grow_the_trees(Workspace.of(campaign))


@pytest.mark.real
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    bool(missing_parts(default_cache_dir() / REAL_MODEL)),
    reason=f"the embedded model is absent ({REAL_MODEL} is not in {default_cache_dir()}; rstar models pull)",
)
def test_one_round_of_the_embedded_model_through_the_command_line(tmp_path, served_process):
    config = tmp_path / "real.toml"
    config.write_text(f"""
name = "real"
root = "{tmp_path / "runs"}"
[[sources]]
kind = "builtin"
num_problems = 2
families = ["basic_arithmetic"]
[[sources]]
kind = "builtin"
split = "heldout"
num_problems = 1
families = ["basic_arithmetic"]
[policy]
model = "{REAL_MODEL}"
[[rounds]]
prompt = "bootstrap"
escalation = []
[rounds.search]
num_candidates = 2
num_rollouts = 1
answer_step = "output"
max_depth = 4
max_step_tokens = 32
[rounds.sft]
num_epochs = 1
learning_rate = 2e-4
batch_size = 2
max_length = 256
""")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    done = served_process("run", config, "--summary", tmp_path / "summary.json", timeout=1100)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary.json").is_file()
    assert (tmp_path / "runs" / "real" / "report.md").is_file()
    assert_logs_grow_the_trees(Workspace(tmp_path / "runs" / "real"))


def assert_logs_grow_the_trees(workspace):
    """The replay logs alone, without any model, give the trees that the catalog holds."""
    with workspace.open_catalog(read_only=True) as catalog:
        problems = {problem.problem_id: problem for problem in catalog.problems()}
        rows = catalog.fetch(TreeRow)
        assert rows
        for row in rows:
            place = {"round_id": row.round_id, "tree_index": row.tree_index}
            grown = tree_history(catalog, workspace, problems[row.problem_id], **place)
            assert grown.note == "", "the tree did not come from its log"
            nodes = catalog.nodes(row.round_id, [row.problem_id])
            stored = [facts for facts in map(facts_of_row, nodes) if facts[0] == row.tree_index]
            assert [facts_of_node(row.tree_index, node) for node in grown.tree.nodes] == stored
            assert (grown.num_tokens, grown.num_rollouts) == (row.num_tokens, row.num_rollouts)


def facts_of_row(row):
    kind_and_text = (row.kind, row.text) if row.kind else None
    place = (row.tree_index, row.node_id, row.parent_id, row.depth)
    return (*place, kind_and_text, row.visits, row.q_sum, row.q, row.correct)


def facts_of_node(tree_index, node):
    kind_and_text = (node.step.kind, node.step.text) if node.step else None
    place = (tree_index, node.index, node.parent, node.depth)
    return (*place, kind_and_text, node.visits, node.q_sum, node.q, node.correct)


def everything(config):
    """All rows of all tables as sorted text: what must not change when nothing is to be done."""
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        return {table.TABLE: sorted(map(repr, catalog.fetch(table))) for table in TABLES}
