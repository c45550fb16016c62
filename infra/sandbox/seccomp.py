"""The system call filter: an allow-list as classic BPF, compiled once and installed by each program.

What is not named fails with EPERM, so a program sees an ordinary `PermissionError`. A signal to anybody ends
the program that sends it. So do calls of another architecture.
"""

from __future__ import annotations

import platform
import struct
from typing import Final

from infra.sandbox import kernel, syscalls

ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
EPERM: Final = 0x00050000 | 1
ENOTTY: Final = 0x00050000 | 25
ENOSYS: Final = 0x00050000 | 38

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16  # struct seccomp_data, little endian

_CLONE_THREAD: Final = 0x00010000
_CLONE_NAMESPACES: Final = 0x7E020080  # every CLONE_NEW*
_FORK_FLAGS: Final = 0x01200011  # CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD: what fork(3) passes
_FCNTL_COMMANDS: Final = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
_PRCTL_OPTIONS: Final = (1, 15, 16)  # PR_SET_PDEATHSIG, PR_SET_NAME, PR_GET_NAME
_SECCOMP_SET_MODE_FILTER: Final = 1

Instruction = tuple[int, int, int, int]


class Filter:
    """A compiled filter, ready to be installed.

    Attributes:
        install: Puts this process under the filter for good; needs no_new_privs; raises OSError.
    """

    def __init__(self, code: list[Instruction]) -> None:
        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
        self._memory = kernel.buffer(program)
        header = kernel.buffer(struct.pack("@HP", len(code), kernel.address(self._memory)))
        self.install = kernel.prepare("seccomp", _SECCOMP_SET_MODE_FILTER, 0, header)


def supported() -> bool:
    """Whether this machine's system call numbers are known."""
    return platform.machine() in _ARCHITECTURES


def compile_filter(*, may_open: bool, may_fork: bool) -> Filter:
    """The filter of a program.

    Args:
        may_open: Let files be opened; only right where Landlock says which.
        may_fork: Let plain forks through: for a prefix whose state is forked for every candidate.
    """
    machine = platform.machine()
    code = [_load(_OFFSET_ARCHITECTURE), *_unless_equal(_ARCHITECTURES[machine], KILL_PROCESS)]
    code.append(_load(_OFFSET_NUMBER))
    rules = [(name, [_return(ALLOW)]) for name in syscalls.ALWAYS]
    rules += [(name, [_return(ALLOW)]) for name in syscalls.OPENING if may_open]
    rules += [(name, [_return(KILL_PROCESS)]) for name in syscalls.SIGNALLING]
    rules += [
        ("clone", _clone_rule(may_fork=may_fork)),
        ("clone3", [_return(ENOSYS)]),  # its flags lie behind a pointer; libc falls back to clone
        ("ioctl", [_return(ENOTTY)]),
        ("fcntl", _if_argument(1, _FCNTL_COMMANDS)),
        ("prctl", _if_argument(0, _PRCTL_OPTIONS)),
        ("prlimit64", _if_zero(2)),  # reading limits only
        ("seccomp", _if_argument(0, (_SECCOMP_SET_MODE_FILTER,)) if may_fork else [_return(EPERM)]),
    ]
    for name, body in rules:
        number = syscalls.number(name, machine)
        if number is not None:
            code += [(_JUMP_EQUAL, 0, len(body), number), *body]
    code.append(_return(EPERM))
    return Filter(code)


def compile_no_fork() -> Filter:
    """What turns the filter of a prefix, under which it is put, into that of a program.

    The kernel takes the strictest answer of all filters, and the two differ in these two calls alone. Eight
    instructions are compiled for each candidate instead of two hundred.
    """
    machine = platform.machine()
    clone, seccomp = syscalls.number("clone", machine), syscalls.number("seccomp", machine)
    assert clone is not None and seccomp is not None  # noqa: S101, PT018 - both machines have them
    return Filter(
        [
            _load(_OFFSET_NUMBER),
            (_JUMP_EQUAL, 0, 1, seccomp),
            _return(EPERM),
            (_JUMP_EQUAL, 0, 3, clone),
            _load(_OFFSET_ARGUMENTS),
            (_JUMP_EQUAL, 0, 1, _FORK_FLAGS),
            _return(EPERM),
            _return(ALLOW),
        ]
    )


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _unless_equal(value: int, action: int) -> list[Instruction]:
    return [(_JUMP_EQUAL, 1, 0, value), _return(action)]


def _if_argument(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow when the low half of argument `index` is one of `values`."""
    body = [_load(_OFFSET_ARGUMENTS + 8 * index)]
    for value in values:
        body += [(_JUMP_EQUAL, 0, 1, value), _return(ALLOW)]
    return [*body, _return(EPERM)]


def _if_zero(index: int) -> list[Instruction]:
    """Allow when both halves of argument `index` are zero."""
    low, high = _load(_OFFSET_ARGUMENTS + 8 * index), _load(_OFFSET_ARGUMENTS + 8 * index + 4)
    return [low, *_unless_equal(0, EPERM), high, *_unless_equal(0, EPERM), _return(ALLOW)]


def _clone_rule(*, may_fork: bool) -> list[Instruction]:
    """Allow threads, and plain forks if asked; nothing that makes a namespace."""
    body = [_load(_OFFSET_ARGUMENTS)]
    if may_fork:
        body += [(_JUMP_EQUAL, 0, 1, _FORK_FLAGS), _return(ALLOW)]
    body += [(_JUMP_SET, 0, 1, _CLONE_NAMESPACES), _return(EPERM)]
    body += [(_JUMP_SET, 0, 1, _CLONE_THREAD), _return(ALLOW)]
    return [*body, _return(EPERM)]
