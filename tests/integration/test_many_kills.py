"""Twenty kills at random moments of one campaign, and it has the facts of one that nobody touched."""

import random
import signal
import time

import psutil
import pytest

from infra.catalog.rows import ShardRow
from tests.integration.campaign_facts import Watcher, compare

pytestmark = pytest.mark.timeout(900)

KILLS = 20
SEARCH = {"more": 12, "shard_size": 3, "rollouts": 32, "trains": False}


def progress_of(root):
    """Bytes of the shards' logs: whatever a run does changes them, and to look costs next to nothing."""
    return sum(path.stat().st_size for path in root.glob("logs/*/*.log") if path.exists())


def wait_for_progress(run, root, before):
    """Wait until this run has done something; False if it has ended."""
    deadline = time.monotonic() + 120
    while progress_of(root) == before:
        if run.poll() is not None:
            return False
        assert time.monotonic() < deadline, "nothing moves"
        time.sleep(0.05)
    return True


def test_twenty_random_kills_change_nothing(tmp_path, write_config, served_process, served_cli, end_abruptly):
    rng = random.Random(20)
    quiet, config = write_config(tmp_path / "quiet", **SEARCH), write_config(tmp_path / "hit", **SEARCH)
    root = tmp_path / "hit" / "runs" / "small"
    served_cli.answer("run", quiet)
    served_cli.answer("ingest", config)
    kills, spared, in_the_middle = 0, 0, 0
    while kills < KILLS:
        before = progress_of(root)
        run = served_process.start("run", config)
        if not wait_for_progress(run, root, before):
            _, errors = run.communicate()
            assert run.returncode == 0, errors
            break
        time.sleep(rng.expovariate(2.5))
        if rng.random() < 0.2 and spared < 4:  # one process of the sandbox: the run goes on by itself
            children = psutil.Process(run.pid).children(recursive=True)
            if children:
                rng.choice(children).send_signal(signal.SIGKILL)
                spared += 1
                time.sleep(rng.random())
        if run.poll() is None:
            end_abruptly(run, signal.SIGKILL, group=rng.random() < 0.5)
        kills += 1
        seen = Watcher(root)
        in_the_middle += any(row.status == "running" for row in seen.rows(ShardRow))
        seen.close()
    assert kills == KILLS, f"the campaign was over after {kills} kills; give it more to do"
    assert in_the_middle > KILLS / 2
    served_cli.answer("run", config)
    compare(root, tmp_path / "quiet" / "runs" / "small")
    served_cli.answer("catalog", "maintain", "-c", root)  # files of transactions that never were
    assert "agree" in served_cli.answer("catalog", "check", "--checksums", "-c", root)
