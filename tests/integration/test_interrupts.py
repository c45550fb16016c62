"""Ctrl-C in the middle of a query, of which DuckDB makes an error of its own."""

import os
import signal
import threading

import duckdb
import pytest

from infra.catalog import Catalog, connection
from infra.catalog.complaints import interruptible


@pytest.fixture
def folder(tmp_path, empty_catalog):
    return empty_catalog(tmp_path / "campaign")


def test_duckdb_hides_ctrl_c_and_we_do_not():
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), interruptible():
        duckdb.sql("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b").fetchall()
    timer.join()


def test_ctrl_c_while_a_catalog_is_opened_is_an_interrupt(folder, monkeypatch):
    def interrupted(*_):
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()

    monkeypatch.setattr(connection, "_execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Catalog.open(folder, read_only=True)


def test_a_command_says_that_it_was_stopped_wherever_ctrl_c_met_it(folder, cli, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise RuntimeError("Query interrupted") from KeyboardInterrupt()

    monkeypatch.setattr("flows.running._said_stopped", threading.Event())
    monkeypatch.setattr(Catalog, "coverage", interrupted)
    stopped = cli("coverage", "-c", folder)
    assert stopped.returncode == 130
    assert stopped.stderr == "rstar: stopped; the same command goes on with what is missing\n"
