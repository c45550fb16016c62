"""Many programs, a tenth of them bad: each gets its own ending, and nothing is left behind or grows.

RSTAR_SOAK_PROGRAMS sets how many; the figures of 10,000 are in docs/log.md.
"""

import gc
import os
import random
import tempfile
import threading
from pathlib import Path

import psutil

from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute

NUM_PROGRAMS = int(os.environ.get("RSTAR_SOAK_PROGRAMS", "1000"))
SECONDS = 0.5
MARK = Path(f"/tmp/rstar-soak-{os.getpid()}")
BAD = {
    f"open({str(MARK)!r}, 'w').write('left behind')": {"error"},
    "import ctypes\nctypes.string_at(0)": {"killed"},
    "import os\nos.abort()": {"killed"},
    "x = bytearray(1 << 40)": {"memory"},
    "x = []\nwhile True: x.append(bytes(1 << 22))": {"memory", "timeout"},
    "1 / 0": {"error"},
    "import os\nos._exit(0)": {"error"},
    "import os\nos.closerange(0, 99)\nwhile True: pass": {"timeout"},
    "while True: pass": {"timeout"},
    "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()": {"timeout"},
}


def jobs():
    rng = random.Random(0)
    for number in range(NUM_PROGRAMS):
        if number % 10 == 5:
            yield from [(code, endings, None) for code, endings in [rng.choice(list(BAD.items()))]]
        elif number % 10 == 7:
            yield f"import sympy\nprint(sympy.factorint({number * 8}))", {"ok"}, None
        else:
            yield f"{PREAMBLE}print({number} * 7)", {"ok"}, f"{number * 7}\n"


def test_many_programs_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # other tests make files at the usual place
    monkeypatch.setattr(tempfile, "tempdir", None)
    me = psutil.Process()
    others = set(me.children(recursive=True))  # servers of other tests
    with Sandbox(SandboxConfig(timeout_seconds=SECONDS, num_workers=2)) as sandbox:
        todo = jobs()
        lock = threading.Lock()
        wrong, sizes = [], []

        def work():
            while True:
                with lock:
                    job = next(todo, None)
                if job is None:
                    return
                code, endings, stdout = job
                (execution,) = sandbox.run(Execute("", (code,)))
                if execution.status.value not in endings or stdout not in {None, execution.stdout}:
                    wrong.append((code, execution))

        def round_of(threads):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        for code in BAD:  # every kind once, so that both images and workers are there
            sandbox.run(Execute("", (code,)))
        sandbox.run(Execute("", (PREAMBLE,)))
        gc.collect()
        family = set(me.children(recursive=True)) - others
        before = (me.num_fds(), len(family))
        memory = sum(each.memory_info().rss for each in [me, *family])
        round_of([threading.Thread(target=work) for _ in range(2)])
        gc.collect()
        family = set(me.children(recursive=True)) - others
        sizes.append(sum(each.memory_info().rss for each in [me, *family]) - memory)
        assert not wrong[:3]
        # The second slot may have been born in between: a worker and a channel for each image.
        assert me.num_fds() <= before[0] + 2
        assert len(family) <= before[1] + 2
        assert sizes[0] < (96 << 20)
    assert set(me.children(recursive=True)) <= others
    assert list(tmp_path.iterdir()) == []
    assert not MARK.exists()
