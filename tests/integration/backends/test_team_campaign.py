"""A whole campaign whose catalog is shared by a team: PostgreSQL and S3."""

import json
import shutil
from pathlib import Path

import pytest

from infra.artifacts import ArtifactStore
from infra.models.layout import digest_of_model
from infra.models.store import MANIFEST


@pytest.fixture
def config(tmp_path, write_config, postgres, s3):
    file = write_config(tmp_path)
    address, data = f"{postgres.address()}?schema=team_campaign", f"s3://{s3.BUCKET}/campaigns"
    file.write_text(file.read_text() + f'[catalog]\nmetadata = "{address}"\ndata = "{data}"\n')
    return file


def test_a_campaign_runs_resumes_and_is_asked_there(config, tmp_path, served_cli, postgres, s3, monkeypatch):
    ran = served_cli("run", config)
    assert ran.returncode == 0, ran.stderr
    folder = tmp_path / "runs" / "small"
    assert not (folder / "lake").exists()
    assert not (folder / "catalog.sqlite").exists()
    address = f"{postgres.address()}?schema=team_campaign"
    by_folder = json.loads(served_cli.answer("coverage", "-c", folder, "--json"))
    by_address = json.loads(served_cli.answer("coverage", "-c", address, "--json"))
    assert by_folder == by_address
    assert by_folder[-1]["problems"] == 12
    versions = served_cli.answer("versions", "-c", address)
    again = served_cli("run", config)
    assert again.returncode == 0, again.stderr
    assert served_cli.answer("versions", "-c", address) == versions  # there was nothing to do
    problem = json.loads(
        served_cli.answer("sql", "SELECT problem_id FROM trees LIMIT 1", "-c", address, "--json")
    )
    assert "rollouts" in served_cli.answer("tree", problem[0]["problem_id"], "-c", folder)
    served_cli.answer("catalog", "maintain", "-c", folder, "--keep-days", "0")
    shutil.rmtree(folder / "models")  # on another machine they never were
    assert "agree" in served_cli.answer("catalog", "check", "--checksums", "-c", address)
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path / "other-machine"))
    for model_id in ("round-1/policy", "round-1/ppm"):
        row = json.loads(served_cli.answer("models", "show", model_id, "-c", address, "--json"))
        assert row["location"].startswith(f"s3://{s3.BUCKET}/campaigns/small.models/{model_id}@")
        pulled = Path(served_cli.answer("models", "pull", model_id, "-c", address).strip())
        assert digest_of_model(pulled) == row["digest"]
        assert served_cli.answer("models", "pull", row["location"]).strip() == str(pulled)
    ArtifactStore(row["location"]).remove(MANIFEST)
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path / "a-third-machine"))
    assert "There is no whole model at s3://" in served_cli.complaint("models", "pull", row["location"])
