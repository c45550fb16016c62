"""A round on a Ray cluster of two workers, its catalog in PostgreSQL and its data in S3."""

import json
import os

import pytest

from tests.integration.campaign_facts import compare
from tests.integration.conftest import CommandProcess

ray = pytest.importorskip("ray", reason="ray is not installed")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_a_round_on_two_workers_has_the_facts_of_one_on_threads(
    tmp_path, write_config, prefect_server, served_cli, postgres, s3, cluster
):
    quiet, config = write_config(tmp_path / "a", trains=False), write_config(tmp_path / "b", trains=False)
    address, data = f"{postgres.address()}?schema=on_ray", f"s3://{s3.BUCKET}/on-ray"
    config.write_text(config.read_text() + f'[catalog]\nmetadata = "{address}"\ndata = "{data}"\n')
    assert len(cluster.list_all_nodes()) == 2
    on_ray = CommandProcess(
        PREFECT_API_URL=prefect_server, RSTAR_TASK_RUNNER="ray", RAY_ADDRESS=cluster.address
    )
    try:
        done = on_ray("run", config, timeout=400)
    finally:
        on_ray.close()
    assert done.returncode == 0, done.stderr
    query = "SELECT status, count(*) AS n FROM shards GROUP BY 1"
    shards = json.loads(served_cli.answer("sql", query, "-c", address, "--json"))
    assert [row["status"] for row in shards] == ["done"]
    served_cli.answer("run", quiet)
    compare(address, tmp_path / "a" / "runs" / "small")
    assert "agree" in served_cli.answer("catalog", "check", "--checksums", "-c", address)


def test_an_unknown_way_to_run_shards_is_a_sentence(monkeypatch):
    from flows.stages import shard_runner
    from rstar_core.errors import ConfigError

    monkeypatch.setenv("RSTAR_TASK_RUNNER", "dask")
    with pytest.raises(ConfigError, match="it can be threads, ray or ray://host:port"):
        shard_runner()
