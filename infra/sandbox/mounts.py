"""A root of its own: in it lies the Python installation, read-only, and nothing else.

What Landlock forbids to open still has a name, a size and a date that `stat` tells. In this root it has not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.sandbox import kernel

if TYPE_CHECKING:
    from collections.abc import Iterable

_STAGE: Final = "/tmp"  # noqa: S108 - exists everywhere; what is mounted over it only this process sees
_READ_ONLY: Final = kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV


def change_root(folders: Iterable[str]) -> None:
    """Make a root that holds `folders` alone. Needs a mount namespace of its own. Raises: OSError."""
    kept = [folder for folder in _outermost(folders) if Path(folder).is_dir()]
    # Opened before the stage covers /tmp, under which they may lie.
    opened = {folder: os.open(folder, os.O_PATH | os.O_CLOEXEC) for folder in kept}
    null = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    for folder, descriptor in opened.items():
        target = _STAGE + folder
        Path(target).mkdir(parents=True, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{descriptor}", target, "", kernel.MS_BIND | kernel.MS_REC)
        kernel.mount("", target, "", kernel.MS_REMOUNT | kernel.MS_BIND | _READ_ONLY)
        os.close(descriptor)
    Path(_STAGE + os.devnull).parent.mkdir()
    Path(_STAGE + os.devnull).touch()
    kernel.mount(f"/proc/self/fd/{null}", _STAGE + os.devnull, "", kernel.MS_BIND)
    os.close(null)
    kernel.mount("", _STAGE, "", kernel.MS_REMOUNT | _READ_ONLY)
    os.chdir(_STAGE)
    kernel.call("pivot_root", kernel.buffer(b".\0"), kernel.buffer(b".\0"))
    kernel.unmount_lazily(".")
    os.chdir("/")


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders without those that lie below another."""
    kept: list[str] = []
    for folder in sorted({os.path.realpath(each) for each in folders} | set(folders)):
        if not any(Path(folder).is_relative_to(outer) for outer in kept):
            kept.append(folder)
    return kept
