"""Which code made something."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1]


def code_version() -> str:
    """The version of this code, and the commit where it runs from a checkout: `0.1.0+3f2a91c04d1e`.

    A `.dirty` behind it says that files had been changed since that commit.
    """
    try:
        number = version("rstar")
    except PackageNotFoundError:
        number = "unknown"
    if not (_PROJECT / ".git").exists():
        return number
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=.dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return number
    return f"{number}+{done.stdout.strip()}" if done.returncode == 0 else number
