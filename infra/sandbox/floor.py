"""The isolation below which the sandbox refuses to run anything."""

from __future__ import annotations

from typing import Final

from rstar_core.errors import SandboxError

Layer = tuple[str, bool, str]
"""Name, whether it is active, and how or why not."""

_NEEDED: Final = {
    "none": (),
    "rlimits": ("rlimits",),
    "seccomp": ("rlimits", "no_new_privs", "seccomp"),
    "namespaces": ("rlimits", "no_new_privs", "seccomp", "landlock", "namespaces"),
}


def check_isolation(layers: tuple[Layer, ...], minimum: str) -> None:
    """Refuse a host that isolates less than `minimum`. Raises: SandboxError."""
    state = {name: (active, detail) for name, active, detail in layers}
    for name in _NEEDED[minimum]:
        active, detail = state.get(name, (False, "unknown"))
        if not active:
            raise SandboxError(
                f"This host cannot isolate programs as minimum_isolation = {minimum!r} asks, because {name} "
                f"does not work ({detail}); use a host that allows it or lower the setting."
            )
