"""Writers are killed, PostgreSQL restarts, S3 refuses and vanishes: in the end each shard is there once."""

import multiprocessing
import os
import random
import threading
import time

import catalog_writers
import pytest
from catalog_writers import NAMES, NODES_PER_TREE, shard_row, write_missing, write_these

from infra.catalog import Catalog
from infra.catalog.checking import differences
from infra.catalog.maintenance import maintain
from infra.catalog.places import settle
from rstar_core.config import CatalogConfig
from rstar_core.errors import CatalogError
from rstar_core.types import Problem, Split, Tier

SHARDS = tuple(f"search-{number}" for number in range(8))
NUM_KILLS = 50


@pytest.fixture(scope="module")
def processes():
    """Processes that start in milliseconds, because one that has imported everything forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([catalog_writers.__name__])
    return context


def make(folder, config):
    place = settle(folder, f"f{os.urandom(4).hex()}", config)
    with Catalog.open(place, create=True) as catalog:
        catalog.add_problems(Problem(p, "q", "1", Tier.GSM, "here", "MIT", Split.TRAIN) for p in NAMES)
        catalog.plan_shards(shard_row(each) for each in SHARDS)
    return place


class Watcher(threading.Thread):
    """A reader who asks all the time whether what it sees is whole."""

    QUERY = """
        SELECT (SELECT count(*) FROM trees), (SELECT count(*) FROM nodes),
            (SELECT count(*) FROM trajectories)"""

    def __init__(self, place):
        super().__init__()
        self._place, self._over = place, threading.Event()
        self.halves, self.looks, self.trouble = [], 0, []

    def run(self):
        while not self._over.wait(0.2):
            try:
                with Catalog.open(self._place, read_only=True) as reader:
                    trees, nodes, paths = reader.sql(self.QUERY)[1][0]
            except CatalogError as error:
                self.trouble.append(error)
                continue
            self.looks += 1
            if not trees * NODES_PER_TREE == nodes == paths * NODES_PER_TREE:
                self.halves.append((trees, nodes, paths))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


def assert_everything_once(place):
    with Catalog.open(place) as catalog:
        maintain(catalog, keep_days=0)
        assert list(differences(catalog, checksums=True)) == []
        assert [row.shard_id for row in catalog.done_shards(1)] == sorted(SHARDS)
        expected = len(SHARDS) * len(NAMES)
        counted = catalog.sql("SELECT (SELECT count(*) FROM trees), (SELECT count(*) FROM nodes)")[1][0]
        assert counted == (expected, expected * NODES_PER_TREE)
        assert catalog.coverage(1)[-1]["solved"] == len(NAMES)


@pytest.mark.parametrize("kind", ["folder", "team"])
def test_kill_9_of_a_writer_at_random_moments(kind, tmp_path, processes, request):
    config = CatalogConfig()
    if kind == "team":
        postgres, store = request.getfixturevalue("postgres"), request.getfixturevalue("s3")
        config = CatalogConfig(metadata=postgres.address(), data=f"s3://{store.BUCKET}/kills")
    place, moments = make(tmp_path, config), random.Random(7)
    with Watcher(place) as watcher:
        for _ in range(NUM_KILLS):
            writer = processes.Process(target=write_missing, args=(str(tmp_path), dict(os.environ)))
            writer.start()
            time.sleep(moments.uniform(0.05, 0.9))
            writer.kill()
            writer.join()
            assert writer.exitcode == -9  # it had not failed by itself
    with Catalog.open(place) as catalog:
        for row in catalog.missing_shards(1):
            catalog_writers.write_shard(catalog, row.shard_id)
    assert watcher.looks > 10
    assert (watcher.halves, watcher.trouble) == ([], [])
    assert_everything_once(place)


def four_writers(processes, root, *, pause):
    """Four writers with two shards each, all of them started."""
    writers = [
        processes.Process(target=write_these, args=(root, dict(os.environ), SHARDS[number::4], pause))
        for number in range(4)
    ]
    for each in writers:
        each.start()
    return writers


def test_four_writers_survive_restarts_of_postgresql(tmp_path, processes, postgres, s3):
    place = make(tmp_path, CatalogConfig(metadata=postgres.address(), data=f"s3://{s3.BUCKET}/restarts"))
    with Watcher(place) as watcher:
        writers = four_writers(processes, str(tmp_path), pause=3)
        for number in (2, 9, 2):  # SIGINT ends every connection at once, SIGKILL is a crash
            time.sleep(1.2)
            postgres.stop(number)
            time.sleep(1)
            postgres.start()
        for each in writers:
            each.join()
    assert [each.exitcode for each in writers] == [0] * 4
    assert watcher.looks > 5
    assert (watcher.halves, watcher.trouble) == ([], [])
    assert_everything_once(place)


def test_four_writers_survive_an_object_store_that_refuses_and_vanishes(
    tmp_path, processes, postgres, s3, gate, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.url)
    place = make(tmp_path, CatalogConfig(metadata=postgres.address(), data=f"s3://{s3.BUCKET}/refusals"))
    gate.share_refused = 0.05
    writers = four_writers(processes, str(tmp_path), pause=6)
    time.sleep(2)
    gate.away = True
    time.sleep(30)
    gate.away = False
    for each in writers:
        each.join()
    assert [each.exitcode for each in writers] == [0] * 4
    assert gate.refused > 0
    assert gate.dropped > 0
    gate.share_refused = 0.0
    assert_everything_once(place)


def test_two_catalogs_beside_each_other_do_not_meet(tmp_path, postgres, s3):
    config = CatalogConfig(metadata=postgres.address(), data=f"s3://{s3.BUCKET}/beside")
    one, other = make(tmp_path / "one", config), make(tmp_path / "other", config)
    with Catalog.open(one) as catalog, one.claim("round-1"), other.claim("round-1"), other.writing():
        for each in SHARDS:
            catalog_writers.write_shard(catalog, each)
        maintain(catalog, keep_days=0)
    with Catalog.open(other) as catalog:
        assert catalog.sql("SELECT count(*) FROM trees")[1] == [(0,)]
        assert list(differences(catalog)) == []
    assert_everything_once(one)
