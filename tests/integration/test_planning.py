"""A campaign is planned, run and planned again; dry runs leave everything as it was."""

import hashlib
import json
import math

import pytest

from infra.catalog.catalog import Catalog
from infra.configuration import load_config
from infra.plan import Given, make_plan
from infra.problems.counting import count_problems
from infra.problems.ingest import collect
from infra.workspace import Workspace
from rstar_core.config import BuiltinSource
from rstar_core.errors import ConfigError
from rstar_core.types import Split


def fingerprint(folder):
    """Every file of a folder by name and content.

    Without SQLite's two files for readers: it leaves them beside a catalog that was only read, and what is
    written stands in neither when nobody writes.
    """
    files = {path for path in folder.rglob("*") if path.is_file()}
    idle = {path for path in files if path.name.endswith("-wal") and not path.stat().st_size}
    kept = {path for path in files - idle if not path.name.endswith("-shm")}
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept)}


def stages_of(plan):
    return {(each.round_id, each.name): each for each in plan.stages}


@pytest.fixture(scope="module")
def told(tmp_path_factory, write_config, served_cli):
    """Folder and configuration of a campaign of two rounds, its plan before, and its plan after one round."""
    folder = tmp_path_factory.mktemp("planned")
    first, both = write_config(folder / "a"), write_config(folder / "b", rounds=2)
    both.write_text(both.read_text().replace(str(folder / "b"), str(folder / "a")))
    before = make_plan(load_config(first))
    assert not (folder / "a" / "runs").exists()  # planning makes nothing
    served_cli.answer("run", first)
    return {"folder": folder / "a", "first": first, "both": both, "before": before}


def test_what_was_expected_is_what_ran(told):
    before, after = told["before"], make_plan(load_config(told["first"]))
    for key, stage in stages_of(after).items():
        expected = stages_of(before)[key].left
        assert stage.left.shards == stage.left.examples == 0
        if key != (1, "escalation-1"):  # how many problems are hard nobody knows before
            assert (stage.done.shards, stage.done.problems) == (expected.shards, expected.problems)
            assert (stage.done.trees, stage.done.rollouts) == (expected.trees, expected.rollouts)
    with Workspace.of(load_config(told["first"])).open_catalog(read_only=True) as catalog:
        (trees, rollouts, tokens, candidates) = catalog.sql(
            "SELECT count(*), sum(num_rollouts), sum(num_tokens), sum(num_candidates) FROM trees"
        )[1][0]
        shards = catalog.sql("SELECT count(*) FROM shards")[1][0][0]
    searches = [each.done for each in after.stages if each.is_search]
    assert sum(each.trees for each in searches) == trees
    assert sum(each.rollouts for each in searches) == rollouts
    assert sum(each.tokens for each in searches) == tokens
    assert sum(each.candidates for each in searches) == candidates
    assert sum(each.done.shards for each in after.stages) == shards


def test_the_second_round_is_planned_with_what_the_first_one_showed(told):
    plan = make_plan(load_config(told["both"]))
    rates = plan.of.rates
    for name in ("tokens_per_rollout_and_candidate", "share_to_escalation_1", "sft_tokens_per_second"):
        assert rates[1][name].source == rates[2][name].source == "measured in round 1"
        assert rates[1][name].value == rates[2][name].value > 0
    assert rates[0]["greedy_tokens_per_problem"].source == "measured in round 0"
    stages = stages_of(plan)
    first, second = stages[1, "search"], stages[2, "search"]
    assert (first.left.shards, second.done.shards) == (0, 0)
    assert second.left.shards == first.done.shards
    # The same search on the same problems at the rates of round 1 takes what round 1 took.
    done = [stages[1, name].done for name in ("search", "escalation-1")]
    left = [stages[2, name].left for name in ("search", "escalation-1")]
    assert sum(each.problems for each in left) == sum(each.problems for each in done)
    assert sum(each.tokens for each in left) == pytest.approx(sum(each.tokens for each in done), abs=2)
    assert sum(each.seconds for each in left) == pytest.approx(sum(each.seconds for each in done), rel=1e-3)
    assert stages[2, "sft"].left.examples == stages[1, "sft"].done.examples


def test_another_campaign_lends_its_rates(told, tmp_path, write_config, cli):
    config = write_config(tmp_path, rounds=1)
    campaign = told["folder"] / "runs" / "small"
    plan = json.loads(cli.answer("plan", config, "--json", "-c", campaign))
    sources = {row["rate"]: row["from"] for row in plan["rates"] if row["round"] == 1}
    assert sources["tokens_per_rollout_and_candidate"] == f"measured in round 1 of {campaign}"
    assert sources["system2_tokens_per_second"] == f"measured in round 1 of {campaign}"
    assert not (tmp_path / "runs").exists()
    given = json.loads(cli.answer("plan", config, "--json", "--tokens-per-second", 50, "--gpus", 2))
    speeds = [row for row in given["rates"] if row["rate"] == "search_tokens_per_second"]
    assert {(row["value"], row["from"]) for row in speeds} == {(50.0, "given")}
    (search,) = [row for row in given["stages"] if row["stage"] == "search"]
    assert search["left"]["hours"] == pytest.approx(search["left"]["tokens"] / 50 / 3600)
    assert search["left"]["gpu_hours"] == pytest.approx(2 * search["left"]["hours"])


def test_done_and_left_are_all_of_it_in_the_middle_of_a_round(told):
    config = load_config(told["first"])
    plan = make_plan(config)
    whole = stages_of(plan)[1, "search"].done
    with Workspace.of(config).open_catalog() as catalog:
        (first, *_) = catalog.done_shards(1, kind="search")
        catalog.fail_shard(first, "on purpose")
        try:
            stage = stages_of(make_plan(config))[1, "search"]
            assert (stage.left.shards, stage.left.problems) == (1, first.num_problems)
            assert stage.all.shards == whole.shards
            assert stage.all.problems == whole.problems
            assert (stage.all.trees, stage.all.rollouts) == (whole.trees, whole.rollouts)
            assert stage.done.tokens < whole.tokens
        finally:
            catalog.connection.execute(
                "UPDATE shards SET status = 'done', error = NULL WHERE shard_id = ?", (first.shard_id,)
            )


def test_a_plan_as_a_person_reads_it(told, cli):
    text = cli.answer("plan", told["both"])
    assert "12 problems to train on and 8 held out, in the catalog." in text
    assert "measured in round 1" in text
    assert "10×8 H100, 14 days" in text
    assert "a / b: a is done, b is left." in text


def test_a_plan_of_other_settings_is_refused_as_a_run_would_be(told):
    config = load_config(told["first"]).model_copy(update={"seed": 4})
    with pytest.raises(ConfigError, match="was started with another seed"):
        make_plan(config)


DRY_RUNS = [["run"], ["ingest"], ["evaluate", "r1"], ["evaluate", "system2"], ["plan"]]


@pytest.mark.parametrize("command", DRY_RUNS, ids=" ".join)
def test_a_dry_run_leaves_every_byte_as_it_was(told, cli, command):
    name, *more = command
    dry = [] if name == "plan" else ["--dry-run"]
    campaign = told["folder"] / "runs" / "small"
    before = fingerprint(campaign)
    assert len(before) > 10
    text = cli.answer(name, told["both"], *more, *dry)
    assert fingerprint(campaign) == before
    if name == "run":
        assert "round 2, search: 3 shards of 12 problems, 12 trees (3 new)" in text
        assert "train round-2/policy on about" in text
        assert "0 new, 0 rows dropped" in text
        assert "round 1" not in text


@pytest.mark.parametrize("command", [*DRY_RUNS, ["retry", "--round", "1"]], ids=" ".join)
def test_a_dry_run_makes_no_catalog(cli, write_config, tmp_path, command):
    name, *more = command
    config = write_config(tmp_path)
    before = fingerprint(tmp_path)
    done = cli(name, config, *more, *([] if name == "plan" else ["--dry-run"]))
    assert done.returncode == (1 if name == "retry" else 0), done.stderr
    assert fingerprint(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_a_catalog_elsewhere_does_not_settle_where_it_is(cli, write_config, tmp_path):
    config = write_config(tmp_path)
    text = config.read_text().replace("[policy]", f'[catalog]\ndata = "{tmp_path / "elsewhere"}"\n[policy]')
    config.write_text(text)
    assert "20 new" in cli.answer("run", config, "--dry-run")
    assert {path.name for path in tmp_path.iterdir()} == {"campaign.toml"}


def test_maintenance_and_retry_are_said_and_not_done(told, cli):
    campaign = told["folder"] / "runs" / "small"
    with Catalog.open(campaign, read_only=True) as catalog:
        newest = catalog.newest_snapshot()
    before = fingerprint(campaign)
    text = cli.answer("catalog", "maintain", "--dry-run", "--keep-days", 0, "-c", campaign)
    assert "- forget " in text
    assert "- delete " in text
    assert "nothing: all of it is done" in cli.answer("retry", told["first"], "--round", 1, "--dry-run")
    assert fingerprint(campaign) == before
    with Catalog.open(campaign, read_only=True) as catalog:
        assert catalog.newest_snapshot() == newest


def test_each_flow_says_what_it_would_do_and_publishes_it(told, prefect_server):
    from prefect.client.orchestration import get_client

    from flows.campaign import campaign_flow
    from flows.evaluate import evaluate_flow
    from flows.ingest import ingest_flow
    from flows.maintenance import maintain_flow
    from flows.retry import retry_flow
    from flows.round import round_flow

    assert prefect_server
    config = load_config(told["both"])
    campaign = told["folder"] / "runs" / "small"
    before = fingerprint(campaign)
    assert campaign_flow(config, dry_run=True) == campaign / "report.md"
    assert ingest_flow(config, dry_run=True) == {}
    assert round_flow(config, 2, dry_run=True) is None
    assert evaluate_flow(config, 2, "r2", dry_run=True) is None
    assert retry_flow(config, 1, dry_run=True) == 0
    assert maintain_flow(str(campaign), 0.0, dry_run=True) is None
    assert fingerprint(campaign) == before
    with get_client(sync_client=True) as client:
        texts = [each.data for each in client.read_artifacts()]
    dry = [text for text in texts if isinstance(text, str) and text.startswith("dry run")]
    assert len(dry) == 6
    assert any("train round-2/ppm on about" in text for text in dry)


def test_a_file_that_is_not_there_is_one_sentence(cli, write_config, tmp_path):
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("gsm.jsonl", "nowhere.jsonl"))
    complaint = cli.complaint("plan", config)
    assert "nowhere.jsonl" in complaint
    assert "--problems" in complaint
    assert "10 problems to train on and 8 held out" in cli.answer("plan", config, "--problems", 10)


def test_problems_are_counted_as_an_ingest_finds_them(write_config, tmp_path):
    for more in (0, 7):
        sources = load_config(write_config(tmp_path / str(more), more=more)).sources
        problems, _ = collect(sources)
        assert count_problems(sources)[Split.TRAIN] == sum(each.split == Split.TRAIN for each in problems)
    twice = [BuiltinSource(num_problems=5, families=("gcd",))] * 2
    assert count_problems(twice)[Split.TRAIN] == 5


PAPERS_SHARDS = math.ceil(747_000 / 32)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_papers_campaign_is_planned_without_its_files(number, request):
    root = request.config.rootpath
    config = load_config(root / "configs" / "paper" / f"round{number}.toml")
    plan = make_plan(config, Given(problems=747_000, heldout=0, gpus=60))
    stages = stages_of(plan)
    rollouts = (8, 16, 16, 16)
    for round_id in range(1, number + 1):
        search = stages[round_id, "search"].left
        assert search.shards == PAPERS_SHARDS == 23_344
        assert search.rollouts == 747_000 * rollouts[round_id - 1]
    said = (root / "docs" / "decisions.md").read_text()
    assert "23,344 shards" in said
    assert "5,976,000 rollouts in round 1 and 11,952,000 in each later one" in " ".join(said.split())
