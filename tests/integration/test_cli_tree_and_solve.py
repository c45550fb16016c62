"""`rstar tree` and `rstar solve` on a small campaign, whose policy fails often and writes hostile text."""

import gzip
import json
import re
import shutil
import sys
from datetime import UTC, datetime

import pytest

from flows.cli import main
from flows.solve import show
from infra.catalog.catalog import Catalog
from infra.catalog.round_rows import ModelRow
from infra.catalog.rows import ShardStatus
from infra.configuration import load_config
from infra.driver import Services
from infra.engines.scripted import ScriptedPolicy, random_arithmetic
from infra.grading.fake import ExactGrader
from infra.sandbox.fake import ScriptedRunner, failed, printed

ESCAPE = "\x1b[31m\x1b]0;title\x07"
HOSTILE_ANSWER = "\x1b[31m[/bold]"
MARKUP = "[/bold]<script>alert(1)</script>&lt;"
CONFIG = """name = "small"
root = "{root}"
[[sources]]
kind = "file"
name = "guess"
path = "{root}/problems.jsonl"
tier = "math"
[policy]
engine = "scripted"
[[rounds]]
[rounds.search]
num_candidates = 6
num_rollouts = 8
max_depth = 5
[rounds.sft]
[rounds.ppm]
"""


def hostile(request):
    """The arithmetic script; of each six candidates one fails, one is cut, one is said twice."""
    texts = random_arithmetic(request)
    if "<end_of_code>" not in "".join(request.steps[-1:]):
        texts[1] = f"# {ESCAPE}{MARKUP}\nraise ValueError\n<end_of_step>"
        texts[2] = f"# no end {MARKUP}"
        texts[4] = texts[3]
    return texts


def run_arithmetic(prefix, code):
    if "raise" in code:
        return failed(f"ValueError: {ESCAPE}{MARKUP}")
    return printed(re.findall(r"x = (\d)", prefix + code)[-1] if "print(x)" in code else "")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A campaign's folder after the search of round 1: two problems that luck solves, one that none does."""
    from infra.campaigns import mark_round
    from tasks.datasets import build_pairs, select_trajectories
    from tasks.ingest import ingest_problems
    from tasks.search import plan_search, search_shard

    folder = tmp_path_factory.mktemp("searched")
    rows = [{"question": f"Guess {MARKUP} {answer}.", "answer": answer} for answer in ("2", "3", "77")]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "campaign.toml").write_text(CONFIG.format(root=folder))
    config = load_config(folder / "campaign.toml")
    services = Services(ScriptedPolicy(hostile), ScriptedRunner(run_arithmetic), ExactGrader())
    ingest_problems.fn(config)
    with Catalog.open(folder / "small") as catalog:
        mark_round(catalog, config, 1, "done")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.search.open_services", lambda *_: services)
        for shard_id in plan_search.fn(config, 1):
            follow_up = search_shard.fn(config, 1, shard_id)
            search_shard.fn(config, 1, follow_up.shard_id)
    select_trajectories.fn(config, 1)
    build_pairs.fn(config, 1)
    return folder / "small"


def ids(folder):
    """Problem ids by reference answer."""
    with Catalog.open(folder, read_only=True) as catalog:
        return {problem.answer: problem.problem_id for problem in catalog.problems()}


class SameProcess:
    """The command line without the seconds that a process of its own takes to start."""

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments):
        self._monkeypatch.setattr(sys, "argv", ["rstar", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        said = self._capsys.readouterr()
        return end.value.code, said.out, said.err

    def answer(self, *arguments):
        code, out, err = self(*arguments)
        assert not code, err
        return out

    def complaint(self, *arguments):
        code, out, err = self(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("rstar: ")
        assert len(err.splitlines()) == 1
        return err


@pytest.fixture
def rstar(monkeypatch, capsys):
    return SameProcess(monkeypatch, capsys)


@pytest.fixture
def by_answer(searched):
    return ids(searched)


def test_a_tree_is_shown_with_figures_failures_and_what_was_chosen(rstar, searched, by_answer):
    text = rstar.answer("tree", by_answer["2"][:6], "-c", searched)
    assert by_answer["2"] in text
    assert re.search(r"8 rollouts, \d+ nodes, \d+ tokens, \d+ candidates of which [1-9]\d* failed", text)
    assert "✗ ended without an end tag" in text
    assert "✗ error: ValueError:" in text
    assert re.search(r"#\d+  N \d+  Q \+\d\.\d\d  answer 2: correct  ★1  ⊕", text)
    assert re.search(r"answer \d: wrong", text)
    assert "⊖" in text
    assert "note" not in text
    assert "# Step 1: pick a number" in text


def test_hostile_text_reaches_neither_the_terminal_nor_the_page(rstar, searched, by_answer, tmp_path):
    text = rstar.answer("tree", by_answer["2"], "-c", searched)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert f"␛[31m␛]0;title␇{MARKUP}" in text
    page = tmp_path / "tree.html"
    said = rstar.answer("tree", by_answer["2"], "-c", searched, "--html", page)
    assert str(page) in said.replace("\n", "")
    html = page.read_text()
    assert "\x1b" not in html
    assert "<script" not in html
    assert "[/bold]&lt;script&gt;alert(1)&lt;/script&gt;&amp;lt;" in html


def test_sql_shows_hostile_text_as_it_is(rstar, searched):
    text = rstar.answer("sql", "select distinct question from problems where answer = '2'", "-c", searched)
    assert MARKUP in text
    assert "␛[31m" in rstar.answer("sql", "select chr(27) || '[31m' as x", "-c", searched)


def test_a_program_reads_the_same_tree(rstar, searched, by_answer):
    said = json.loads(rstar.answer("tree", by_answer["2"], "-c", searched, "--json"))
    root = said["root"]
    assert root["index"] == 0
    assert root["visits"] == sum(child["visits"] for child in root["children"])
    text = rstar.answer("tree", by_answer["2"], "-c", searched)
    steps = [root]
    for step in steps:
        steps += step["children"]
    assert len(steps) > 2
    assert all(f"#{step['index']}" in text for step in steps[1:])
    assert all(name in text and value in text for name, value in said["facts"].items())


def test_without_its_log_a_tree_comes_from_the_catalog_and_says_so(rstar, searched, by_answer, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(searched, folder)
    with_log = rstar.answer("tree", by_answer["3"], "-c", folder)
    shutil.rmtree(folder / "logs")
    without = rstar.answer("tree", by_answer["3"], "-c", folder)
    assert "its replay log is gone, so the tree comes from the catalog" in without
    assert "✗ e" not in without
    figures = re.compile(r"#\d+  N \d+  Q +\S+")
    assert figures.findall(without) == figures.findall(with_log)


def test_a_shard_that_is_not_done_shows_its_trees_as_far_as_the_log_goes(
    rstar, searched, by_answer, tmp_path
):
    folder = tmp_path / "small"
    shutil.copytree(searched, folder)
    log = folder / "logs" / "round-1" / "search-00000.log"
    lines = gzip.decompress(log.with_suffix(".log.gz").read_bytes()).splitlines(keepends=True)
    log.with_suffix(".log.gz").unlink()
    log.write_bytes(b"".join(lines[: len(lines) // 2]) + b"torn")
    with Catalog.open(folder) as catalog:
        (shard,) = catalog.shards(1, kind="search")
        catalog.start_shard(shard)
        assert catalog.shards(1, status=ShardStatus.RUNNING)
    text = rstar.answer("tree", by_answer["3"], "-c", folder)
    assert "shard search-00000 is running: this is the tree as far as its replay log goes" in text
    whole = rstar.answer("tree", by_answer["3"], "-c", searched)
    assert 2 < text.count("  N ") < whole.count("  N ")


def test_a_tree_that_is_not_there_is_named_with_those_that_are(rstar, searched, by_answer):
    hard = by_answer["77"]
    assert "there is also --tree 1" in rstar.answer("tree", hard, "-c", searched)
    assert "tree       1 of round 1" in rstar.answer("tree", hard, "--tree", 1, "-c", searched)
    assert "it has trees 0, 1" in rstar.complaint("tree", hard, "--tree", 2, "-c", searched)
    assert "some in round 1" in rstar.complaint("tree", hard, "--round", 2, "-c", searched)
    nearest = rstar.complaint("tree", f"{hard[:-1]}x", "-c", searched)
    assert f"the nearest are {hard}" in nearest
    assert "3 problem ids begin with ''" in rstar.complaint("tree", "", "-c", searched)
    assert "No problem id begins with 'a?'" in rstar.complaint("tree", "a\udcff", "-c", searched)


def test_a_page_that_cannot_be_written_is_a_sentence(rstar, searched, by_answer, tmp_path):
    page = tmp_path / "nowhere" / "tree.html"
    assert str(page) in rstar.complaint("tree", by_answer["2"], "-c", searched, "--html", page)


@pytest.fixture(scope="module")
def with_ppm(searched, tiny_model, tmp_path_factory):
    """The same campaign after it trained a policy and a PPM, of random weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("with-ppm") / "small"
    shutil.copytree(searched, folder)
    ppm = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    ppm.save_pretrained(folder / "ppm")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder / "ppm")
    now = datetime.now(UTC)
    with Catalog.open(folder) as catalog:
        for role in ("policy", "ppm"):
            row = ModelRow(f"round-1/{role}", 1, role, "base", str(folder / role), None, {}, 1, now)
            catalog.replace_round(ModelRow, 1, [row], role=role)
    return folder


def test_a_question_is_answered_by_the_best_solution_in_the_eyes_of_the_ppm(rstar, with_ppm):
    options = ("-c", with_ppm, "--trees", 3, "--rollouts", 3, "--candidates", 4)
    found = json.loads(rstar.answer("solve", "Guess a number.", *options, "--json"))
    assert (found["policy"], found["ppm"], found["rule"]) == ("round-1/policy", "round-1/ppm", "best")
    assert found["num_trees"] == len(found["answers"]) == 3
    assert found["score"] == max(vote["score"] for vote in found["answers"]) == found["steps"][-1]["score"]
    assert {"answer": found["answer"], "score": found["score"]} in found["answers"]
    votes = [vote["answer"] for vote in found["answers"]]
    assert found["num_agreeing"] == votes.count(found["answer"])
    assert [step["output"] for step in found["steps"]][-2:] == [found["answer"], None]
    assert all(-1 <= step["score"] <= 1 for step in found["steps"])


def test_an_answer_is_shown_with_its_steps_scores_and_agreement(capsys):
    found = {
        "question": "Guess.",
        "answer": HOSTILE_ANSWER,
        "score": -0.25,
        "rule": "weighted",
        "steps": [
            {"text": f"# {ESCAPE}\nx = 2\n<end_of_step>\n", "score": 0.5, "output": None},
            {
                "text": "print(x)\n<end_of_code>\n<output>2\n3<end_of_output>\n",
                "score": 0.75,
                "output": "2\n3",
            },
            {"text": f"<answer>\\boxed{{{HOSTILE_ANSWER}}}<end_of_answer>", "score": -0.25, "output": None},
        ],
        "num_agreeing": 2,
        "num_trees": 3,
        "num_trajectories": 7,
        "policy": "round-1/policy",
        "ppm": "round-1/ppm",
        "num_tokens": 100,
        "seconds": 1.0,
    }
    show(found)
    text = capsys.readouterr().out
    assert "PPM +0.50  # ␛[31m␛]0;title␇\n           x = 2\n" in text
    assert "PPM +0.75  print(x)\n           → 2\n           → 3\n" in text
    assert "answer  ␛[31m[/bold]" in text
    assert "2 of 3 trees, chosen by rule 'weighted' with PPM -0.25" in text
    assert "PPM round-1/ppm" in text
    assert "\x1b" not in text
    assert "<end_of" not in text


def test_without_a_ppm_the_majority_of_the_trees_answers_and_it_is_said(rstar, searched):
    text = rstar.answer("solve", "Guess a number.", "-c", searched, "--trees", 2, "--candidates", 3)
    assert "the campaign has no PPM: plain search, and the majority of the trees" in text
    assert "policy base, no PPM" in text
    assert "PPM +" not in text


def test_a_question_that_cannot_be_answered_is_a_sentence(rstar, searched, tmp_path):
    assert "the question is blank" in rstar.complaint("solve", " ", "-c", searched)
    assert "not valid UTF-8" in rstar.complaint("solve", "a\udcff", "-c", searched)
    assert "There is no catalog at" in rstar.complaint("solve", "1?", "-c", tmp_path / "nowhere")
    Catalog.open(tmp_path / "empty", create=True).close()
    assert "has begun" in rstar.complaint("solve", "1?", "-c", tmp_path / "empty")
