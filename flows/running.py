"""Running a campaign from the command line: environment, display, flow, summary."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import console, make_display
from flows.server import start_temporary_server
from infra.memory import PeakMemory
from infra.progress import show_on
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.engines.base import Closable
    from rstar_core.config import CampaignConfig

PROJECT = Path(__file__).resolve().parents[1]
DEMO_CONFIG = PROJECT / "configs" / "demo.toml"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
_GRACE_SECONDS = 5.0
_said_stopped = threading.Event()


def prepare_environment() -> None:
    """Defaults that have to be in place before Prefect and torch are imported; what is set already stays.

    Nothing phones home. Prefect's own log goes to its server alone: the display says the same, and a known
    error is one sentence, not a traceback. OpenMP threads sleep while they wait: spinning ones make decoding
    up to 6 times slower as soon as the sandbox wants a core (docs/log.md).
    """
    if "PREFECT_LOGGING_LEVEL" not in os.environ:  # whoever sets it wants to see it
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def run_campaign(config: CampaignConfig, summary_file: Path | None) -> None:
    """Run what is missing of a campaign, show its report, and write its summary."""
    from flows.campaign import campaign_flow  # noqa: PLC0415 - Prefect takes a second to import

    if summary_file is not None:
        _make_folder_of(summary_file)  # a mistake in its path shows now, not after hours
    started = time.perf_counter()
    with PeakMemory() as memory, session():
        report = campaign_flow(config)
    seconds = time.perf_counter() - started
    show_report(report)
    if summary_file is not None:
        write_summary(config, summary_file, seconds, memory.peak_mb)
    console.print(f"{seconds:.0f} s, peak memory {memory.peak_mb / 1024:.1f} GiB, report: {report}")


def show_report(report: Path) -> None:
    """The written report on the terminal."""
    from rich.console import Console  # noqa: PLC0415 - kept off the path of --help
    from rich.markdown import Markdown  # noqa: PLC0415 - as above

    Console().print(Markdown(report.read_text(encoding="utf-8")))


def write_summary(config: CampaignConfig, path: Path, seconds: float, peak_memory_mb: float) -> None:
    """The summary file of `rstar demo --summary`."""
    from infra.report import summarise  # noqa: PLC0415 - kept off the path of --help
    from infra.workspace import Workspace  # noqa: PLC0415 - as above

    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        summary: dict[str, Any] = summarise(catalog).as_json()
    summary.update(seconds=seconds, peak_memory_mb=peak_memory_mb)
    try:
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the summary cannot be written to {path}: {error.strerror}") from error


@contextmanager
def session() -> Iterator[None]:
    """Flows may run meanwhile: progress is shown on this terminal, and Ctrl-C ends them within seconds.

    So do SIGTERM and a closed terminal. Prefect answers them only when the running shards have ended: after a
    grace time, or at the second signal, the process ends hard. Like a power cut, that loses only what was not
    committed.
    """
    from prefect import tags  # noqa: PLC0415 - slow
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: PLC0415 - slow

    display = make_display()
    show_on(display)

    def interrupt(_number: int, _frame: object) -> None:
        for number in handled:
            signal.signal(number, lambda *_: _end_now(display))
        _end_after_grace(display)
        raise KeyboardInterrupt

    handled = [each for each in _STOP_SIGNALS if signal.getsignal(each) != signal.SIG_IGN]  # as nohup sets it
    for number in handled:
        signal.signal(number, interrupt)  # for the rest of this process
    _watch_for_sigterm(display)
    # A flow that sends heartbeats takes a second longer to end. They tell a server that a run has died; this
    # run's process is watched by whoever started it, and what it left undone stands in the catalog.
    beats = (
        {} if "PREFECT_FLOWS_HEARTBEAT_FREQUENCY" in os.environ else {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    )
    try:
        start_temporary_server()
        with temporary_settings(beats), tags("rstar"):  # as the deployments have it: alerts are for both
            yield
    except RuntimeError as error:
        if "reach API" not in str(error):
            raise
        raise ConfigError(
            f"Prefect's server does not answer ({error}); start it, or unset PREFECT_API_URL for a brief one"
        ) from error
    finally:
        display.close()


def say_stopped() -> None:
    """Tell once that the run was interrupted and how it goes on."""
    if not _said_stopped.is_set():
        _said_stopped.set()
        print("rstar: stopped; the same command goes on with what is missing", file=sys.stderr, flush=True)


def _watch_for_sigterm(display: Closable) -> None:
    """Begin the grace time at SIGTERM, whoever handles it.

    While a flow runs, Prefect has put its own handler in the place of ours. Python writes the number of each
    signal into this pipe all the same.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        with os.fdopen(reader, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] == signal.SIGTERM:
                    _end_after_grace(display)

    threading.Thread(target=watch, name="rstar-sigterm", daemon=True).start()


def _end_after_grace(display: Closable) -> None:
    timer = threading.Timer(_GRACE_SECONDS, _end_now, [display])
    timer.daemon = True
    timer.start()


def _end_now(display: Closable) -> None:
    import psutil  # noqa: PLC0415 - kept off the path of --help

    try:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # sandboxed programs come and go
                child.kill()
        display.close()  # a terminal gets its cursor back
        say_stopped()
    finally:
        os._exit(130)


def _make_folder_of(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {path.parent} for the summary cannot be made: {error.strerror}"
        ) from error
