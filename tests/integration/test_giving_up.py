"""When a round may go on without some of its shards: by problems, escalations included."""

import pytest

from infra.catalog.catalog import Catalog
from infra.catalog.rows import DropRow, ShardRow
from infra.giving_up import give_up, may_go_on, missing_searches


@pytest.fixture
def catalog(tmp_path, empty_catalog):
    with Catalog.open(empty_catalog(tmp_path)) as opened:
        yield opened


def plan(catalog, name, count, kind="search", first=0):
    problems = tuple(f"p{number:03}" for number in range(first, first + count))
    row = ShardRow(1, name, kind, 0, "pending", count, problems)
    catalog.plan_shards([row])
    return row


def done(catalog, row):
    catalog.commit_shard(catalog.start_shard(row))


def failed(catalog, row):
    catalog.fail_shard(catalog.start_shard(row), "the log is damaged")


def test_the_share_is_exact(catalog):
    """0.56 × 100 is more than 56 to a computer."""
    done(catalog, plan(catalog, "search-0", 56))
    failed(catalog, plan(catalog, "search-1", 44, first=56))
    assert may_go_on(catalog, 1, 0.56)
    assert not may_go_on(catalog, 1, 0.57)
    assert not may_go_on(catalog, 1, 1.0)


def test_what_was_never_tried_is_not_given_up(catalog):
    done(catalog, plan(catalog, "search-0", 9))
    late = plan(catalog, "search-1", 1, first=9)
    assert not may_go_on(catalog, 1, 0.5)
    failed(catalog, late)
    assert may_go_on(catalog, 1, 0.5)
    catalog.start_shard(late)  # somebody's retry was killed
    assert not may_go_on(catalog, 1, 0.5)


def test_a_failed_escalation_counts_its_problems_and_an_evaluation_counts_nothing(catalog):
    done(catalog, plan(catalog, "search-0", 10))
    failed(catalog, plan(catalog, "evaluate-r1-0", 10, kind="evaluate:r1", first=500))
    assert may_go_on(catalog, 1, 1.0)
    failed(catalog, plan(catalog, "search-0.1", 4, kind="escalation-1"))
    assert may_go_on(catalog, 1, 0.6)
    assert not may_go_on(catalog, 1, 0.7)
    assert [row.shard_id for row in missing_searches(catalog, 1)] == ["search-0.1"]


def test_what_is_given_up_stands_among_the_drops_until_it_is_done(catalog):
    done(catalog, plan(catalog, "search-0", 5))
    broken = plan(catalog, "search-1", 5, first=5)
    failed(catalog, broken)
    for _ in range(2):  # it is counted once
        assert give_up(catalog, 1) == 1
    (drop,) = catalog.fetch(DropRow)
    assert (drop.shard_id, drop.reason, drop.count) == ("search-1", "shard_failed", 5)
    assert drop.detail == "the log is damaged"
    done(catalog, broken)
    assert not catalog.fetch(DropRow)
