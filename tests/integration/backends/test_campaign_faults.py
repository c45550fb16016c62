"""A campaign goes on while what it stands on dies and comes back: policy server, PostgreSQL, S3."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.integration.backends.conftest import free_port, wait_until
from tests.integration.campaign_facts import compare
from tests.integration.conftest import PROJECT, CommandProcess
from tests.integration.policy_server import MODEL

pytestmark = pytest.mark.timeout(600)

SEARCH = {"more": 12, "shard_size": 2, "rollouts": 16, "trains": False, "engine": "openai", "model": MODEL}
AWAY_SECONDS = 6.0


class PolicyServer:
    """The policy server, to be killed and started again at the same port."""

    def __init__(self, seconds):
        self.port, self._seconds = free_port(), seconds
        self.start()

    def start(self):
        command = (
            sys.executable,
            "-m",
            "tests.integration.policy_server",
            str(self.port),
            str(self._seconds),
        )
        self.process = subprocess.Popen(command, cwd=PROJECT)
        wait_until("the policy server", self._answers)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _answers(self):
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/v1/models").is_success
        except httpx.HTTPError:
            return False


@pytest.fixture
def policy_server():
    server = PolicyServer(0.03)
    yield server
    server.kill()


@pytest.fixture
def behind_the_gate(gate, object_store, prefect_server):
    """The command as a process whose S3 server can go away."""
    command = CommandProcess(PREFECT_API_URL=prefect_server, **object_store.environment(gate.url))
    yield command
    command.close()


class Round:
    """The round as it runs: which of its shards are done."""

    def __init__(self, run, ask):
        self._run, self._ask = run, ask

    def wait_for(self, share):
        """Wait until this share of the shards is done; the run must not be over before."""
        deadline = time.monotonic() + 240
        while True:
            assert self._run.poll() is None, self._run.communicate()
            done, count = self._ask()
            if count and done >= share * count:
                return
            assert time.monotonic() < deadline, f"only {done} of {count} shards are done"
            time.sleep(0.2)


def test_a_round_survives_the_loss_of_each_of_them(
    tmp_path, write_config, served_cli, postgres, s3, gate, policy_server, behind_the_gate
):
    quiet, config = (write_config(tmp_path / name, **SEARCH) for name in ("quiet", "hit"))
    for each in (quiet, config):
        base_url = f'base_url = "http://127.0.0.1:{policy_server.port}/v1"\n'
        each.write_text(each.read_text().replace("[policy]\n", f"[policy]\n{base_url}"))
    address, data = f"{postgres.address()}?schema=campaign_faults", f"s3://{s3.BUCKET}/campaign-faults"
    config.write_text(config.read_text() + f'[catalog]\nmetadata = "{address}"\ndata = "{data}"\n')
    question = (
        "SELECT count(*) FILTER (status = 'done') AS done, count(*) AS n FROM shards WHERE round_id = 1"
    )

    def progress():
        (row,) = json.loads(served_cli.answer("sql", question, "-c", address, "--json"))
        return row["done"], row["n"]

    served_cli.answer("ingest", config)
    run = behind_the_gate.start("run", config)
    round_ = Round(run, progress)

    round_.wait_for(0.1)
    policy_server.kill()
    time.sleep(AWAY_SECONDS)
    policy_server.start()

    round_.wait_for(0.3)
    postgres.stop(signal.SIGKILL)
    time.sleep(AWAY_SECONDS)
    postgres.start()

    round_.wait_for(0.5)
    gate.away = True
    time.sleep(AWAY_SECONDS)
    gate.away = False
    assert gate.dropped, "nobody asked for S3 meanwhile"

    said, errors = run.communicate(timeout=300)
    assert run.returncode == 0, (said, errors)
    served_cli.answer("run", quiet)
    compare(address, tmp_path / "quiet" / "runs" / "small")
    served_cli.answer("catalog", "maintain", "-c", address)  # files of transactions that were cut off
    assert "agree" in served_cli.answer("catalog", "check", "--checksums", "-c", address)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said + errors
