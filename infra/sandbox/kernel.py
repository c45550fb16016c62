"""The few kernel calls that the standard library lacks, through ctypes.

Everything here is one call with its error turned into an `OSError`; nothing here decides anything.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import struct
from typing import TYPE_CHECKING, Final

from infra.sandbox import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC_WITH_GIL: Final = ctypes.PyDLL(None, use_errno=True)

_MACHINE: Final = platform.machine()  # looked up once, not in every child

PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1 << 5, 1 << 12, 1 << 14, 1 << 18
_MNT_DETACH: Final = 2

_MADV_COLLAPSE: Final = 25

CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prepare(name: str, *arguments: int | ctypes.Array[ctypes.c_char]) -> Callable[[], int]:
    """The system call `name`, to be made later and often at little cost; it raises OSError."""
    number = syscalls.number(name, _MACHINE)
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    values.insert(0, ctypes.c_long(-1 if number is None else number))
    return lambda: _checked(_LIBC.syscall(*values))


def call(name: str, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    """Make the system call `name`. Raises: OSError."""
    return prepare(name, *arguments)()


def prctl(option: int, argument: int) -> None:
    """Make `prctl(option, argument, 0, 0, 0)`. Raises: OSError."""
    _checked(_LIBC.prctl(option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))))


def fork() -> int:
    """`fork(2)` for a process with one thread: 0 in the child, the child's id in the parent. Raises: OSError.

    Unlike `os.fork` it runs no hooks of libraries, which reseed generators and renew locks that nobody holds
    here, and touch two hundred pages for it: nearly half of what a child costs.
    """
    return _checked(_LIBC_WITH_GIL.fork())


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`. Raises: OSError."""
    _checked(_LIBC.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """Make `mount(2)` without data. Raises: OSError."""
    _checked(_LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None))


def unmount_lazily(target: str) -> None:
    """Take a mount out of sight at once; it goes when nobody uses it any more. Raises: OSError."""
    _checked(_LIBC.umount2(target.encode(), _MNT_DETACH))


@functools.cache
def capability_setter(mask: int) -> Callable[[], int]:
    """A call that keeps exactly the capabilities in `mask`, all of them below 32; it raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))  # version 3, this thread
    data = ctypes.create_string_buffer(struct.pack("=6I", mask, mask, 0, 0, 0, 0))
    return prepare("capset", header, data)


def permitted_capabilities() -> int:
    """The permitted capabilities of this process as a bit mask."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib would grow the image
        fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    return int(fields["CapPrm"], 16)


def buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    """A C buffer with these bytes, kept alive by the caller."""
    return ctypes.create_string_buffer(data, len(data))


def address(memory: ctypes.Array[ctypes.c_char]) -> int:
    """Address of a C buffer."""
    return ctypes.addressof(memory)


def gather(start: int, size: int) -> None:
    """Ask for huge pages in a range of memory; a kernel that cannot is not an error."""
    _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_COLLAPSE)
