"""Whole campaigns on parts that are real but small: a scripted policy, a model of 30,000 weights."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.running import prepare_environment

prepare_environment()  # before anything imports Prefect, as the command line does
# A shell starts background jobs deaf to Ctrl-C, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).parents[2]
_STOP_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)

UNHURRIED = 24
"""Rollouts of a search that is still at work when a test on a busy machine comes to see it."""

TRAIN = """num_epochs = 1
learning_rate = 1e-3
batch_size = 8
max_length = 512
"""


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory):
    """A function that puts an empty catalog into a folder; a copy, for making one takes half a second."""
    from infra.catalog import Catalog

    template = tmp_path_factory.mktemp("empty-catalog")
    Catalog.open(template, create=True).close()

    def put(folder):
        return shutil.copytree(template, folder, dirs_exist_ok=True)

    return put


@pytest.fixture(scope="session")
def prefect_server():
    """Address of one Prefect server for all tests; flows of this process use it too."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=120),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield PREFECT_API_URL.value()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    from infra.training.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session")
def problem_files(tmp_path_factory):
    """Questions that only luck answers: the scripted policy prints 0, 1, 2 or 3, and never 7."""
    folder = tmp_path_factory.mktemp("problems")
    for name, count, answers in (("gsm", 6, (0, 1, 2, 3)), ("math", 6, (3, 2, 7)), ("held", 8, (0, 1, 2, 3))):
        write_problems(folder, name, count, answers)
    return folder


def write_problems(folder, name, count, answers):
    """A file of so many problems, whose answers take turns."""
    rows = [
        {"question": f"Which number am I thinking of, {name} {i}?", "answer": str(answers[i % len(answers)])}
        for i in range(count)
    ]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def write_config(problem_files, tiny_model):
    """A function that writes a campaign's configuration under a folder and returns the file."""

    def write(
        folder,
        *,
        rounds=1,
        ppm=True,
        shard_size=5,
        model=tiny_model,
        engine="scripted",
        more=0,
        trains=True,
        rollouts=6,
    ):
        search = f"[rounds.search]\nnum_candidates = 4\nnum_rollouts = {rollouts}\nmax_depth = 6\n"
        parts = [f'name = "small"\nseed = 3\nroot = "{folder / "runs"}"\nshard_size = {shard_size}\n']
        folder.mkdir(parents=True, exist_ok=True)
        files = [problem_files / f"{name}.jsonl" for name in ("gsm", "math", "held")]
        if more:
            files.append(write_problems(folder, "more", more, (7,)))
        for path, tier in zip(files, ("gsm", "math", "other", "other"), strict=False):
            name = path.stem
            split = "heldout" if name == "held" else "train"
            parts.append(
                f'[[sources]]\nkind = "file"\nname = "{name}"\npath = "{path}"\n'
                f'tier = "{tier}"\nsplit = "{split}"\n'
            )
        parts.append(f'[policy]\nengine = "{engine}"\nmodel = "{model}"\n')
        for number in range(1, rounds + 1):
            annotation = 'annotation = "ppm"\n' if number > 1 and ppm else ""
            parts.append(f"[[rounds]]\n{search}{annotation}")
            parts.append(f"[rounds.sft]\n{TRAIN}" if trains else "")
            parts.append(f"[rounds.ppm]\n{TRAIN}" if trains and ppm else "")
        parts.append("[evaluation]\nnum_candidates = 4\nnum_rollouts = 2\n")
        file = folder / "campaign.toml"
        file.write_text("".join(parts))
        return file

    return write


class Answers:
    """What a command printed and how it ended; the judgement is the same however it was run."""

    def __call__(self, *arguments, text=""):
        raise NotImplementedError

    def answer(self, *arguments, text=""):
        """What a command that must succeed printed."""
        done = self(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def complaint(self, *arguments, text=""):
        """The one sentence of a command that must fail with a known error."""
        done = self(*arguments, text=text)
        assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        complaints = [line for line in done.stderr.splitlines() if line.startswith("rstar: ")]
        assert len(complaints) == 1, done.stderr
        assert done.stderr.splitlines()[-1] == complaints[0]
        return complaints[0]


class CommandLine(Answers):
    """The `rstar` command in this process: everything but the start of Python, which takes seconds."""

    def __call__(self, *arguments, text=""):
        from flows.cli import main
        from infra.progress import Nobody, show_on

        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        returncode = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "argv", ["rstar", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.StringIO(text))
            patch.setenv("COLUMNS", "200")
            try:
                main()
            except SystemExit as end:
                returncode = end.code or 0
            finally:  # a command may change its process; this one goes on
                show_on(Nobody())
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                if (pipe := signal.set_wakeup_fd(-1)) >= 0:
                    os.close(pipe)
        return subprocess.CompletedProcess(arguments, returncode, out.getvalue(), err.getvalue())


class CommandProcess(Answers):
    """The `rstar` command as a user starts it: another process."""

    def __init__(self, **environment):
        self._environment = {**os.environ, "COLUMNS": "200", "OMP_WAIT_POLICY": "PASSIVE", **environment}
        self._started = []

    def start(self, *arguments, program=("-m", "flows.cli")):
        """A running command, the leader of its own process group."""
        process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=PROJECT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self):
        """End what a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def __call__(self, *arguments, text="", timeout=280):
        process = self.start(*arguments)
        out, err = process.communicate(text, timeout=timeout)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="session")
def cli():
    """The command line in this process, for what needs no Prefect server."""
    return CommandLine()


@pytest.fixture(scope="session")
def served_cli(prefect_server):
    """The command line in this process, with the tests' Prefect server."""
    assert prefect_server
    return CommandLine()


@pytest.fixture
def process():
    """The command line as a process; flows start Prefect's temporary server, which takes some 10 s."""
    command_line = CommandProcess()
    yield command_line
    command_line.close()


@pytest.fixture
def served_process(prefect_server):
    """The command line as a process, with the tests' Prefect server."""
    command_line = CommandProcess(PREFECT_API_URL=prefect_server)
    yield command_line
    command_line.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, write_config):
    """Folder for a campaign of one round that nobody kills; the test that watches it runs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_config(folder, rollouts=UNHURRIED)
    return folder


@pytest.fixture
def end_abruptly():
    """A function that ends a running command by a signal and sees that nothing it started lives on."""

    def end(process, number=signal.SIGKILL, *, group=True):
        family = psutil.Process(process.pid).children(recursive=True)
        if group:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        _, errors = process.communicate(timeout=60)
        deadline = time.monotonic() + 60
        while (living := [each for each in family if lives(each.pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not living, f"these outlived the command: {[each.cmdline() for each in living]}"
        return errors

    return end


def until(condition, seconds=60):
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def lives(number):
    """Whether there is such a process that has not ended."""
    try:
        return psutil.Process(number).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
