"""Commands about models: `rstar models …`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.options import DEMO_CAMPAIGN, AsJson, Campaign

models_app = typer.Typer(no_args_is_help=True, help="Models on this machine, in a campaign and in a store.")
OfCampaign = Annotated[str, typer.Argument(help="Its name in the campaign, for example round-1/ppm.")]
Destination = Annotated[
    str | None,
    typer.Option("--to", help="Folder or s3://bucket/prefix; else beside the catalog's data in S3."),
]


@models_app.command("pull")
def models_pull(
    name: Annotated[
        str, typer.Argument(help="Registry name, hub id, address, or a name in the campaign.")
    ] = "smollm2-135m-instruct",
    campaign: Campaign = DEMO_CAMPAIGN,
) -> None:
    """Fetch a model so that later commands need no network, check it, and print its folder."""
    from infra.models.registry import locate  # noqa: PLC0415 - see flows/cli.py

    print(locate(campaign, name)[0])


@models_app.command("push")
def models_push(model: OfCampaign, to: Destination = None, campaign: Campaign = DEMO_CAMPAIGN) -> None:
    """Copy a model to a folder or to S3, whole or not at all, and print its address."""
    from infra.models.embedded import say_on_stderr  # noqa: PLC0415 - see flows/cli.py
    from infra.models.registry import push_model  # noqa: PLC0415 - as above

    print(push_model(campaign, model, to, say_on_stderr))


@models_app.command("publish")
def models_publish(model: OfCampaign, to: Destination = None, campaign: Campaign = DEMO_CAMPAIGN) -> None:
    """Push a model and let the catalog name its address, so that every machine gets it from there."""
    from infra.models.embedded import say_on_stderr  # noqa: PLC0415 - see flows/cli.py
    from infra.models.registry import publish  # noqa: PLC0415 - as above

    print(publish(campaign, model, to, say_on_stderr))


@models_app.command("forget")
def models_forget(model: OfCampaign, campaign: Campaign = DEMO_CAMPAIGN) -> None:
    """Take a model back, so that `rstar run` trains it again; its folder is set aside."""
    from infra.models.embedded import say_on_stderr  # noqa: PLC0415 - see flows/cli.py
    from infra.models.forgetting import forget  # noqa: PLC0415 - as above

    forget(campaign, model, say_on_stderr)


@models_app.command("list")
def models_list(campaign: Campaign = DEMO_CAMPAIGN, as_json: AsJson = False) -> None:
    """Models of a campaign with their held-out results, and the models that were pulled."""
    from flows.asking import print_models  # noqa: PLC0415 - see flows/cli.py

    print_models(campaign, as_json=as_json)


@models_app.command("show")
def models_show(model: OfCampaign, campaign: Campaign = DEMO_CAMPAIGN, as_json: AsJson = False) -> None:
    """One model: where it came from, its digest, and every figure of its training."""
    from flows.asking import print_model  # noqa: PLC0415 - see flows/cli.py

    print_model(campaign, model, as_json=as_json)
