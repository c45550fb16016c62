"""What the commands have in common: their options, and how these are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ConfigFile = Annotated[Path, typer.Argument(help="Campaign configuration, a TOML file.", metavar="CONFIG")]
Campaign = Annotated[
    str,
    typer.Option(
        "--campaign",
        "-c",
        help="Folder of a campaign, or the postgresql:// address of its catalog.",
        envvar="RSTAR_CAMPAIGN",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV for programs.")]
AtVersion = Annotated[
    str | None, typer.Option("--at", help="Tag or number of a version to ask instead of the newest.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
SummaryFile = Annotated[
    Path | None, typer.Option("--summary", help="Write the figures to this file as JSON.")
]
Seed = Annotated[int | None, typer.Option(help="Replace the configuration's seed.", min=0)]
Root = Annotated[str | None, typer.Option(help="Replace the folder that holds the campaign.")]
DEMO_CAMPAIGN = "runs/demo"


def form_of(as_json: bool, as_csv: bool = False) -> Literal["table", "json", "csv"]:
    """How an answer is to be printed."""
    return "json" if as_json else "csv" if as_csv else "table"


def load(path: Path, seed: int | None, root: str | None) -> Any:  # noqa: ANN401 - the type costs an import
    """The configuration with what the command line replaces."""
    from infra.configuration import apply_overrides, load_config  # noqa: PLC0415 - kept off the path of --help

    given = {"seed": seed, "root": root}
    return apply_overrides(
        load_config(path), {name: value for name, value in given.items() if value is not None}
    )
