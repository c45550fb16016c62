"""Writes the campaign of `paper_scale` with several writers at once; interrupted, it goes on where it was."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.paper_scale import NUM_PROBLEMS, SOLVED_PERCENT, problems, shards, write_round
from infra.catalog import Catalog

if TYPE_CHECKING:
    from pathlib import Path

NUM_WRITERS = 2
_NOTE = "writing.json"


def write_campaign(folder: Path, scale: float) -> dict[str, float]:
    """Write what is missing; the seconds that all runs took and what each commit took are kept in a note.

    Returns:
        `seconds` of writing, `shards`, and `commit_median` and `commit_p99` in seconds.
    """
    num_problems = round(NUM_PROBLEMS * scale)
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / _NOTE
    known = json.loads(note.read_text()) if note.exists() else {"seconds": 0.0, "commits": []}
    for round_id in SOLVED_PERCENT:
        started = time.perf_counter()
        _plan(folder, round_id, num_problems)
        with ProcessPoolExecutor(NUM_WRITERS, multiprocessing.get_context("spawn")) as pool:
            parts = [
                pool.submit(write_round, folder, round_id, num_problems, writer, NUM_WRITERS)
                for writer in range(NUM_WRITERS)
            ]
            commits = [seconds for part in parts for seconds in part.result()]
        if commits:
            known["seconds"] += time.perf_counter() - started
            known["commits"] += commits
            note.write_text(json.dumps(known))
        print(f"round {round_id}: {len(commits)} shards, {known['seconds']:.0f} s so far", file=sys.stderr)
    commits = sorted(known["commits"])
    return {
        "seconds": known["seconds"],
        "shards": len(commits),
        "commit_median": commits[len(commits) // 2],
        "commit_p99": commits[len(commits) * 99 // 100],
    }


def _plan(folder: Path, round_id: int, num_problems: int) -> None:
    with Catalog.open(folder, create=True) as catalog:
        if not catalog.shards(round_id):
            catalog.add_problems(problems(num_problems))
            catalog.plan_shards(shards(round_id, num_problems))
