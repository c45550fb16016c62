"""Where vLLM is installed, and how it is told what to serve.

It lives in an environment of its own, because it pins torch, transformers and much else.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from infra.models.layout import max_positions
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rstar_core.engine_config import ServerConfig

Runner = Literal["generate", "pooling"]

KEY_VARIABLE = "VLLM_API_KEY"
_OWN = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"
_CPU = Path("/proc/cpuinfo")
_MEBIBYTES = 1024
_BLOCK_TOKENS = 32
_IN_ENGINE = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
_IN_PARTS = {
    "--tensor-parallel-size",
    "-tp",
    "--pipeline-parallel-size",
    "-pp",
    "--data-parallel-size",
    "-dp",
    "--distributed-executor-backend",
}
_MAX_LENGTH = 8192
"""Tokens of prompt and answer on a CPU; more than any tree asks for."""


def find_python() -> Path:
    """The interpreter that has vLLM: `$RSTAR_VLLM_PYTHON`, what `make vllm-cpu` made, or our own.

    Raises:
        ConfigError: There is none.
    """
    given = os.environ.get("RSTAR_VLLM_PYTHON")
    if given:
        python = Path(given).expanduser()
        if not os.access(python, os.X_OK):
            raise ConfigError(f"RSTAR_VLLM_PYTHON is {given}, which is no program; name an interpreter")
        return python
    if _OWN.exists():
        return _OWN
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    raise ConfigError(
        "vLLM is not installed here; run `make vllm-cpu`, install 'rstar[vllm]' on a machine with a GPU, or "
        "name an interpreter that has it in RSTAR_VLLM_PYTHON"
    )


def has_gpu() -> bool:
    """Whether a GPU of NVIDIA or AMD is there, without loading torch."""
    return any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/kfd"))


def command(
    python: Path, model_dir: Path, name: str, runner: Runner, address: tuple[str, int], config: ServerConfig
) -> list[str]:
    """The command line of a server."""
    host, port = address
    arguments = {
        "model": str(model_dir),
        "served-model-name": name,
        "runner": runner,
        "host": host,
        "port": str(port),
        "dtype": _fastest() if config.dtype == "auto" else config.dtype,
        "max-num-seqs": str(config.max_sequences),
    }
    given = [f"--{key}={value}" for key, value in arguments.items()]
    flags = ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    flags += [] if has_gpu() else _for_cpu(model_dir, config)
    # Not `vllm serve`: in the CPU's package that program looks for itself under another name and fails.
    return [
        str(python),
        "-m",
        "vllm.entrypoints.openai.api_server",
        *given,
        *flags,
        *config.server_arguments,
    ]


def _fastest() -> str:
    """bfloat16; float32 on a processor without instructions for it, 4 times faster there (docs/log.md)."""
    if has_gpu():
        return "bfloat16"
    try:
        flags = set(_CPU.read_text().split())
    except OSError:
        return "bfloat16"
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def _for_cpu(model_dir: Path, config: ServerConfig) -> list[str]:
    """Compiling takes minutes there and gains little. A prompt is read at once, not in parts.

    The model runs in the engine's process: otherwise that process waits for a worker by spinning, and takes a
    core from it (docs/log.md). By its short name vLLM replaces this executor, because it cannot bind threads,
    which `environment` asks it not to do.

    The prefix cache keeps whole blocks: of 128 tokens, as is usual there, a short prompt has none.
    vLLM 0.32 takes back what it sampled for part of a prompt by moving the seed's generator, and that of a
    CPU cannot be moved: with a seed and a prompt in parts the whole server ends.
    """
    longest = min(_positions(model_dir), _MAX_LENGTH)
    parts = [
        "--no-enable-chunked-prefill",
        f"--max-model-len={longest}",
        f"--max-num-batched-tokens={longest}",
    ]
    given = {each.partition("=")[0].replace("_", "-") for each in config.server_arguments}
    if not given & _IN_PARTS:
        parts.append(f"--distributed-executor-backend={_IN_ENGINE}")
    return ["--enforce-eager", f"--block-size={_BLOCK_TOKENS}", *parts]


def longest_served(model_dir: Path, arguments: Sequence[str], *, ours: bool) -> int:
    """Tokens of the longest input that a server with this model takes, as far as it is known here.

    Args:
        model_dir: The model.
        arguments: What a server of our own is told besides.
        ours: Whether it is one; of another's only the model is known.
    """
    longest = _positions(model_dir)
    if not ours:
        return longest
    if not has_gpu():
        longest = min(longest, _MAX_LENGTH)
    words = [word for each in arguments for word in each.split("=", 1)]
    for name, value in pairwise(words):
        if name.replace("_", "-") == "--max-model-len" and value.isdecimal():
            longest = min(longest, int(value))
    return longest


def _positions(model_dir: Path) -> int:
    return max_positions(model_dir) or _MAX_LENGTH


def environment(config: ServerConfig, *, keyed: bool = False) -> dict[str, str]:
    """Environment of a server: nothing phones home, and what is set already stays.

    On a CPU vLLM would pin its threads and leave one core out, so that two servers on two cores share one.

    Args:
        config: How it serves.
        keyed: Whether it wants the key in $VLLM_API_KEY, if there is one. A server that we alone ask must
            not: we send the key that the configuration names, which is another.
    """
    gibibytes = max(1, -(-config.cache_mb // _MEBIBYTES))
    given = {name: value for name, value in os.environ.items() if keyed or name != KEY_VARIABLE}
    return {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(gibibytes),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        **given,
    }
