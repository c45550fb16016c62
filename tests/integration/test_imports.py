"""Training data in the released formats, into a catalog and out again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.catalog import Catalog, DropRow, SftExampleRow, StepPairRow
from infra.imports import import_file
from rstar_core.parsing import split_steps

SOLUTION = (
    "<code>\n# Step 1: add\nx = 1 + 1\n<end_of_step>\n\n"
    "# Now print the final answer\nprint(x)\n<end_of_code>\n"
    "<output>2<end_of_output>\n<answer>It is \\boxed{2}.\n<end_of_answer>"
)
INTRODUCTION = "\n<|assistant|>: Let's think step by step and solve the problem with code."
EXAMPLE = {"query": "What is 1 + 1?", "response": SOLUTION}
WHOLE = {
    "prompt": "<|user|>:\nWhat is 1 + 1?\n Let's write a program.",
    "pos": INTRODUCTION + SOLUTION,
    "neg": INTRODUCTION + SOLUTION.replace("1 + 1\n<end", "1 - 1\n<end"),
    "pos_count": 2,
    "neg_count": 2,
}
STEP = {
    "prompt": WHOLE["prompt"] + INTRODUCTION + "<code>\n# Step 1: add\nx = 1 + 1\n<end_of_step>",
    "pos": "\n\n# Step 2: nothing\ny = x\n<end_of_step>",
    "neg": "\n\n# Step 2: spoil\ny = x - 1\n<end_of_step>",
    "pos_count": 1,
    "neg_count": 4,
}


@pytest.fixture
def catalog(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path / "small")) as catalog:
        yield catalog


def written(tmp_path, rows, name="data.json"):
    path = tmp_path / name
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_examples_become_steps_that_join_to_the_solution(catalog, tmp_path, name):
    path = written(tmp_path, [EXAMPLE, EXAMPLE, {**EXAMPLE, "query": "Other?"}], name)
    done = import_file(catalog, path, 1, "released", "MIT")
    assert (done.examples, done.pairs, done.problems, dict(done.dropped)) == (3, 0, 2, {})
    rows = catalog.fetch(SftExampleRow, "question = ?", ("What is 1 + 1?",), order_by="rank")
    assert [row.rank for row in rows] == [1, 2]
    assert rows[0].step_texts == (
        "# Step 1: add\nx = 1 + 1\n<end_of_step>\n",
        "# Now print the final answer\nprint(x)\n<end_of_code>\n<output>2<end_of_output>\n",
        "<answer>It is \\boxed{2}.<end_of_answer>",
    )
    assert rows[0].mean_q is None
    (problem,) = [each for each in catalog.problems() if each.question == "What is 1 + 1?"]
    assert (problem.answer, problem.split, problem.source) == ("2", "imported", "released")
    assert catalog.coverage() == []


def test_pairs_keep_their_shared_steps_and_their_weight(catalog, tmp_path):
    done = import_file(catalog, written(tmp_path, [WHOLE, STEP]), 2, "released", "MIT")
    assert (done.pairs, done.problems) == (2, 2)  # a step alone does not say what the answer is
    step, whole = catalog.fetch(StepPairRow, order_by="final")
    assert (step.prefix, step.final, step.depth, step.weight) == (
        "# Step 1: add\nx = 1 + 1\n<end_of_step>\n",
        False,
        2,
        0.25,
    )
    assert step.positive == "# Step 2: nothing\ny = x\n<end_of_step>\n"
    assert (whole.prefix, whole.final, whole.weight, whole.positive_q) == ("", True, 0.25, None)
    assert len(split_steps(whole.negative)) == 3


def test_what_is_not_understood_is_counted_and_a_file_comes_in_once(catalog, tmp_path):
    rows = [
        EXAMPLE, 7, {}, {"query": "q", "response": "no code"}, {"query": "q", "response": "<code>\n"},
        {"query": " ", "response": SOLUTION}, {**WHOLE, "neg": WHOLE["pos"]}, {**WHOLE, "pos_count": 0},
        {**WHOLE, "prompt": "<|user|>:\n"}, {"query": "q\0", "response": SOLUTION},
    ]  # fmt: skip
    path = written(tmp_path, rows)
    done = import_file(catalog, path, 1, "released", "MIT")
    reasons = {
        "no_object": 1, "no_query": 2, "no_code": 1, "no_answer": 1, "same_sides": 1, "no_counts": 1,
        "no_question": 1, "no_text": 1,
    }  # fmt: skip
    assert (done.examples, dict(done.dropped)) == (1, reasons)
    assert {row.reason: row.count for row in catalog.fetch(DropRow, "stage = 'import'")} == reasons
    assert import_file(catalog, path, 1, "released", "MIT").known
    assert len(catalog.fetch(SftExampleRow)) == 1
    more = import_file(catalog, written(tmp_path, [WHOLE], "more.json"), 1, "released", "MIT")
    assert (more.pairs, more.problems) == (1, 0)


def test_a_broken_file_leaves_nothing_and_a_round_of_its_own_is_refused(cli, tmp_path, catalog):
    folder = tmp_path / "small"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps([EXAMPLE] * 3)[:-30])
    complaint = cli.complaint("import", broken, "--round", 1, "-c", folder)
    assert "broken.json is no JSON array and no JSON lines" in complaint
    assert catalog.fetch(SftExampleRow) == []
    assert "cannot be read" in cli.complaint("import", tmp_path / "absent.json", "--round", 1, "-c", folder)
    own = SftExampleRow(3, "p", 1, "q", ("s",), 0.5, 0)
    catalog.replace_round(SftExampleRow, 3, [own])
    data = written(tmp_path, [EXAMPLE])
    assert "data of its own" in cli.complaint("import", data, "--round", 3, "-c", folder)
    assert "1 examples, 0 pairs, 1 new problems, 0 dropped" in cli.answer(
        "import", data, "--round", 4, "-c", folder
    )
    assert "nothing to do" in cli.answer("import", data, "--round", 4, "-c", folder)
    cli.answer("export", "sft", "--round", 4, "-c", folder, "--format", "jsonl", "--out", tmp_path / "out")
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "sft.jsonl").read_text().splitlines()]
    assert row["completion"].endswith("\\boxed{2}.<end_of_answer>")
    assert row["mean_q"] is None


@pytest.mark.skipif("RSTAR_DATA_DIR" not in os.environ, reason="RSTAR_DATA_DIR names no released files")
def test_the_released_files_lose_nothing(cli, tmp_path, empty_catalog):
    folder, data = empty_catalog(tmp_path / "small"), Path(os.environ["RSTAR_DATA_DIR"])
    files = [data / "sft_data_examples.json", data / "rm_data_examples.json"]
    said = cli.answer("import", *files, "--round", 1, "-c", folder)
    assert "8 examples, 0 pairs, 8 new problems, 0 dropped" in said
    assert "0 examples, 5 pairs, 5 new problems, 0 dropped" in said
    with Catalog.open(folder, read_only=True) as catalog:
        pairs = catalog.fetch(StepPairRow)
        assert {row.final for row in pairs} == {True, False}
        assert all("<|" not in row.prefix + row.positive + row.negative for row in pairs)
        assert all(row.step_texts[-1].startswith("<answer>") for row in catalog.fetch(SftExampleRow))


def test_memory_does_not_grow_with_the_file(tmp_path, empty_catalog):
    rows = 40_000
    path, folder = tmp_path / "large.json", empty_catalog(tmp_path / "small")
    with path.open("w") as file:
        file.write("[")
        for number in range(rows):
            file.write(("," if number else "") + json.dumps({**EXAMPLE, "query": f"What is {number} + 1?"}))
        file.write("]")
    code = f"""
import resource
from pathlib import Path
from infra.catalog import Catalog
from infra.imports import import_file
with Catalog.open({str(folder)!r}) as catalog:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = import_file(catalog, Path({str(path)!r}), 1, "released", "MIT")
print(done.examples, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=250
    )
    count, megabytes = map(int, done.stdout.split())
    assert count == rows
    assert megabytes < 400
