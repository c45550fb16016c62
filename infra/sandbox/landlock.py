"""The file system layer: read the Python installation, write nothing, connect nowhere.

Rights that the running kernel does not know are left out by its ABI number (documented in `landlock(7)`).
"""

from __future__ import annotations

import os
import struct
import sys
import sysconfig
from contextlib import suppress
from typing import Final

from infra.sandbox import kernel

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_FILE_RIGHTS_BY_ABI: Final = ((1, 13), (2, 14), (3, 15), (5, 16))  # (ABI, number of rights it knows)
_RULE_PATH_BENEATH: Final = 1
_CREATE_RULESET_VERSION: Final = 1
_ABI_NET, _ABI_SCOPE = 4, 6
_NET_ALL, _SCOPE_ALL = 0b11, 0b11  # bind and connect over TCP; abstract sockets and signals


def abi() -> int:
    """Landlock's ABI number here, or 0 if the kernel has none."""
    try:
        return kernel.call("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict() -> None:
    """Put this process and all its children under the rules for good. Needs no_new_privs. Raises: OSError."""
    version = abi()
    file_rights = (1 << max(n for first, n in _FILE_RIGHTS_BY_ABI if version >= first)) - 1
    attributes = struct.pack("=Q", file_rights)
    if version >= _ABI_NET:
        attributes += struct.pack("=Q", _NET_ALL)
    if version >= _ABI_SCOPE:
        attributes += struct.pack("=Q", _SCOPE_ALL)
    ruleset = kernel.call("landlock_create_ruleset", kernel.buffer(attributes), len(attributes), 0)
    for path in readable_paths():
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    _allow(ruleset, "/dev/null", _READ_FILE | _WRITE_FILE)
    kernel.call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def readable_paths() -> tuple[str, ...]:
    """The standard library, the installed packages and the time zones; not the project, not /etc."""
    paths = sysconfig.get_paths()
    wanted = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], "/usr/share/zoneinfo"}
    wanted.add(os.path.join(sys.base_prefix, "lib", "python" + sysconfig.get_python_version()))  # noqa: PTH118
    return tuple(sorted(wanted))


def _allow(ruleset: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = kernel.buffer(struct.pack("=Qi", rights, descriptor))
            kernel.call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)
