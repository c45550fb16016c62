"""`rstar catalog …`: the care of the catalog itself."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options import DEMO_CAMPAIGN, AsJson, Campaign, DryRun

catalog_app = typer.Typer(no_args_is_help=True, help="Care of the catalog itself.")


@catalog_app.command("check")
def check_catalog(
    campaign: Campaign = DEMO_CAMPAIGN,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Read every byte and compare it with what maintenance saw.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the catalog with its files and itself; each difference is named, and the exit code is 1."""
    from flows.asking import print_differences  # noqa: PLC0415 - kept off the path of --help

    raise typer.Exit(print_differences(campaign, checksums=checksums, as_json=as_json))


@catalog_app.command("shell")
def shell(campaign: Campaign = DEMO_CAMPAIGN) -> None:
    """The catalog in DuckDB's own shell, for reading; SQL may be piped in."""
    from infra.catalog.places import locate  # noqa: PLC0415 - kept off the path of --help
    from infra.catalog.shell import open_shell  # noqa: PLC0415 - as above

    raise typer.Exit(open_shell(locate(campaign)))


@catalog_app.command("maintain")
def maintain_catalog(
    campaign: Campaign = DEMO_CAMPAIGN,
    keep_days: Annotated[float, typer.Option(help="Keep all versions younger than this.", min=0)] = 7.0,
    dry_run: DryRun = False,
) -> None:
    """Merge small files, forget old versions without a name or a model, delete what is unused."""
    if dry_run:
        from flows.dry_run import of_maintenance  # noqa: PLC0415 - kept off the path of --help

        print(of_maintenance(campaign, keep_days))
        return
    from flows.maintenance import maintain_flow  # noqa: PLC0415 - kept off the path of --help
    from flows.running import session  # noqa: PLC0415 - as above

    with session():
        done = maintain_flow(campaign, keep_days)
    if done is not None:
        print(f"{done.expired} versions forgotten, {done.removed} files removed, {done.files} files left")


@catalog_app.command("upgrade")
def upgrade_catalog(campaign: Campaign = DEMO_CAMPAIGN) -> None:
    """Bring the catalog of an older version of this code up to date."""
    from infra.catalog.catalog import Catalog  # noqa: PLC0415 - kept off the path of --help
    from infra.catalog.schema import SCHEMA_VERSION  # noqa: PLC0415 - as above

    Catalog.open(campaign).close()
    print(f"the catalog {campaign} has schema {SCHEMA_VERSION}")
