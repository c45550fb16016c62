"""`rstar doctor`: what works on this machine, and one sentence on what to do about the rest."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.table import Table

from infra.models.resolve import default_cache_dir, list_models
from infra.sandbox.sandbox import Sandbox
from infra.serving.environment import find_python
from rstar_core.config import SandboxConfig
from rstar_core.errors import ConfigError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

_GIBIBYTE = 1 << 30
_NEEDED_MEMORY_GIB = 8
_NEEDED_DISK_GIB = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report; only a required check that fails makes the exit code non-zero."""

    name: str
    works: bool
    required: bool
    detail: str


def print_checks(*, as_json: bool) -> bool:
    """Print every check; whether all required ones hold."""
    checks = [*_machine(), *_sandbox(), *_models(), *_optional()]
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        table = Table("check", "", "what it says", box=None)
        for check in checks:
            mark = "[green]ok[/]" if check.works else ("[red]no[/]" if check.required else "[yellow]no[/]")
            table.add_row(check.name, mark, check.detail)
        Console().print(table)
    return all(check.works or not check.required for check in checks)


def _machine() -> Iterator[Check]:
    memory = psutil.virtual_memory().total / _GIBIBYTE
    yield Check("memory", memory >= _NEEDED_MEMORY_GIB, False, f"{memory:.0f} GiB; the demo needs under 8")
    disk = shutil.disk_usage(Path.cwd()).free / _GIBIBYTE
    yield Check("disk", disk >= _NEEDED_DISK_GIB, True, f"{disk:.0f} GiB free here; a campaign needs about 2")
    yield Check("cores", True, False, f"{os.cpu_count()}")


def _sandbox() -> Iterator[Check]:
    floor = SandboxConfig().minimum_isolation
    with_layers = Sandbox(SandboxConfig(minimum_isolation="none"))
    try:
        for name, active, detail in with_layers.probe():
            yield Check(f"sandbox: {name}", active, False, detail)
    except SandboxError as error:
        yield Check("sandbox", False, True, str(error))
        return
    finally:
        with_layers.close()
    default = Sandbox(SandboxConfig())
    try:
        default.start()
        yield Check("sandbox", True, True, f"isolates at least to '{floor}', the default floor")
    except SandboxError as error:
        yield Check("sandbox", False, True, str(error))
    finally:
        default.close()


def _models() -> Iterator[Check]:
    pulled = [model.name for model in list_models() if model.present]
    detail = f"{', '.join(pulled)} in {default_cache_dir()}" if pulled else "none; run: rstar models pull"
    yield Check("models", bool(pulled), False, detail)


def _optional() -> Iterator[Check]:
    import torch  # noqa: PLC0415 - takes a second; the checks before it print without it

    gpu = torch.cuda.is_available()
    name = (
        torch.cuda.get_device_name() if gpu else "none; models run on the CPU, which is enough for the demo"
    )
    yield Check("GPU", gpu, False, name)
    try:
        yield Check("vllm", True, False, str(find_python()))
    except ConfigError as error:
        yield Check("vllm", False, False, str(error))
    server = os.environ.get("PREFECT_API_URL")
    yield Check("Prefect server", bool(server), False, server or "none set; runs start a temporary one")
