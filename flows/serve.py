"""`rstar serve`: one model behind an address, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.options import DEMO_CAMPAIGN, Campaign

if TYPE_CHECKING:
    from pathlib import Path

    from rstar_core.engine_config import ServerConfig

Role = Literal["policy", "ppm"]

_POLL_SECONDS = 0.5


def serve(
    role: Annotated[Role, typer.Argument(help="policy proposes steps, ppm scores them.")],
    model: Annotated[
        str,
        typer.Argument(
            help="A model of the campaign (round-2/policy), a folder, an address, or a pulled name."
        ),
    ],
    more: Annotated[
        list[str] | None, typer.Argument(help="After --: more arguments of vLLM.", metavar="[-- ARGUMENT]...")
    ] = None,
    campaign: Campaign = DEMO_CAMPAIGN,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; a free one without it.", min=1, max=65535)] = None,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float16", "float32"],
        typer.Option(help="auto: the faster of bfloat16 and float32."),
    ] = "auto",
) -> None:
    """Start a vLLM server with a policy or a PPM and keep it alive; Ctrl-C stops it."""
    from rstar_core.engine_config import PolicyConfig, ScorerConfig  # noqa: PLC0415 - see flows/cli.py

    settings = {"engine": "vllm", "dtype": dtype, "server_arguments": tuple(more or ())}
    kind = PolicyConfig if role == "policy" else ScorerConfig
    directory, name = _find(role, model, campaign)
    _keep_alive(role, directory, name, kind.model_validate(settings), host, port)


def _keep_alive(
    role: Role, directory: Path, name: str, config: ServerConfig, host: str, port: int | None
) -> None:
    from infra.serving import ModelServer  # noqa: PLC0415 - see flows/cli.py
    from infra.serving.environment import KEY_VARIABLE  # noqa: PLC0415 - as above

    signal.signal(signal.SIGTERM, _as_interrupt)
    runner: Literal["generate", "pooling"] = "generate" if role == "policy" else "pooling"
    server = ModelServer(directory, name, runner, config, host=host, port=port, keyed=True)
    try:
        print(f"vLLM is starting with {directory}; its log is {server.log}", flush=True)
        server.wait()
        print(f"{name} is served at {server.url}; Ctrl-C stops it. In a configuration:\n")
        section = role if role == "policy" else "scorer"
        key = f'api_key_env = "{KEY_VARIABLE}"\n' if os.environ.get(KEY_VARIABLE) else ""
        print(f'[{section}]\nengine = "vllm"\nbase_url = "{server.url}"\n{key}', flush=True)
        while True:
            time.sleep(_POLL_SECONDS)
            server.check()
    except KeyboardInterrupt:
        print("stopping")
    finally:
        server.close()


def _find(role: Role, model: str, campaign: str) -> tuple[Path, str]:
    """Where the model lies and under which name it is served.

    Raises:
        ModelError: There is none, it is not of this role, or it is not the one of the catalog.
    """
    from infra.models.layout import check_role  # noqa: PLC0415 - see flows/cli.py
    from infra.models.registry import locate  # noqa: PLC0415 - as above
    from infra.services import served_name  # noqa: PLC0415 - as above

    directory, row = locate(campaign, model)
    check_role(directory, role)
    return directory, model if row is None else served_name(row.model_id, row.location, row.digest)


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
