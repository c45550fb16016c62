"""One warm sandbox for the whole file: what programs can do, and what hostile ones cannot."""

import asyncio
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest

from infra.sandbox.fake import ScriptedRunner, failed, printed
from infra.sandbox.filter import run_exec_filter
from infra.sandbox.floor import check_isolation
from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig
from rstar_core.errors import SandboxError
from rstar_core.requests import Execute
from rstar_core.types import ExecutionStatus

OK, ERROR, TIMEOUT = ExecutionStatus.OK, ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT
MEMORY, KILLED = ExecutionStatus.MEMORY, ExecutionStatus.KILLED
SECONDS = 1.0


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(timeout_seconds=SECONDS, num_workers=2)) as sandbox:
        yield sandbox


def run(sandbox, code, prefix=""):
    (execution,) = sandbox.run(Execute(prefix, (code,)))
    return execution


def family(sandbox):
    """Process ids of the sandbox's session, each with its parent's."""
    outer = sandbox._nursery.process_id
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == outer:
                found[int(entry.name)] = int(fields[1])
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids):
    deadline = time.monotonic() + 5
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_output_is_kept_exactly(sandbox):
    execution = run(sandbox, "import sys\nprint(1e-7, 'é')\nsys.stdout.write('no newline')")
    assert (execution.status, execution.stdout, execution.error) == (OK, "1e-07 é\nno newline", "")
    assert 0 < execution.seconds < SECONDS


def test_sympy_and_numpy_work(sandbox):
    code = "from sympy import *\nimport numpy as np\nprint(solve(symbols('x')**2 - 4), np.arange(3).sum())"
    assert run(sandbox, code).stdout == "[-2, 2] 3\n"


def test_a_module_that_nobody_loaded_can_be_imported(sandbox):
    execution = run(sandbox, "import wave, tomllib, sympy.physics.units\nprint(wave.__name__)")
    assert (execution.status, execution.stdout) == (OK, "wave\n")


def test_a_thread_may_run(sandbox):
    code = "import threading\nt = threading.Thread(target=lambda: print('there'))\nt.start()\nt.join()"
    assert run(sandbox, code).stdout == "there\n"


def test_the_error_is_the_last_line_of_the_traceback(sandbox):
    execution = run(sandbox, "print('before')\n1/0")
    assert (execution.status, execution.stdout) == (ERROR, "before\n")
    assert execution.error == "ZeroDivisionError: division by zero"
    assert run(sandbox, "def f(:").error == "SyntaxError: invalid syntax"
    assert run(sandbox, "x = '\\ud800'\nprint(x)").status is ERROR


def test_randomness_and_hashes_are_fixed(sandbox):
    code = (
        "import numpy, secrets\nfrom random import *\n"
        "print(random(), Random().random(), secrets.token_hex())\n"
        "seed()\nprint(random(), numpy.random.rand(), numpy.random.default_rng().random())\n"
        "print(hash('a'), {'x', 'y', 'z'})"
    )
    first = run(sandbox, code)
    with Sandbox(SandboxConfig(timeout_seconds=SECONDS)) as another:
        assert (first.status, first.stdout) == (OK, run(another, code).stdout)


def test_the_environment_and_the_project_are_out_of_sight(sandbox):
    code = f"import os, sys\nprint('HOME' in os.environ, {str(Path.cwd())!r} in sys.path, os.getuid() == 0)"
    assert run(sandbox, code).stdout == "False False False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "import os\nos.closerange(0, 256)",
        'import os\nos.write(3, b\'["ok", ""]\')\n1/0',
        'import os\nos.write(3, b\'["ok", ""]\')\nos._exit(0)',
    ],
)
def test_only_a_program_that_reached_its_end_is_ok(sandbox, code):
    assert run(sandbox, code).status is ERROR


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.socket()",
        "import subprocess\nsubprocess.run(['/bin/ls'])",
        "import os\nos.execv('/bin/ls', ['ls'])",
        "import os\nos.fork()",
        "import os\nwhile True: os.fork()",
        "open('/tmp/rstar-was-here', 'w')",
        "import os\nos.mkdir('/tmp/rstar-was-here')",
        "print(open('/etc/passwd').read())",
        f"print(open({__file__!r}).read())",
        "print(open('/proc/self/maps').read())",
        "import os\nprint(os.listdir('/'))",
        "import os\nos.setsid()",
        "import os\nos.setpgid(0, 0)",
        "import os\nos.set_blocking(1, False)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import ctypes\nif ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0) < 0: raise PermissionError",
        "import ctypes\nif ctypes.CDLL(None, use_errno=True).unshare(0x10000000) < 0: raise PermissionError",
    ],
)
def test_a_forbidden_act_is_an_ordinary_error(sandbox, code):
    execution = run(sandbox, code)
    assert (execution.status, execution.stdout) == (ERROR, "")
    assert not Path("/tmp/rstar-was-here").exists()


@pytest.mark.parametrize("target", ["os.getppid()", "os.getpid()", "0", "-1", "1"])
def test_a_signal_ends_only_its_sender(sandbox, target):
    assert run(sandbox, f"import os\nos.kill({target}, 9)").status is KILLED
    assert run(sandbox, "print(1)").status is OK


def test_a_crash_is_killed(sandbox):
    assert run(sandbox, "import ctypes\nctypes.string_at(0)").error == "killed by SIGSEGV"


def test_too_much_memory_is_its_own_ending(sandbox):
    assert run(sandbox, "x = []\nwhile True: x.append(bytes(1 << 22))").status is MEMORY
    assert run(sandbox, "import numpy\nnumpy.ones(1 << 34)").status is MEMORY


def test_of_a_flood_the_head_is_kept(sandbox):
    execution = run(sandbox, "import sys\nfor i in range(3000): sys.stdout.write('é' * 999)")
    assert (execution.status, execution.stdout) == (OK, "é" * (64 * 1024 // 2))


STUBBORN = """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
print("stubborn")
while True:
    try:
        while True: pass
    except BaseException: pass
"""


def test_nothing_outlives_its_deadline(sandbox):
    codes = [STUBBORN, "print('stubborn')\nimport os\nos.closerange(0, 256)\nwhile True: pass"]
    started = time.monotonic()
    results = []
    threads = [
        threading.Thread(target=lambda code=code: results.append(run(sandbox, code))) for code in codes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(r.status, r.stdout) for r in results] == [(TIMEOUT, "stubborn\n")] * 2
    assert time.monotonic() - started < 2.5 * SECONDS
    assert len(family(sandbox)) == 4  # outer, inner, two workers


def test_a_program_cannot_change_the_next(sandbox):
    run(
        sandbox, "import sympy, builtins\nsympy.solve = None\nbuiltins.print = None\nsympy.pi.__class__.x = 1"
    )
    assert run(sandbox, "import sympy\nprint(sympy.solve(sympy.Symbol('x') - 1))").stdout == "[1]\n"


def test_candidates_share_the_prefix_but_not_each_other(sandbox):
    prefix = "import random\nprint('prefix')\nx = [1]"
    candidates = (
        "x.append(2)\nprint(x)",
        "print(x, random.random())",
        "1/0",
        "import os\nos._exit(0)",
        "x +",
    )
    together = sandbox.run(Execute(prefix, candidates))
    apart = [run(sandbox, candidate, prefix) for candidate in candidates]
    assert [(e.status, e.stdout, e.error) for e in together] == [(e.status, e.stdout, e.error) for e in apart]
    assert together[0].stdout == "prefix\n[1, 2]\n"
    assert [e.status for e in together] == [OK, OK, ERROR, ERROR, ERROR]


def test_the_prefix_runs_once(sandbox):
    prefix = "import time\ntime.sleep(0.3)"
    started = time.monotonic()
    executions = sandbox.run(Execute(prefix, ("print(1)",) * 5))
    assert [e.stdout for e in executions] == ["1\n"] * 5
    assert time.monotonic() - started < 1.0
    assert all(e.seconds > 0.3 for e in executions)


def test_a_candidate_may_go_on_with_a_block_of_the_prefix(sandbox):
    executions = sandbox.run(Execute("for i in range(2):\n  print('p')", ("  print(i)", "print('end')")))
    assert [e.stdout for e in executions] == ["p\n0\np\n1\n", "p\np\nend\n"]


def test_a_stuck_candidate_costs_only_itself(sandbox):
    executions = sandbox.run(Execute("x = 1", ("print(x)", "print(x)\nwhile True: pass", "print(x + 1)")))
    assert [(e.status, e.stdout) for e in executions] == [(OK, "1\n"), (TIMEOUT, "1\n"), (OK, "2\n")]


@pytest.mark.parametrize(
    ("prefix", "status"),
    [
        ("1/0", ERROR),
        ("import os\nos._exit(0)", ERROR),
        ("import os\nos.kill(0, 9)", KILLED),
        ("import os\nos.closerange(3, 9)", ERROR),
        ("import os\nos.write(4, bytes(400))\nos._exit(0)", ERROR),
    ],
)
def test_a_hostile_prefix_spoils_only_its_own_request(sandbox, prefix, status):
    executions = sandbox.run(Execute(prefix, ("print(1)", "print(2)")))
    assert [e.status for e in executions] == [status] * 2
    assert run(sandbox, "print(1)").stdout == "1\n"


def test_a_fork_bomb_in_a_prefix_leaves_nothing(sandbox):
    bomb = (
        "import os\nfor _ in range(40):\n  try: os.fork()\n  except OSError: pass\nwhile os.getpid() % 3: 1"
    )
    sandbox.run(Execute(bomb, ("print(1)", "print(2)")))
    assert len(family(sandbox)) == 4


def test_every_loop_and_thread_may_share_it(sandbox):
    def ask(number):
        outputs[number] = asyncio.run(sandbox.execute(Execute("", (f"print({number})",))))[0].stdout

    outputs = {}
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n" for number in range(6)}


def test_a_host_below_the_floor_is_refused():
    layers = (("rlimits", True, ""), ("no_new_privs", True, ""), ("seccomp", False, "not permitted"))
    check_isolation(layers, "rlimits")
    with pytest.raises(SandboxError, match=r"seccomp does not work \(not permitted\)"):
        check_isolation(layers, "seccomp")


def test_the_probe_names_every_layer(sandbox):
    assert {name for name, _, _ in sandbox.probe()} == {
        "rlimits", "no_new_privs", "landlock", "root", "seccomp", "user", "namespaces",
    }  # fmt: skip


def test_the_filter_answers_in_order_and_before_the_input_ends(sandbox):
    answered = threading.Event()

    class Out(io.StringIO):
        def flush(self):
            answered.set()

    def lines():
        yield json.dumps({"id": "a", "code": "print(x)", "prefix": "x = 1"}) + "\n"
        assert answered.wait(20)
        yield "\n" + json.dumps({"id": 2, "code": "1/0"}) + "\n"

    out = Out()
    run_exec_filter(lines(), out, sandbox)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(row["id"], row["status"], row["stdout"]) for row in rows] == [
        ("a", "ok", "1\n"),
        (2, "error", ""),
    ]
    assert set(rows[0]) == {"id", "status", "stdout", "error", "seconds"}


async def test_the_fake_follows_its_script():
    fake = ScriptedRunner({"a": printed("1\n")})
    assert await fake.execute(Execute("", ("a",))) == (printed("1\n"),)
    assert (await fake.execute(Execute("", ("b",))))[0].status is ERROR
    echo = ScriptedRunner(lambda prefix, candidate: failed(prefix + candidate))
    assert (await echo.execute(Execute("p", ("c",))))[0].error == "pc"
    assert len(fake.requests) == 2


def test_dead_workers_are_replaced(sandbox):
    result = []
    slow = "import time\ntime.sleep(0.8)\nprint(2)"
    thread = threading.Thread(target=lambda: result.append(run(sandbox, slow)))
    thread.start()
    time.sleep(0.3)
    parents = family(sandbox)
    (inner,) = [pid for pid, parent in parents.items() if parent == sandbox._nursery.process_id]
    for pid in [pid for pid, parent in parents.items() if parent == inner]:
        os.kill(pid, 9)
    thread.join()
    assert (result[0].status, result[0].stdout) == (OK, "2\n")  # it ran again, and never noticed
    assert [run(sandbox, "print(1)").stdout for _ in range(3)] == ["1\n"] * 3


def test_a_dead_zygote_is_replaced_and_close_leaves_no_process(sandbox):
    before = family(sandbox)
    os.kill(sandbox._nursery.process_id, 9)
    wait_until_gone(before)
    assert run(sandbox, "print(2)").stdout == "2\n"
    after = family(sandbox)
    assert len(after) >= 3
    sandbox.close()
    wait_until_gone(after)
    with pytest.raises(SandboxError, match="closed"):
        run(sandbox, "print(1)")
