"""The layers: which of them work here, and how a child puts them on.

Layers that children inherit (namespaces, no_new_privs, Landlock) are put on once, by the zygote; a child adds
what is its own: limits, user and system call filter.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.sandbox import kernel, landlock, mounts, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.sandbox.floor import Layer

NOBODY: Final = 65534
_MAX_OPEN_FILES: Final = 64
_MAX_PROCESSES: Final = 32  # threads included


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use: seconds of wall time, bytes beyond the image, bytes of output."""

    seconds: float
    memory: int
    output: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """How a child confines itself.

    Attributes:
        uid: User to become, None to stay.
        capabilities: Kept while the Python installation is closed to other users: reading it, and no more.
        filters: What a program and a prefix that may fork are put under, and what a candidate that is forked
            from such a prefix is put under besides; None without seccomp.
        counts_processes: Whether RLIMIT_NPROC holds here, so that a prefix may be let fork.
    """

    uid: int | None
    capabilities: int
    filters: tuple[seccomp.Filter, seccomp.Filter, seccomp.Filter] | None
    counts_processes: bool

    def settle(self) -> None:
        """Put on this process what all programs forked from it inherit. Raises: OSError, ValueError."""
        _limit_all()
        kernel.capability_setter(self.capabilities)  # prepared here, so that no child has to

    def enter(self, limits: Limits, image_bytes: int, *, may_fork: bool = False) -> None:
        """Confine this process for good. Raises: OSError, ValueError."""
        _limit(limits, image_bytes, processes=_MAX_PROCESSES if self.counts_processes else None)
        if self.uid is not None:
            _become(self.uid, self.capabilities)
        with suppress(OSError):
            kernel.capability_setter(self.capabilities)()
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.filters is not None:
            self.filters[may_fork].install()


def unshare_namespaces(*, wanted: bool = True) -> Layer:
    """Leave the host's network, process ids, IPC and mounts; only later children get the new process ids."""
    if not wanted:
        return "namespaces", False, "switched off"
    flags = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID | kernel.CLONE_NEWUTS
    flags |= kernel.CLONE_NEWNS
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        with suppress(OSError):
            kernel.unshare(flags)
            return "namespaces", True, "net, pid, ipc, uts, mount"
    try:
        kernel.unshare(flags | kernel.CLONE_NEWUSER)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(text)
    except OSError as error:
        return "namespaces", False, f"the host allows none: {error.strerror}"
    return "namespaces", True, "user, net, pid, ipc, uts, mount"


def put_on(namespaces: Layer, first_uid: int, image: int) -> tuple[Confinement, tuple[Layer, ...]]:
    """Put on the inherited layers, try the others in throw-away children, and say what came of it.

    Args:
        namespaces: What `unshare_namespaces` said.
        first_uid: A user nobody else has, tried before `nobody`.
        image: Address space of this process.
    """
    capabilities = _reading_capability()
    root = "no mount namespace"
    if namespaces[1]:
        root = _attempt(lambda: mounts.change_root(landlock.readable_paths()))
    privileges = _attempt(lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))
    rules = _attempt(landlock.restrict) if landlock.abi() else "the kernel has no Landlock"
    uid, user = _choose_user(first_uid)
    calls = f"system call numbers of {os.uname().machine} are unknown"
    filters = None
    if seccomp.supported():
        program, prefix = (
            seccomp.compile_filter(may_open=not (rules and root), may_fork=fork) for fork in (False, True)
        )
        filters = (program, prefix, seccomp.compile_no_fork())
        calls = _trial(lambda: [each.install() for each in (prefix, filters[2])])
    limits = _trial(_limit_all) or _trial(
        lambda: _limit(Limits(1.0, 1 << 30, 1), image, processes=_MAX_PROCESSES)
    )
    own_users = namespaces[1] and namespaces[2].startswith("user") and os.getuid() != 0
    confinement = Confinement(
        uid=uid,
        capabilities=capabilities if uid is not None and not (rules and root) else 0,
        filters=None if calls else filters,
        counts_processes=uid is not None or own_users,
    )
    return confinement, (
        ("rlimits", not limits, limits or "cpu, address space, file size, open files, core, processes"),
        ("no_new_privs", not privileges, privileges or "on"),
        (
            "landlock",
            not rules,
            rules or f"ABI {landlock.abi()}: reads the Python installation, writes nothing",
        ),
        ("root", not root, root or "a file system with the Python installation, read-only, and nothing else"),
        ("seccomp", not calls, calls or "allow-list" + (", no file can be opened" if rules and root else "")),
        ("user", uid is not None or os.getuid() != 0, user),
        namespaces,
    )


def image_bytes() -> int:
    """Address space of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit_all() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES,) * 2)


def _limit(limits: Limits, image: int, *, processes: int | None) -> None:
    cpu = int(limits.seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (image + limits.memory,) * 2)
    if processes is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes,) * 2)


def _become(uid: int, capabilities: int) -> None:
    if capabilities:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _choose_user(first_uid: int) -> tuple[int | None, str]:
    if os.getuid() != 0:
        return None, f"unprivileged already ({os.getuid()})"
    reason = ""
    for uid in (first_uid, NOBODY):
        reason = _trial(lambda uid=uid: _become(uid, 0))  # type: ignore[misc]
        if not reason:
            return uid, f"drops root for {uid}"
    return None, f"stays root: {reason}"


def _reading_capability() -> int:
    """The capability that lets another user read a Python installation below a closed folder like /root."""
    folders = {folder for path in landlock.readable_paths() for folder in (Path(path), *Path(path).parents)}
    if all(folder.stat().st_mode & 0o5 == 0o5 for folder in folders if folder.exists()):
        return 0
    held = kernel.permitted_capabilities()
    wanted = (1 << kernel.CAP_DAC_READ_SEARCH, 1 << kernel.CAP_DAC_OVERRIDE)
    return next((capability for capability in wanted if held & capability), 0)


def _attempt(action: Callable[[], object]) -> str:
    try:
        action()
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def _trial(action: Callable[[], object]) -> str:
    """What goes wrong when a throw-away child does this; empty if nothing does."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, _attempt(action).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        status = os.waitpid(child, 0)[1]
        return os.read(reader, 500).decode() or (f"the trial ended with {status}" if status else "")
    finally:
        os.close(reader)
