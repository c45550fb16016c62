"""Commands about Prefect's server: `rstar up` and `rstar setup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import Root, load

if TYPE_CHECKING:
    from rstar_core.config import CampaignConfig

Configs = Annotated[
    list[Path] | None,
    typer.Argument(help="Campaigns to fill forms and schedules in for.", metavar="[CONFIG]..."),
]
GpuRuns = Annotated[int, typer.Option(help="Runs at a time that search or train.", min=1)]
CpuRuns = Annotated[int, typer.Option(help="Other runs at a time.", min=1)]


def up(
    configs: Configs = None,
    host: Annotated[str, typer.Option(help="Address that the server listens at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the server and its UI.", min=1, max=65535)] = 4200,
    gpu_runs: GpuRuns = 1,
    cpu_runs: CpuRuns = 4,
    root: Root = None,
) -> None:
    """Start Prefect's server, UI, workers and deployments on this machine; Ctrl-C stops them."""
    from flows.up import up as start  # noqa: PLC0415 - Prefect takes a second to import

    start(_loaded(configs, root), {"cpu": cpu_runs, "gpu": gpu_runs}, host, port)


def setup(configs: Configs = None, gpu_runs: GpuRuns = 1, cpu_runs: CpuRuns = 4, root: Root = None) -> None:
    """Make work pools, limits and deployments on the server at PREFECT_API_URL, or bring them up to date."""
    from flows.deployments import set_up  # noqa: PLC0415 - Prefect takes a second to import

    for name in set_up(_loaded(configs, root), {"cpu": cpu_runs, "gpu": gpu_runs}):
        print(name)


def _loaded(configs: list[Path] | None, root: str | None) -> list[CampaignConfig]:
    return [load(path, None, root) for path in configs or ()]
