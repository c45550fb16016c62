"""Artifacts: whole files replaced at once, logs that only grow, faults as one sentence."""

import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.artifacts import AppendLog, ArtifactStore
from rstar_core.errors import ArtifactError


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "runs")


@contextmanager
def small_files():
    """The kernel refuses to let a file grow over 1,000 bytes, as a full disk would; pytest's own log too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_text_comes_back_as_it_was_written_and_where_path_says(store, tmp_path):
    address = store.write_text("é\n", "round-1", "report.json")
    assert (
        address == store.path("round-1", "report.json") == str(tmp_path / "runs" / "round-1" / "report.json")
    )
    assert store.exists("round-1", "report.json")
    assert store.read_text("round-1", "report.json") == "é\n"
    assert not store.exists("round-2")


def test_rewriting_replaces_the_whole_file_and_leaves_nothing_beside_it(store):
    store.write_bytes(b"long old content", "a.bin")
    store.write_bytes(b"new", "a.bin")
    assert store.read_bytes("a.bin") == b"new"
    assert [path.name for path in store.local_path("a.bin").parent.iterdir()] == ["a.bin"]


def test_a_write_that_fails_keeps_the_old_file_whole(store):
    with small_files():
        store.write_bytes(b"old", "a.bin")
        with pytest.raises(ArtifactError, match=r"a\.bin cannot be written: File too large"):
            store.write_bytes(bytes(5000), "a.bin")
        assert store.read_bytes("a.bin") == b"old"
        assert len(list(store.local_path("a.bin").parent.iterdir())) == 1


def test_a_full_disk_is_named_with_what_to_do():
    message = "/dev/full cannot be written: No space left on device; free some space and run it again"
    with AppendLog(Path("/dev/full")) as log, pytest.raises(ArtifactError, match=message):
        log.append(b"x")


def test_missing_files_and_names_outside_the_root_are_refused(store):
    with pytest.raises(ArtifactError, match="cannot be read: it does not exist"):
        store.read_text("nothing.json")
    with pytest.raises(ArtifactError, match=r"leads out of"):
        store.write_text("x", "..", "outside.txt")
    with pytest.raises(ArtifactError, match=r"leads out of"):
        store.read_text("/etc/passwd")
    store.write_bytes(b"\xff", "bad.txt")
    with pytest.raises(ArtifactError, match="is not UTF-8 text"):
        store.read_text("bad.txt")


def test_a_remote_root_works_the_same_but_has_no_local_paths():
    store = ArtifactStore("memory://bucket/runs")
    assert store.write_text("hello", "a", "b.txt") == "memory:///bucket/runs/a/b.txt"
    assert store.read_text("a", "b.txt") == "hello"
    assert store.exists("a")
    with pytest.raises(ArtifactError, match="must be a local file"):
        store.local_path("a", "b.txt")
    with pytest.raises(ArtifactError, match="cannot be used"):
        ArtifactStore("nosuch://bucket")


def test_a_log_keeps_every_appended_record_across_openings(store):
    path = store.local_path("logs", "search-0.bin")
    with AppendLog(path) as log:
        log.append(b"one\n")
        assert path.read_bytes() == b"one\n"
    with AppendLog(path) as log:
        log.append(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_record_that_does_not_fit_leaves_no_part_of_itself(store):
    with small_files():
        path = store.local_path("search-0.bin")
        with AppendLog(path) as log:
            log.append(bytes(900))
            with pytest.raises(ArtifactError, match="cannot be written"):
                log.append(bytes(200))
            log.append(bytes(50))
        assert path.stat().st_size == 950
