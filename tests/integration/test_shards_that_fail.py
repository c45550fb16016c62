"""A shard fails: the others go on, the round says what is missing, and a retry does that alone."""

import json

import pytest

from infra.configuration import load_config
from infra.workspace import Workspace

BROKEN = "search-00001"


@pytest.fixture
def config(tmp_path, write_config):
    """A small campaign whose second shard finds the replay log of something else in its place."""
    file = write_config(tmp_path, trains=False, shard_size=4)
    break_shard(tmp_path)
    return file


def log_of(folder):
    return folder / "runs" / "small" / "logs" / "round-1" / f"{BROKEN}.log"


def break_shard(folder):
    log_of(folder).parent.mkdir(parents=True)
    log_of(folder).write_text("no log of ours\nnor this\n")


def statuses(cli, folder):
    query = "SELECT shard_id, status, attempt FROM shards WHERE round_id = 1 AND kind = 'search' ORDER BY 1"
    rows = json.loads(cli.answer("sql", query, "-c", folder / "runs" / "small", "--json"))
    return [(row["shard_id"], row["status"], row["attempt"]) for row in rows]


def test_the_others_go_on_and_a_retry_does_what_is_missing(config, tmp_path, served_cli):
    folder = tmp_path / "runs" / "small"
    assert "has not begun; start it with: rstar run" in served_cli.complaint("retry", config, "--round", 1)
    complaint = served_cli.complaint("run", config)
    assert f"shards of search failed ({BROKEN})" in complaint
    assert "see `rstar shards --missing`, and run the same command again" in complaint
    done = [("search-00000", "done", 1), (BROKEN, "failed", 1), ("search-00002", "done", 1)]
    assert statuses(served_cli, tmp_path) == done
    missing = served_cli.answer("shards", "--missing", "-c", folder)
    assert BROKEN in missing
    assert "is damaged" in missing
    assert "search-00000" not in missing
    assert BROKEN in served_cli.complaint("retry", config, "--round", 1)
    assert "has no shard search-9" in served_cli.complaint(
        "retry", config, "--round", 1, "--shard", "search-9"
    )

    log_of(tmp_path).unlink()
    assert "1 shards done" in served_cli.answer("retry", config, "--round", 1, "--shard", BROKEN)
    assert statuses(served_cli, tmp_path) == [done[0], (BROKEN, "done", 3), done[2]]
    assert served_cli("run", config).returncode == 0
    assert statuses(served_cli, tmp_path) == [done[0], (BROKEN, "done", 3), done[2]]
    assert "nothing is missing" in served_cli.answer("retry", config, "--round", 1)


def test_a_round_goes_on_without_a_shard_if_it_may_and_is_not_begun_again(config, tmp_path, served_cli):
    text = config.read_text()
    config.write_text(text.replace("shard_size = 4", "shard_size = 4\nmin_success_ratio = 0.6"))
    assert served_cli("run", config).returncode == 0
    query = "SELECT detail->>'given_up' AS given_up FROM stages WHERE stage = 'search'"
    folder = tmp_path / "runs" / "small"
    assert served_cli.answer("sql", query, "-c", folder, "--csv") == "given_up\n1\n"
    dropped = """SELECT shard_id, count, detail LIKE '%is damaged%' AS says_why
        FROM drops WHERE stage = 'search' AND reason = 'shard_failed'"""
    given_up = f"shard_id,count,says_why\n{BROKEN},4,True\n"
    assert served_cli.answer("sql", dropped, "-c", folder, "--csv") == given_up
    before = statuses(served_cli, tmp_path)
    assert before[1] == (BROKEN, "failed", 1)
    assert served_cli("run", config).returncode == 0
    assert statuses(served_cli, tmp_path) == before

    assert BROKEN in served_cli.complaint("retry", config, "--round", 1)  # who asks for it hears of it
    log_of(tmp_path).unlink()
    assert "1 shards done" in served_cli.answer("retry", config, "--round", 1)
    assert served_cli.answer("sql", dropped, "-c", folder, "--csv") == "shard_id,count,says_why\n"


def test_a_round_that_may_not_go_on_with_a_stricter_ratio_is_begun_again(config, served_cli):
    text = config.read_text()
    config.write_text(text.replace("shard_size = 4", "shard_size = 4\nmin_success_ratio = 0.6"))
    assert served_cli("run", config).returncode == 0
    config.write_text(text.replace("shard_size = 4", "shard_size = 4\nmin_success_ratio = 0.9"))
    assert BROKEN in served_cli.complaint("run", config)  # too many of its problems are missing now


def test_two_operators_and_one_round(tmp_path, write_config, served_cli):
    config = write_config(tmp_path, trains=False)
    with Workspace.of(load_config(config)).claim("round-1"):
        complaint = served_cli.complaint("run", config)
        assert "round-1 of" in complaint
        assert "is being run by process" in complaint
    assert served_cli("run", config).returncode == 0
    with Workspace.of(load_config(config)).claim("round-1"):
        assert "is being run by process" in served_cli.complaint("retry", config, "--round", 1)


def test_problems_that_come_later_get_shards_of_their_own(tmp_path, write_config, served_cli, problem_files):
    config, growing = write_config(tmp_path, trains=False, shard_size=4), tmp_path / "growing.jsonl"
    growing.write_text((problem_files / "gsm.jsonl").read_text())
    config.write_text(config.read_text().replace(str(problem_files / "gsm.jsonl"), str(growing)))
    assert served_cli("run", config).returncode == 0
    before = statuses(served_cli, tmp_path)
    with growing.open("a") as file:
        file.write(json.dumps({"question": "Which number am I thinking of, later?", "answer": "1"}) + "\n")
    assert served_cli("run", config).returncode == 0
    assert statuses(served_cli, tmp_path) == [*before, ("search-00003", "done", 1)]
