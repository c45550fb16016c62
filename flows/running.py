"""Running a campaign from the command line: environment, display, flow, summary."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.console import console, make_display
from infra.memory import PeakMemory
from infra.progress import show_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rstar_core.config import CampaignConfig

PROJECT = Path(__file__).resolve().parents[1]
DEMO_CONFIG = PROJECT / "configs" / "demo.toml"


def prepare_environment() -> None:
    """Defaults that have to be in place before Prefect and torch are imported; what is set already stays.

    Nothing phones home, Prefect's own log stays quiet because the display says the same, and OpenMP threads
    sleep while they wait: spinning ones make decoding up to 6 times slower as soon as the sandbox wants a
    core (docs/log.md).
    """
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

    started = time.perf_counter()
    with PeakMemory() as memory, displayed():
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
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


@contextmanager
def displayed() -> Iterator[None]:
    """Show progress on this terminal meanwhile."""
    display = make_display()
    show_on(display)
    try:
        yield
    finally:
        display.close()
