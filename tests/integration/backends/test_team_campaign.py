"""A whole campaign whose catalog is shared by a team: PostgreSQL and S3."""

import json

import pytest


@pytest.fixture
def config(tmp_path, write_config, postgres, s3):
    file = write_config(tmp_path, trains=False)
    address, data = f"{postgres.address()}?schema=team_campaign", f"s3://{s3.BUCKET}/campaigns"
    file.write_text(file.read_text() + f'[catalog]\nmetadata = "{address}"\ndata = "{data}"\n')
    return file


def test_a_campaign_runs_resumes_and_is_asked_there(config, tmp_path, served_cli, postgres):
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
    assert "agree" in served_cli.answer("catalog", "check", "--checksums", "-c", address)
