"""What the Prefect UI shows of a round while it runs and when it is over."""

import asyncio
import urllib.request

import pytest

from infra import metrics


async def artifacts(prefix):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    async with get_client() as client:
        key = ArtifactFilter(key=ArtifactFilterKey(like_=f"{prefix}%"))
        found = await client.read_artifacts(artifact_filter=key)
    return {artifact.key: artifact for artifact in sorted(found, key=lambda each: each.created)}


@pytest.mark.usefixtures("prefect_server")
def test_a_round_shows_how_far_it_is_and_its_figures(tmp_path, write_config, served_cli, monkeypatch):
    monkeypatch.setattr(metrics, "_EXPORTER", metrics._Exporter())
    monkeypatch.setenv("RSTAR_METRICS_PORT", "19464")
    config = write_config(tmp_path, trains=False, shard_size=4)
    config.write_text(config.read_text().replace('name = "small"', 'name = "watched"'))
    broken = tmp_path / "runs" / "watched" / "logs" / "round-1" / "search-00001.log"
    broken.parent.mkdir(parents=True)
    broken.write_text("no log of ours\nnor this\n")
    assert served_cli("run", config).returncode == 1
    shown = asyncio.run(artifacts("watched-round-1-"))
    assert 0 < shown["watched-round-1-progress"].data < 100
    state = shown["watched-round-1-state"].data
    assert "| shards failed | 1 |" in state
    assert "| search-00001 | 1 | the replay log" in state or "| search-00001 | 1 | line" in state

    broken.unlink()
    assert served_cli("run", config).returncode == 0
    state = asyncio.run(artifacts("watched-round-1-"))["watched-round-1-state"].data
    assert "| shards failed | 0 |" in state
    assert "| problems searched | " in state
    assert "| 1 | all | 12 |" in state
    assert "| programs a second | " in state
    assert "| answers checked a second | " in state
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.serve_metrics()}/metrics", timeout=10) as reply:
        scraped = reply.read().decode()
    assert 'rstar_shards{campaign="watched",round="1",status="failed"} 0.0' in scraped
    assert 'rstar_shards{campaign="watched",round="1",status="done"} 0.0' not in scraped
    assert 'rstar_shards{campaign="watched",round="1",status="done"} ' in scraped
    assert 'rstar_problems{campaign="watched",round="1",tier="gsm"} 6.0' in scraped
    assert "rstar_programs_total" in scraped
