"""A campaign that was killed in every stage has the same facts as one that nobody touched."""

import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import ModelRow, SftExampleRow
from infra.catalog.rows import ShardRow, TreeRow
from tests.integration.campaign_facts import Watcher, compare, wait_until
from tests.integration.conftest import UNHURRIED

pytestmark = pytest.mark.timeout(1200)

# Where the run is killed, in the order of the stages: a moment, how much later, and how. Each moment stays
# true once it has come, so that a slow test process misses none.
WALK = (
    ("catalog is made", lambda seen: (seen.root / "catalog.sqlite").exists(), 0, signal.SIGKILL),
    ("base is evaluated", lambda seen: seen.has_begun("evaluate:base"), 0, signal.SIGINT),
    ("search has begun", lambda seen: seen.has_logged(5), 0, signal.SIGKILL),
    ("search is partly done", lambda seen: seen.has_one_done("search"), 0, signal.SIGKILL),
    ("examples are selected", lambda seen: bool(seen.rows(SftExampleRow)), 0, signal.SIGKILL),
    ("policy is trained", lambda seen: seen.trains("policy"), 1, signal.SIGKILL),
    ("policy is there", lambda seen: seen.has_model("policy"), 0, signal.SIGKILL),
    ("ppm is trained", lambda seen: seen.trains("ppm"), 1, signal.SIGKILL),
    ("system 2 is evaluated", lambda seen: seen.has_begun("evaluate:system2"), 0.5, signal.SIGKILL),
)
MUST_BE_IN_THE_MIDDLE = {"catalog is made", "search has begun", "policy is trained", "ppm is trained"}


def test_questions_are_answered_while_another_process_writes(undisturbed, served_process, cli):
    root = undisturbed / "runs" / "small"
    run = served_process.start(
        "run", undisturbed / "campaign.toml", "--summary", undisturbed / "summary.json"
    )
    wait_until(run, Watcher(root), lambda seen: seen.has_begun("search"))
    rows = json.loads(cli.answer("coverage", "--campaign", root, "--json"))
    assert all(set(row) == {"round", "tier", "problems", "solved", "coverage"} for row in rows)
    cli.answer("sql", "--campaign", root, "from coverage")
    cli.answer("shards", "--campaign", root)
    assert run.poll() is None, "the run was over before the questions were answered"
    _, errors = run.communicate(timeout=280)
    assert run.returncode == 0, errors
    assert {
        "heldout",
        "coverage",
        "stages",
        "seconds",
        "tokens_per_second",
        "busy_share",
        "peak_memory_mb",
    } <= {*json.loads((undisturbed / "summary.json").read_text())}


def test_a_campaign_killed_in_every_stage_has_the_same_facts(
    tmp_path, write_config, undisturbed, served_process, served_cli, end_abruptly
):
    config, root = write_config(tmp_path, rollouts=UNHURRIED), tmp_path / "runs" / "small"
    done_before = {}
    caught = set()
    for name, moment, later, number in WALK:
        run = served_process.start("run", config)
        seen = Watcher(root)
        wait_until(run, seen, moment)
        time.sleep(later)
        assert run.poll() is None, f"the run ended before it could be killed when {name}: {run.communicate()}"
        errors = end_abruptly(run, number, group=name != "ppm is trained")
        if number == signal.SIGINT:
            assert run.returncode == 130, errors
            assert errors.splitlines()[-1].startswith("rstar: stopped; the same command goes on")
            assert "Traceback" not in errors
        seen.close()
        if is_unfinished(name, seen):
            caught.add(name)
        done = {(row.round_id, row.shard_id): row for row in seen.rows(ShardRow) if row.status == "done"}
        assert done_before.items() <= done.items(), f"a finished shard was done again before {name}"
        done_before = done
        seen.close()
    assert caught >= MUST_BE_IN_THE_MIDDLE
    served_cli.answer("run", config)
    compare(root, undisturbed / "runs" / "small")


def test_ctrl_c_and_sigterm_end_a_long_search_within_seconds(
    tmp_path, write_config, process, served_process, end_abruptly
):
    """A terminal sends Ctrl-C to the whole group, Prefect's own server included; a supervisor, SIGTERM."""
    root = tmp_path / "runs" / "small"
    config = write_config(tmp_path, more=300, shard_size=512, rollouts=1500)  # many minutes of work
    ends = ((process, signal.SIGINT, True), (served_process, signal.SIGTERM, False))
    for attempt, (command_line, number, group) in enumerate(ends, start=1):
        run = command_line.start("run", config)
        seen = Watcher(root)
        wait_until(run, seen, lambda seen, attempt=attempt: seen.attempt("search") == attempt)
        started = time.monotonic()
        errors = end_abruptly(run, number, group=group)
        assert time.monotonic() - started < 20
        assert run.returncode == 130, errors
        assert errors.splitlines()[-1] == "rstar: stopped; the same command goes on with what is missing"
        assert "Traceback" not in errors
        assert not seen.rows(TreeRow)
        statuses = {row.kind: row.status for row in seen.rows(ShardRow)}
        assert statuses == {"evaluate:base": "done", "search": "running"}
        seen.close()


def test_prefects_temporary_server_dies_with_a_process_that_is_killed(process, end_abruptly):
    program = "import flows.server; flows.server.start_temporary_server(); print('up', flush=True); input()"
    run = process.start(program=("-c", program))
    assert run.stdout.readline() == "up\n"
    assert any("uvicorn" in each.cmdline() for each in psutil.Process(run.pid).children())
    end_abruptly(run, signal.SIGKILL, group=False)


def test_a_lost_model_folder_is_a_sentence_and_not_a_traceback(undisturbed, tmp_path, served_cli):
    """Somebody tidied up: the catalog names a PPM that is gone."""
    copy = tmp_path / "runs"
    shutil.copytree(undisturbed / "runs", copy)
    with Catalog.open(copy / "small") as catalog:
        location = Path(catalog.fetch(ModelRow, "role = 'ppm'")[0].location)
        shards = catalog.shards(1, kind="evaluate:system2")
        assert shards
        catalog.fail_shard(catalog.start_shard(shards[0]), "made to run again by a test")
    hidden = location.with_name("hidden")
    location.rename(hidden)
    try:
        complaint = served_cli.complaint("run", undisturbed / "campaign.toml", "--root", copy)
    finally:
        hidden.rename(location)
    assert str(location) in complaint


def is_unfinished(name, seen):
    """Whether the stage in which the run was killed was not over."""
    over = {
        "catalog is made": lambda: bool(seen.rows(ShardRow)),
        "base is evaluated": lambda: seen.has_ended("evaluate:base"),
        "search has begun": lambda: seen.has_ended("search"),
        "search is partly done": lambda: seen.has_ended("search"),
        "examples are selected": lambda: seen.has_stage("pairs"),
        "policy is trained": lambda: seen.has_model("policy"),
        "policy is there": lambda: any(row.role == "policy" for row in seen.rows(ModelRow)),
        "ppm is trained": lambda: seen.has_model("ppm"),
        "system 2 is evaluated": lambda: seen.has_ended("evaluate:system2"),
    }
    return not over[name]()
