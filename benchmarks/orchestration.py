"""What orchestration costs: a round through Prefect beside the same work called directly, and 5,000 shards.

python benchmarks/orchestration.py [--json] [--only overhead|many] [--shards 5000]

A server of its own is started. The work of the first part is real search with the scripted policy, sandbox,
grading and catalog, in shards of some 30 s; the second part's shards do nothing, so that only what is between
them is left.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from benchmarks.figures import Figure, arguments, at_most, show
from flows.ingest import ingest_flow
from flows.round import search_stage
from flows.running import prepare_environment
from flows.stages import run_shards, shard_runner
from flows.up import Child, answers, stop
from infra.configuration import parse_config
from infra.services import close_services, open_services
from infra.workspace import Workspace
from tasks.search import plan_search, search_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rstar_core.config import CampaignConfig

_NUM_SHARDS = 4
_SHARD_SIZE = 400
_ROLLOUTS = 64
_REPEATS = 2
_POLL_SECONDS = 0.5


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=("overhead", "many"))
    parser.add_argument("--shards", type=int, default=5000)
    options = parser.parse_args()
    prepare_environment()
    logging.disable(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="rstar-orchestration-"))
    try:
        with server(folder) as (url, process), temporary_settings({PREFECT_API_URL: url}):
            figures = overhead(folder) if options.only != "many" else []
            figures += many_shards(url, process, options.shards) if options.only != "overhead" else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(figures, as_json=options.json)


def overhead(folder: Path) -> list[Figure]:
    """The same shards of search in threads and as task runs of a flow, in turn and twice each."""
    alone, through, longest = 0.0, 0.0, 0.0
    for repeat in range(_REPEATS):
        direct, flowing = (_campaign(folder / f"{name}-{repeat}") for name in ("direct", "flow"))
        for config in (direct, flowing):
            ingest_flow(config)
        open_services_of(direct)  # the sandbox's start is in neither
        alone += _seconds_directly(direct)
        close_services()  # what the sandbox remembers is no help to the other
        open_services_of(flowing)
        through += _seconds_through_prefect(flowing)
        close_services()
        longest = max(longest, _longest_shard(flowing))
    return [
        Figure("shards each", _NUM_SHARDS * _REPEATS, "1"),
        Figure("a shard's wall time, longest", longest, "s"),
        Figure("called directly", alone, "s"),
        Figure("as a flow", through, "s"),
        at_most("orchestration overhead", 100 * (through - alone) / alone, "%", 3.0),
    ]


def _seconds_directly(config: CampaignConfig) -> float:
    ids = plan_search.fn(config, 1)
    started = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda each: search_shard.fn(config, 1, each), ids))
    return time.perf_counter() - started


def _seconds_through_prefect(config: CampaignConfig) -> float:
    @flow(name="benchmark-round", task_runner=shard_runner())
    def round_of_search() -> None:
        search_stage(config, 1, plan_search(config, 1))

    started = time.perf_counter()
    round_of_search()
    return time.perf_counter() - started


@task(name="nothing", cache_policy=NO_CACHE)
def nothing(_config: None, _round_id: int, shard_id: str) -> str:
    """A shard without work."""
    return shard_id


def many_shards(url: str, server_process: psutil.Process, count: int) -> list[Figure]:
    """So many shards in one flow, while the API is asked what the UI asks for."""
    ended, answers_in, memory = threading.Event(), [], []
    here = psutil.Process()

    def watch() -> None:
        body = {"limit": 10, "sort": "EXPECTED_START_TIME_DESC"}
        with httpx.Client(timeout=60) as client:
            while not ended.wait(_POLL_SECONDS):
                for path in ("flow_runs/filter", "task_runs/filter", "task_runs/count"):
                    started = time.perf_counter()
                    client.post(f"{url}/{path}", json={} if path.endswith("count") else body)
                    answers_in.append(time.perf_counter() - started)
                memory.append((here.memory_info().rss, server_process.memory_info().rss))

    @flow(name="benchmark-many", task_runner=shard_runner())
    def many() -> None:
        run_shards(nothing, [(None, 1, f"shard-{number}") for number in range(count)], "benchmark")

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    many()
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    tenth, last = memory[len(memory) // 10], memory[-1]
    answers_in.sort()
    return [
        Figure("shards", count, "1"),
        Figure("wall time", seconds, "s"),
        at_most("task runs a second", count / seconds, "1/s", 20.0),
        Figure("an answer of the API, median", statistics.median(answers_in), "s"),
        at_most("an answer of the API, 95th percentile", answers_in[len(answers_in) * 95 // 100], "s", 1.0),
        Figure("memory of the flow's process after a tenth", tenth[0] / 2**20, "MiB"),
        Figure("… at the end", last[0] / 2**20, "MiB"),
        Figure("memory of the server after a tenth", tenth[1] / 2**20, "MiB"),
        Figure("… at the end", last[1] / 2**20, "MiB"),
    ]


def open_services_of(config: CampaignConfig) -> None:
    """Start what a shard's search needs."""
    from infra.models.registry import round_policy  # noqa: PLC0415 - used once

    with Workspace.of(config).open_catalog() as catalog:
        open_services(round_policy(catalog, config, 1), config.sandbox, None)


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A Prefect server with a database of its own; its API's address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    environment = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    child = Child("the server", command, folder / "server.log", environment)
    with temporary_settings({PREFECT_HOME: folder / "prefect"}):
        child.start()
        while not answers(url):
            time.sleep(_POLL_SECONDS)
        try:
            yield url, child.process_of()
        finally:
            stop([child])


def _campaign(root: Path) -> CampaignConfig:
    return parse_config(
        {
            "name": "benchmark",
            "root": str(root),
            "shard_size": _SHARD_SIZE,
            "sources": [{"kind": "builtin", "num_problems": _SHARD_SIZE * _NUM_SHARDS}],
            "policy": {"engine": "scripted"},
            "rounds": [
                {"search": {"num_candidates": 4, "num_rollouts": _ROLLOUTS, "max_depth": 6}, "escalation": []}
            ],
        },
        origin="the benchmark",
    )


def _longest_shard(config: CampaignConfig) -> float:
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        rows: list[tuple[Any, ...]] = catalog.sql("SELECT max(seconds) FROM shards")[1]
    return float(rows[0][0])


if __name__ == "__main__":
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    main()
