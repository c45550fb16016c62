"""`rstar up` keeps server and workers alive, and a round outlives each of them."""

import os
import signal
import time

import psutil
import pytest

from infra.catalog.rows import ShardRow
from tests.integration.campaign_facts import Watcher, compare
from tests.integration.operations import running

pytestmark = pytest.mark.timeout(600)
SEARCH = {"more": 60, "shard_size": 4, "rollouts": 64, "trains": False}


def find(operations, *words):
    """The process below `rstar up` whose command line has all these words."""
    seen = []
    for each in psutil.Process(operations.process.pid).children(recursive=True):
        try:
            line = " ".join(each.cmdline())
        except psutil.Error:
            continue
        if all(word in line for word in words):
            return each
        seen.append(line)
    raise AssertionError(f"no process of {words} among {seen}")


def wait_for_search(root, done):
    seen = Watcher(root)
    deadline = time.monotonic() + 120
    while sum(row.status == "done" and row.kind == "search" for row in seen.rows(ShardRow)) < done:
        assert time.monotonic() < deadline, "the search does not begin"
        time.sleep(0.1)
    seen.close()


def test_a_round_outlives_the_server_the_workers_and_its_own_process(tmp_path, write_config, served_cli):
    quiet, config = write_config(tmp_path / "quiet", **SEARCH), write_config(tmp_path / "hit", **SEARCH)
    root = tmp_path / "hit" / "runs" / "small"
    served_cli.answer("ingest", quiet)
    with running(tmp_path, config) as operations:
        assert operations.wait_for(operations.start("ingest/small"))["type"] == "COMPLETED"
        assert {each["name"] for each in operations.post("work_pools/filter", {})} == {"cpu", "gpu"}
        watches = operations.post("automations/filter", {})
        assert [each["name"] for each in watches] == ["rstar: a run that is silent has crashed"]

        run = operations.start("round/small")
        wait_for_search(root, 1)
        find(operations, "prefect.engine").kill()
        crashed = operations.wait_for(run)
        assert crashed["type"] == "CRASHED", crashed

        find(operations, "server", "start").kill()
        find(operations, "worker", "gpu").kill()
        operations.wait_until_it_says("Prefect's server ended (SIGKILL) and is started again")
        operations.wait_until_it_says("the worker of pool gpu ended (SIGKILL) and is started again")
        retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}}
        assert operations.post(f"flow_runs/{run}/set_state", retry)["status"] == "ACCEPT"
        state = operations.wait_for(run, after=crashed["id"])
        assert state["type"] == "COMPLETED", state
        started = time.monotonic()
        os.kill(operations.process.pid, signal.SIGINT)
        assert operations.process.wait(30) == 0
        assert time.monotonic() - started < 25
    from flows.round import round_flow
    from infra.configuration import load_config

    round_flow(load_config(quiet), 1)
    compare(root, tmp_path / "quiet" / "runs" / "small")
