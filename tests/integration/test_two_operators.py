"""Two operators start the same round at once: one wins, the other is told who it is."""

import time

import psutil

from infra.catalog.rows import ShardRow
from tests.integration.campaign_facts import Watcher, wait_until

LONG = {"more": 300, "shard_size": 64, "rollouts": 400, "trains": False}  # minutes of work
SEARCH = {"more": 24, "shard_size": 6, "rollouts": 32, "trains": False}


def test_the_second_operator_gets_a_sentence_and_the_first_goes_on(
    tmp_path, write_config, served_process, end_abruptly
):
    config, root = write_config(tmp_path, **LONG), tmp_path / "runs" / "small"
    first = served_process.start("run", config)
    wait_until(first, Watcher(root), lambda seen: seen.has_begun("search"))
    second = served_process("run", config)
    assert first.poll() is None, "the first was over too soon to be in the way"
    assert second.returncode == 1
    complaint = second.stderr.splitlines()[-1]
    assert complaint.startswith("rstar: ")
    assert f"process {first.pid}" in complaint
    before = sum(row.attempt for row in Watcher(root).rows(ShardRow))
    end_abruptly(first)
    assert before == sum(row.attempt for row in Watcher(root).rows(ShardRow))  # the second began nothing


def test_a_claim_ends_with_its_process_however_that_ends(
    tmp_path, write_config, served_process, end_abruptly
):
    config, root = write_config(tmp_path, **SEARCH), tmp_path / "runs" / "small"
    first = served_process.start("run", config)
    wait_until(first, Watcher(root), lambda seen: seen.has_begun("search"))
    end_abruptly(first)
    assert served_process("run", config).returncode == 0


def test_a_killed_zygote_of_the_sandbox_is_replaced_while_the_round_goes_on(
    tmp_path, write_config, served_process
):
    config, root = write_config(tmp_path, **SEARCH), tmp_path / "runs" / "small"
    run = served_process.start("run", config)
    seen = Watcher(root)
    wait_until(run, seen, lambda seen: seen.has_logged(5))
    killed = 0
    for _ in range(3):
        for child in psutil.Process(run.pid).children():
            child.kill()
            killed += 1
        time.sleep(0.3)
    assert killed >= 3
    _, errors = run.communicate(timeout=280)
    assert run.returncode == 0, errors
