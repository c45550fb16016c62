"""A search goes on on another machine, in the middle of its trees, from what the store has of its log."""

import contextlib
import shutil

import pytest

from infra.artifacts import ArtifactStore
from infra.log_mirror import LogMirror
from infra.replay_log import packed_path


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return ArtifactStore(tmp_path / "store")
    s3 = request.getfixturevalue("s3")
    return ArtifactStore(f"s3://{s3.BUCKET}/mirror/{tmp_path.name}")


def machine(tmp_path, store, name):
    folder = tmp_path / name
    log = folder / "round-1" / "search-00000.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return LogMirror(store, folder), log


def grow(mirror, log, *records):
    with log.open("ab") as file:
        file.write(b"")
    with mirror.following(log), log.open("ab") as file:
        for record in records:
            file.write(record)
            file.flush()


def test_another_machine_gets_all_of_it(tmp_path, store):
    mirror, log = machine(tmp_path, store, "a")
    for record in (b"one\n", b"two\n", b"three\n"):
        grow(mirror, log, record)
    other, copy = machine(tmp_path, store, "b")
    other.fetch(copy)
    assert copy.read_bytes() == b"one\ntwo\nthree\n"
    grow(other, copy, b"four\n")
    mirror.fetch(log)  # and back again
    assert log.read_bytes() == b"one\ntwo\nthree\nfour\n"
    log.write_bytes(log.read_bytes() + b"five\n")
    mirror.fetch(log)  # this machine has more: it stays
    assert log.read_bytes().endswith(b"five\n")


def test_a_torn_end_that_was_cut_off_does_not_come_back(tmp_path, store):
    mirror, log = machine(tmp_path, store, "a")
    grow(mirror, log, b"one\n")
    grow(mirror, log, b"tw")
    with log.open("r+b") as file:
        file.truncate(4)
    grow(mirror, log, b"2\n")
    other, copy = machine(tmp_path, store, "b")
    other.fetch(copy)
    assert copy.read_bytes() == b"one\n2\n"


def test_a_log_that_was_begun_anew_replaces_the_old_one(tmp_path, store):
    mirror, log = machine(tmp_path, store, "a")
    grow(mirror, log, b"one\n")
    grow(mirror, log, b"two\n", b"three\n")
    log.unlink()
    grow(mirror, log, b"new\n")
    other, copy = machine(tmp_path, store, "b")
    other.fetch(copy)
    assert copy.read_bytes() == b"new\n"


def test_nothing_of_a_removed_log_comes_back(tmp_path, store):
    mirror, log = machine(tmp_path, store, "a")
    grow(mirror, log, b"one\n")
    grow(mirror, log, b"two\n")
    log.unlink()
    mirror.remove(log)
    assert store.sizes("round-1") == {}
    mirror.fetch(log)
    assert not log.exists()
    mirror.remove(log)  # it is not there any more


def test_a_finished_log_is_one_object(tmp_path, store):
    mirror, log = machine(tmp_path, store, "a")
    grow(mirror, log, b"one\n")
    packed_path(log).write_bytes(b"packed")
    log.unlink()
    mirror.seal(log)
    assert store.sizes("round-1") == {"search-00000.log.gz": 6}
    assert store.sizes("round-1", "search-00000.log") == {}
    other, copy = machine(tmp_path, store, "b")
    other.fetch(copy)
    assert packed_path(copy).read_bytes() == b"packed"


def test_a_search_goes_on_on_another_machine(tmp_path, write_config, postgres, s3, served_cli, monkeypatch):
    """The first machine is lost with everything on it, in the middle of a shard."""
    from infra.configuration import load_config
    from infra.workspace import Workspace
    from rstar_core.errors import EngineUnavailableError
    from tasks import search

    address, data = f"{postgres.address()}?schema=moving", f"s3://{s3.BUCKET}/moving"
    where = f'[catalog]\nmetadata = "{address}"\ndata = "{data}"\n'
    first, second = write_config(tmp_path / "a", trains=False), write_config(tmp_path / "b", trains=False)
    for config in (first, second):
        config.write_text(config.read_text() + where)
    served_cli.answer("ingest", first)
    campaign = load_config(first)
    ids = search.plan_search.fn(campaign, 1)

    real, asked = search.grow_shard, []

    def lost_in_the_middle(jobs, services, log, pulse):
        propose, left = services.policy.propose, iter(range(12))

        class Dies:
            async def propose(self, request):
                if next(left, None) is None:
                    raise EngineUnavailableError("the machine is lost")
                return await propose(request)

        from dataclasses import replace

        return real(jobs, replace(services, policy=Dies()), log, pulse)

    monkeypatch.setattr(search, "grow_shard", lost_in_the_middle)
    with contextlib.suppress(EngineUnavailableError):
        search.search_shard.fn(campaign, 1, ids[0])
    shutil.rmtree(tmp_path / "a" / "runs")

    def counted(jobs, services, log, pulse):
        asked.extend(len(tree.logged) for tree in log.trees)
        return real(jobs, services, log, pulse)

    monkeypatch.setattr(search, "grow_shard", counted)
    moved = load_config(second)
    search.search_shard.fn(moved, 1, ids[0])
    assert sum(asked) >= 12  # replies that were paid for on the machine that is gone
    with Workspace.of(moved).open_catalog(read_only=True) as catalog:
        assert [row.shard_id for row in catalog.done_shards(1)] == [ids[0]]
