"""Numbers of the system calls that the filter names, for the two machines the sandbox runs on.

Source: `asm/unistd_64.h` and `asm-generic/unistd.h` of Linux. None: the machine lacks the call.
"""

from __future__ import annotations

from typing import Final

# name: (x86-64, aarch64)
NUMBERS: Final[dict[str, tuple[int | None, int | None]]] = {
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "stat": (4, None),
    "lstat": (6, None),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getcwd": (79, 17),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "mincore": (27, 232),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getpgrp": (111, None),
    "getpgid": (121, 155),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "arch_prctl": (158, None),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "restart_syscall": (219, 128),
    "membarrier": (324, 283),
    "getcpu": (309, 168),
    "openat": (257, 56),
    "open": (2, None),
    "getdents64": (217, 61),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "seccomp": (317, 277),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "capset": (126, 91),
    "pivot_root": (155, 41),
}

# Harmless whatever their arguments: memory, time, locks of threads, descriptors that are open already.
ALWAYS: Final = """
    read write readv writev pread64 lseek close close_range fstat newfstatat statx stat lstat access
    faccessat faccessat2 readlink readlinkat getcwd mmap munmap mprotect mremap madvise mincore brk
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack futex sched_yield sched_getaffinity nanosleep
    clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage getpid gettid getppid
    getuid geteuid getgid getegid getresuid getresgid getpgrp getpgid uname sysinfo getrandom getrlimit
    poll ppoll select pselect6 pipe pipe2 dup dup2 dup3 set_robust_list set_tid_address rseq arch_prctl
    exit exit_group wait4 waitid alarm setitimer getitimer restart_syscall membarrier getcpu
""".split()  # noqa: SIM905 - names read better as words

# Open what Landlock lets them open; without Landlock nothing may be opened at all.
OPENING: Final = ("openat", "open", "getdents64")

# No program has a reason to send a signal, so the attempt ends it.
SIGNALLING: Final = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")


def number(name: str, machine: str) -> int | None:
    """Number of a system call on `machine` (`x86_64` or `aarch64`), or None if it has no such call."""
    return NUMBERS[name][0 if machine == "x86_64" else 1]
