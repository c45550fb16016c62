"""The catalog beside real other processes: writers at once, a reader meanwhile, kill -9; and a full disk.

The other process is this file run as a program: `python test_catalog_processes.py FUNCTION ROOT SHARD…`.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import infra.catalog.catalog
from infra.catalog import Catalog, NodeRow, ShardRow, TreeRow
from rstar_core.errors import CatalogError

REPOSITORY = Path(__file__).parents[2]


def rows(shard_id, text="x"):
    """A shard of two problems with one tree and 75 nodes each."""
    ids = ("p0", "p1")
    trees = [TreeRow(1, shard_id, p, 0, 7, 8, 2, 1, 1, True, 90, 5, 1, 0.5) for p in ids]
    blank = (1, "code", text, "", None, 8, 8.0, 1.0, None, False, None, None)
    nodes = [NodeRow(1, shard_id, p, 0, i, 0, *blank) for p in ids for i in range(75)]
    return ShardRow(1, shard_id, "search", 1, "running", 2, ids), trees, nodes


def write_own_and_shared(root, name):
    with Catalog.open(root, create=True) as catalog:
        for shard_id in (name, "shared"):
            shard, trees, nodes = rows(shard_id)
            catalog.commit_shard(catalog.start_shard(shard), trees=trees, nodes=nodes)


def write_in_two_threads(root, *names):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write_own_and_shared, [root] * 2, names))


def stop_in_the_middle_of_a_commit(root, shard_id):
    insert, seen = infra.catalog.catalog.insert_table, []

    def insert_slowly(connection, table, new):
        insert(connection, table, new)
        seen.append(table)
        if len(seen) == 2:
            print("in the middle", flush=True)
            time.sleep(60)

    with Catalog.open(root) as catalog:
        infra.catalog.catalog.insert_table = insert_slowly
        shard, trees, nodes = rows(shard_id, "new")
        catalog.commit_shard(shard, trees=trees, nodes=nodes)


@pytest.fixture
def start(tmp_path):
    """Starts a function of this file in another process; its first argument is the root of the catalog."""
    children = []

    def start(function, *arguments):
        command = [sys.executable, __file__, function.__name__, str(tmp_path), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdout.close()


def counts(catalog):
    """Done shards, trees and nodes, all in one snapshot."""
    query = """
        SELECT (SELECT count(*) FROM shards WHERE status = 'done'), (SELECT count(*) FROM trees),
            (SELECT count(*) FROM nodes)"""
    return catalog.sql(query)[1][0]


def test_four_writers_lose_nothing_double_nothing_and_never_stop_a_reader(tmp_path, start):
    # Two threads in each of two processes, each with its own connection; they create the catalog at once.
    child = start(write_in_two_threads, "w0", "w1")
    seen = []
    with ThreadPoolExecutor(1) as pool:
        here = pool.submit(write_in_two_threads, tmp_path, "w2", "w3")
        with Catalog.open(tmp_path, create=True), Catalog.open(tmp_path, read_only=True) as reader:
            while child.poll() is None or not here.done():
                seen.append(counts(reader))
                time.sleep(0.1)
            assert counts(reader) == (5, 10, 750)
            (shared,) = reader.fetch(ShardRow, "shard_id = 'shared'")
        here.result()
    assert (child.returncode, shared.attempt) == (0, 4)
    # Whatever the reader saw was whole. A shard that runs again still has its rows, but is not done.
    assert all(trees * 75 == nodes for _, trees, nodes in seen)
    assert all(trees >= 2 * done for done, trees, _ in seen)


def test_kill_9_in_the_middle_of_a_commit_leaves_nothing_half_written(tmp_path, start):
    old = TreeRow(1, "search-0", "p0", 0, 1, 8, 2, 0, 0, False, 9, 5, 1, 0.5)
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.commit_shard(rows("search-0")[0], trees=[old])
        child = start(stop_in_the_middle_of_a_commit, "search-0")
        assert child.stdout.readline() == "in the middle\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert catalog.fetch(TreeRow) == [old]
        assert counts(catalog) == (1, 1, 0)
        # The lock went with its holder, so the next writer goes on at once.
        catalog.commit_shard(rows("search-1")[0])
        assert counts(catalog) == (2, 1, 0)


@pytest.fixture
def small_files():
    """Switches a limit of 4 KiB a file on and off: to the writer it looks like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda on: resource.setrlimit(resource.RLIMIT_FSIZE, (4096 if on else before[0], before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_takes_no_more_is_one_sentence_and_leaves_nothing(tmp_path, small_files):
    shard, trees, nodes = rows("search-0", "".join(chr(97 + i * i % 26) for i in range(9000)))
    with Catalog.open(tmp_path, create=True) as catalog:
        small_files(True)
        with pytest.raises(CatalogError, match="could not be written") as caught:
            catalog.commit_shard(shard, trees=trees, nodes=nodes)
        small_files(False)
        assert "\n" not in str(caught.value)
        assert counts(catalog) == (0, 0, 0)
        catalog.commit_shard(shard, trees=trees, nodes=nodes)
        assert counts(catalog) == (1, 2, 150)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
