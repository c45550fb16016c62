"""The `rstar` command line as a user meets it: answers on standard output, one sentence when it cannot."""

import json
import re
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.rows import ShardRow, TreeRow

COMMANDS = (
    *(
        "demo",
        "run",
        "ingest",
        "evaluate",
        "coverage",
        "sql",
        "shards",
        "tree",
        "solve",
        "exec",
        "grade",
        "doctor",
        "serve",
        "plan",
        "retry",
        "up",
        "setup",
    ),
    *("models", "models pull", "models list", "models show"),
)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory, write_config):
    """A campaign's folder with problems and nothing else; made without Prefect."""
    from infra.configuration import load_config
    from tasks.ingest import ingest_problems

    folder = tmp_path_factory.mktemp("ingested")
    ingest_problems.fn(load_config(write_config(folder)))
    return folder / "runs" / "small"


def test_help_comes_at_once(process):
    times = []
    for _ in range(3):
        started = time.perf_counter()
        text = process.answer("--help")
        times.append(time.perf_counter() - started)
    assert min(times) < 1, times  # the quickest of three: this machine may be busy
    assert all(command in text for command in COMMANDS if " " not in command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli, command):
    assert "Usage:" in cli.answer(*command.split(), "--help")


def test_a_wrong_use_is_explained_with_exit_code_2(cli):
    for arguments in (["nonsense"], ["run"], ["coverage", "--round", "x"], ["exec", "--memory-mb", "1"]):
        done = cli(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[policy]", "[policy]\nmodle = 'x'", "policy.modle is not a setting (did you mean model?)"),
        ("seed = 3", "seed = 'three'", 'seed is "three", but it should be a valid integer'),
        ("seed = 3", "seed = ", "is not valid TOML"),
        ("[[rounds]]", "[[rounds]]\nprompt = 'other'", "rounds.0.prompt is"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(cli, write_config, tmp_path, old, new, expected):
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace(old, new, 1))
    complaint = cli.complaint("run", config)
    assert str(config) in complaint
    assert expected in complaint
    assert not (tmp_path / "runs").exists()


def test_a_missing_configuration_is_named(cli, tmp_path):
    for path in (tmp_path / "nowhere.toml", tmp_path):
        assert str(path) in cli.complaint("run", path)


@pytest.mark.parametrize(
    "command", [["coverage"], ["coverage", "--json"], ["sql", "from coverage"], ["shards"]]
)
def test_a_missing_campaign_is_named_and_not_made(cli, tmp_path, command):
    folder = tmp_path / "nowhere"
    assert f"There is no catalog at {folder}" in cli.complaint(*command, "--campaign", folder)
    assert not folder.exists()


def test_questions_before_the_first_round_have_empty_answers(cli, ingested):
    assert json.loads(cli.answer("coverage", "--json", "--campaign", ingested)) == []
    assert "nothing yet" in cli.answer("coverage", "--campaign", ingested)
    rows = json.loads(cli.answer("sql", "--json", "--campaign", ingested, "select count(*) n from problems"))
    assert rows == [{"n": 20}]


def test_sql_only_asks(cli, ingested):
    assert "nothing" in cli.complaint("sql", "--campaign", ingested, "from nothing")
    for query in ("delete from problems", "drop table problems", "select 1; drop table problems"):
        assert "Only questions are allowed" in cli.complaint("sql", "--campaign", ingested, query)
    assert "is known by tier, source, rollouts" in cli.complaint(
        "coverage", "--by", "x", "--campaign", ingested
    )


def test_a_problem_that_was_never_searched_has_no_tree(cli, ingested):
    query = "select problem_id from problems limit 1"
    (row,) = json.loads(cli.answer("sql", "--json", "--campaign", ingested, query))
    assert "no search had it" in cli.complaint("tree", row["problem_id"], "--campaign", ingested)


def test_a_model_is_shown_with_its_origin_and_its_figures(cli, tmp_path, empty_catalog):
    from infra.catalog import Catalog
    from infra.catalog.round_rows import ModelRow

    made, metrics = datetime(2026, 1, 2, tzinfo=UTC), {"pair_accuracy": 0.75, "num_pairs": 40}
    row = ModelRow("round-1/ppm", 1, "ppm", "round-1/policy", "models/ppm", "ab" * 32, metrics, 40, made)
    with Catalog.open(empty_catalog(tmp_path)) as catalog:
        catalog.replace_round(ModelRow, 1, [row], role="ppm")
    shown = json.loads(cli.answer("models", "show", "round-1/ppm", "-c", tmp_path, "--json"))
    assert (shown["base_model"], shown["digest"], shown["metrics"]) == (row.base_model, row.digest, metrics)
    text = cli.answer("models", "show", "round-1/ppm", "-c", tmp_path)
    assert re.search(r"pair_accuracy +0\.75", text)
    assert "it has round-1/ppm" in cli.complaint("models", "show", "round-2/ppm", "-c", tmp_path)


def test_models_that_were_not_pulled_are_not_listed_and_the_doctor_says_so(
    cli, monkeypatch, tmp_path, ingested
):
    monkeypatch.setenv("RSTAR_MODEL_DIR", str(tmp_path))
    listed = json.loads(cli.answer("models", "list", "--json", "--campaign", ingested))
    assert listed == {"campaign": [], "pulled": []}
    done = cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert {"memory", "disk", "sandbox", "models"} <= set(checks)
    failed = [check for check in checks.values() if check["required"] and not check["works"]]
    assert done.returncode == (1 if failed else 0)
    assert not checks["models"]["works"]
    assert "rstar models pull" in checks["models"]["detail"]


def test_a_label_that_does_not_exist_is_named(served_cli, write_config, tmp_path):
    assert "choose from base, r1, system2" in served_cli.complaint("evaluate", write_config(tmp_path), "r9")


def test_an_unreadable_row_is_named_by_its_line_and_nothing_is_kept(
    served_cli, write_config, problem_files, tmp_path
):
    rows = (problem_files / "math.jsonl").read_text().splitlines()
    rows[2] = '{"question": "half'
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join(rows))
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace(str(problem_files / "math.jsonl"), str(broken)))
    for command in ("ingest", "run"):
        assert f"{broken}:3" in served_cli.complaint(command, config)
    assert not (tmp_path / "runs").exists()


def test_a_model_directory_without_weights_is_named(served_cli, write_config, tmp_path):
    model = tmp_path / "empty"
    model.mkdir()
    config = write_config(tmp_path, model=model, engine="transformers")
    complaint = served_cli.complaint("run", config)
    assert f"The model directory {model} lacks config.json, model.safetensors" in complaint
    with Catalog.open(tmp_path / "runs" / "small", read_only=True) as catalog:
        assert {row.status for row in catalog.fetch(ShardRow)} == {"pending"}  # not begun, so not failed
        assert not catalog.fetch(TreeRow)


def test_a_folder_that_cannot_be_made_is_named(served_cli, write_config, tmp_path):
    config = write_config(tmp_path)
    (tmp_path / "file").write_text("")
    assert "cannot be made" in served_cli.complaint("ingest", config, "--root", tmp_path / "file")
    assert "cannot be made" in served_cli.complaint("run", config, "--summary", tmp_path / "file" / "s.json")
    assert not (tmp_path / "runs").exists()


def test_a_prefect_server_that_is_away_is_a_sentence(cli, write_config, tmp_path):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "Prefect's server does not answer" in cli.complaint("ingest", write_config(tmp_path))


class Refusing(BaseHTTPRequestHandler):
    """A server that knows no model."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"no such model")

    def log_message(self, *_):
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is no news."""


@pytest.fixture
def refusing_server():
    server = QuietServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_bootstrap_server_that_refuses_is_named_and_done_shards_stay(
    served_cli, write_config, tmp_path, refusing_server
):
    config = write_config(tmp_path)
    text = f'[bootstrap]\nengine = "openai"\nmodel = "large"\nbase_url = "{refusing_server}"\n[[rounds]]'
    config.write_text(config.read_text().replace("[[rounds]]", text, 1))
    complaint = served_cli.complaint("run", config)
    assert refusing_server in complaint
    assert "404" in complaint
    assert "no such model" in complaint
    with Catalog.open(tmp_path / "runs" / "small", read_only=True) as catalog:
        statuses = {(row.kind, row.status, row.attempt) for row in catalog.fetch(ShardRow)}
        assert statuses == {("evaluate:base", "done", 1), ("search", "failed", 1)}
        assert not catalog.fetch(TreeRow)


def test_exec_keeps_its_contract(process):
    programs = [
        {"id": "sum", "code": "print(1 + 1)"},
        {"id": 2, "code": "1 / 0"},
        {"id": 3, "code": "print(x)", "prefix": "x = 5"},
        {"id": 4, "code": "while True: pass"},
        {"id": 5, "code": "x = bytearray(1 << 32)"},
        {"id": None, "code": "import os; os.kill(os.getpid(), 9)"},
    ]
    text = "".join(json.dumps(program) + "\n" for program in programs)
    rows = [
        json.loads(line) for line in process.answer("exec", "--timeout-seconds", "1", text=text).splitlines()
    ]
    assert [row["id"] for row in rows] == [program["id"] for program in programs]
    assert all(list(row) == ["id", "status", "stdout", "error", "seconds"] for row in rows)
    assert [row["status"] for row in rows[:4]] == ["ok", "error", "ok", "timeout"]
    assert rows[4]["status"] == "memory"
    assert {row["status"] for row in rows} <= {"ok", "error", "timeout", "memory", "killed"}
    assert [row["stdout"] for row in rows[:3]] == ["2\n", "", "5\n"]
    assert "ZeroDivisionError" in rows[1]["error"]


def test_grade_keeps_its_contract(process):
    pairs = [("1/2", "0.5"), ("3", "4"), ("x+1", "1+x"), ("", "4")]
    text = "".join(
        json.dumps({"id": number, "prediction": one, "reference": other}) + "\n"
        for number, (one, other) in enumerate(pairs)
    )
    rows = [json.loads(line) for line in process.answer("grade", text=text).splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2, 3]
    assert all(list(row) == ["id", "correct", "method", "seconds"] for row in rows)
    assert [row["correct"] for row in rows[:3]] == [True, False, True]
    assert rows[3]["correct"] in {False, None}


@pytest.mark.parametrize("command", ["exec", "grade"])
def test_lines_that_cannot_be_used_are_refused_and_the_first_is_named(cli, command):
    good = json.dumps({"id": 1, "code": "print(1)", "prediction": "1", "reference": "1"})
    done = cli(command, text=f"{good}\nnonsense\n[]\n{json.dumps({'id': 4})}\n{good}\n")
    assert done.returncode == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [1, None, None, 4, 1]
    assert [row.get("error", "").partition(" of the input ")[0] for row in rows[1:4]] == [
        "Line 2",
        "Line 3",
        "Line 4",
    ]
    assert rows[0].keys() <= rows[1].keys()
    assert done.stderr.startswith("rstar: Line 2 of the input is not JSON")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["exec", "grade"])
def test_no_lines_give_no_lines(cli, command):
    assert cli.answer(command) == ""
