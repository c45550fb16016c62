"""Commands about models: `rstar models …`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options import DEMO_CAMPAIGN, AsJson, Campaign

models_app = typer.Typer(no_args_is_help=True, help="Models on this machine and in a campaign.")


@models_app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="Registry name or hub id.")] = "smollm2-135m-instruct",
) -> None:
    """Fetch a model so that later commands need no network."""
    from infra.models.resolve import resolve_model  # noqa: PLC0415 - see flows/cli.py

    print(resolve_model(name))


@models_app.command("list")
def models_list(campaign: Campaign = DEMO_CAMPAIGN, as_json: AsJson = False) -> None:
    """Models of a campaign with their held-out results, and the models that were pulled."""
    from flows.asking import print_models  # noqa: PLC0415 - see flows/cli.py

    print_models(campaign, as_json=as_json)


@models_app.command("show")
def models_show(
    model: Annotated[str, typer.Argument(help="Its name in the campaign, for example round-1/ppm.")],
    campaign: Campaign = DEMO_CAMPAIGN,
    as_json: AsJson = False,
) -> None:
    """One model: where it came from, its weights' digest, and every figure of its training."""
    from flows.asking import print_model  # noqa: PLC0415 - see flows/cli.py

    print_model(campaign, model, as_json=as_json)
