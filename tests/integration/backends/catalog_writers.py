"""What the writers of the fault tests do, each in a process of its own."""

import os
import time

from infra.catalog import Catalog, NodeRow, ShardRow, TrajectoryRow, TreeRow
from infra.catalog.places import locate

NAMES = tuple(f"p{number}" for number in range(120))  # more rows than are kept inside the metadata
NODES_PER_TREE = 3


def shard_row(shard_id):
    return ShardRow(1, shard_id, "search", 0, "pending", len(NAMES), NAMES)


def write_shard(catalog, shard_id):
    tree = int(shard_id.rpartition("-")[2])
    trees = [TreeRow(1, shard_id, p, tree, 1, 4, NODES_PER_TREE, 1, 1, True, 10, 8, 0, 2.0) for p in NAMES]
    blank = (1, "code", "x", "", None, 8, 8.0, 1.0, None, False, None, None)
    nodes = [NodeRow(1, shard_id, p, tree, i, 0, *blank) for p in NAMES for i in range(NODES_PER_TREE)]
    paths = [
        TrajectoryRow(1, shard_id, p, tree, 0, (1,), ("s",), (0.5,), 0.5, 0.5, "1", True, "s") for p in NAMES
    ]
    shard = catalog.start_shard(shard_row(shard_id))
    catalog.commit_shard(shard, trees=trees, nodes=nodes, trajectories=paths)


def write_missing(root, environment):
    """Do what is missing, then the first shards again and again, until killed."""
    os.environ.update(environment)
    with Catalog.open(locate(root)) as catalog:
        while True:
            missing = [row.shard_id for row in catalog.missing_shards(1)]
            for shard_id in missing or [row.shard_id for row in catalog.shards(1)][:2]:
                write_shard(catalog, shard_id)


def write_these(root, environment, shard_ids, pause):
    """Each of these shards once; a writer's own retries are all the help it has."""
    os.environ.update(environment)
    for shard_id in shard_ids:
        with Catalog.open(locate(root)) as catalog:
            write_shard(catalog, shard_id)
        time.sleep(pause)
