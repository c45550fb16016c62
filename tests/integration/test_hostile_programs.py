"""Programs that want out, each followed by one that has to come out as if nothing had been before it.

The programs stand in `hostile/`: `=== what it does: how it may end` and its text. One that gets what it wants
prints OUT. `calls.txt` names system calls with number (x86-64) and arguments; none may reach the kernel.
"""

import os
import platform
import re
from pathlib import Path

import pytest

from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute

FOLDER = Path(__file__).parent / "hostile"
PROJECT = Path(__file__).parents[2]
SECONDS = 1.0
TRACES = [Path("/tmp/rstar-was-here"), Path("/dev/shm/rstar-was-here"), Path("rstar-was-here")]

# What a program could find changed. Plain arithmetic with the preamble runs in the light image.
BENIGN = f"""{PREAMBLE}from fractions import Fraction
from decimal import Decimal
import random
print(math.pi, Fraction(1, 3) + 7, Decimal(1) / 7, 7 + 1, "solve", (), random.random(), 2 ** 200)
"""
BENIGN_FULL = f"""{PREAMBLE}from sympy import *
import builtins, codecs, decimal, fractions, gc, json, locale, os, random, signal, sys, threading, time
import warnings
import numpy as np
x = Symbol("x")
print(solve(x**2 - 7), Symbol("a") == Symbol("b"), integrate(x * exp(x)), sympy.__name__, "solve", (), 7 + 1)
print(math.pi, fractions.Fraction(1, 3) + 7, decimal.Decimal(1) / 7, np.array([1 / 3]), json.dumps([1]))
print(random.random(), np.random.rand(), random.Random().random(), hash("x"), list({{"a", "b", "c"}}))
print(sorted(os.environ.items()), time.tzname, locale.setlocale(locale.LC_ALL), sys.getrecursionlimit())
print(gc.isenabled(), gc.get_threshold(), warnings.filters, sys.path, len(sys.modules), sys.meta_path)
print(signal.getsignal(2), signal.getsignal(15), signal.pthread_sigmask(0, ()))
print(sys.gettrace(), sys.getprofile())
print(threading.active_count(), sorted(globals()), type(sys.stdout), sys.stdout.encoding, sys.excepthook)
print(codecs.lookup("utf-8").name, sys.get_int_max_str_digits(), b"\\xff".decode(errors="replace"))
"""


def programs():
    for file in sorted(FOLDER.glob("*.txt")):
        if file.name != "calls.txt":
            parts = re.split(r"^=== (.*): ([a-z|]+)\n", file.read_text(), flags=re.MULTILINE)
            yield from zip(parts[1::3], parts[2::3], parts[3::3], strict=True)


def calls():
    for line in (FOLDER / "calls.txt").read_text().splitlines():
        name, *values = line.split()
        yield name, ", ".join(values)


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    path = tmp_path_factory.mktemp("outside") / "canary.txt"
    path.write_text("the canary sings")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    return path


@pytest.fixture(scope="module", autouse=True)
def bystanders():
    """What earlier tests of this process left running, such as a Prefect server, which starts helpers."""
    return below({os.getpid()}) - {os.getpid()}


@pytest.fixture(scope="module", params=[True, False], ids=["all layers", "without namespaces"])
def sandbox(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSTAR_HOSTILE_SECRET", "hidden")
        config = SandboxConfig(timeout_seconds=SECONDS, num_workers=1)
        with Sandbox(config, namespaces=request.param) as sandbox:
            active = {name for name, on, _ in sandbox.probe() if on}
            assert {"rlimits", "no_new_privs", "landlock", "seccomp"} <= active
            assert ("namespaces" in active) <= request.param
            yield sandbox


@pytest.fixture(scope="module")
def unspoiled(sandbox):
    return {code: run(sandbox, code) for code in (BENIGN, BENIGN_FULL)}


def run(sandbox, code):
    (execution,) = sandbox.run(Execute("", (code,)))
    return execution.status.value, execution.stdout, execution.error


def below(roots, apart=frozenset()):
    """These processes and all that they started, without those `apart` and what they started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found - apart:
        found |= more
    return found


def count_processes(bystanders):
    """How many processes live below this one that the sandbox may have started."""
    return len(below({os.getpid()}, bystanders))


def check_nothing_happened(sandbox, unspoiled, canary, bystanders, count):
    assert {code: run(sandbox, code) for code in unspoiled} == unspoiled
    assert canary.read_text() == "the canary sings"
    assert canary.stat().st_mtime > 0
    assert not [trace for trace in TRACES if trace.exists() or trace.is_symlink()]
    assert count_processes(bystanders) <= count  # a helper of an earlier test may end meanwhile


def test_the_programs_are_many_and_the_benign_one_runs(unspoiled):
    assert len(list(programs())) + len(list(calls())) >= 300
    assert {status for status, _, _ in unspoiled.values()} == {"ok"}


@pytest.mark.parametrize(("endings", "code"), [pytest.param(e, c, id=n) for n, e, c in programs()])
def test_no_program_gets_out_or_leaves_a_trace(sandbox, unspoiled, canary, bystanders, endings, code):
    count = count_processes(bystanders)
    head = f"CANARY = {str(canary)!r}; PROJECT = {str(PROJECT)!r}\n"
    status, stdout, error = run(sandbox, head + code if "CANARY" in code or "PROJECT" in code else code)
    assert status in endings.split("|"), (stdout, error)
    assert "OUT" not in stdout
    assert "hidden" not in stdout
    check_nothing_happened(sandbox, unspoiled, canary, bystanders, count)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("arguments", [pytest.param(a, id=n) for n, a in calls()])
def test_no_system_call_reaches_the_kernel(sandbox, unspoiled, canary, bystanders, arguments):
    count = count_processes(bystanders)
    code = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"if libc.syscall({arguments}) < 0: raise OSError(ctypes.get_errno(), 'refused')\nprint('OUT')"
    )
    status, stdout, error = run(sandbox, code)
    assert (status, stdout) == ("error", ""), error
    assert re.search(r"\[Errno (1|38)\] refused", error), error
    check_nothing_happened(sandbox, unspoiled, canary, bystanders, count)
