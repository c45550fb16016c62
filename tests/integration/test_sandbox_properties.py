"""What holds for all programs: siblings that share a prefix's state end as if each had run alone."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.sandbox.sandbox import Sandbox
from rstar_core.config import SandboxConfig
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute

# Everything a program can keep in memory between two steps, and ways to see, change and break it.
STATEMENTS = (
    "x = 3",
    "x += 4\nprint(x)",
    "items = [1, 2]",
    "items.append(x)\nprint(items)",
    "other = items",
    "other *= 2\nprint(items is other, items)",
    "table = {'a': 1}",
    "table['b'] = len(table)\nprint(table)",
    "def f(n=[]): n.append(1); return n",
    "print(f(), f())",
    "gen = (n * n for n in range(9))",
    "print(next(gen), next(gen))",
    "it = iter([1, 2, 3])",
    "print(list(it))",
    "import random\nprint(random.random())",
    "random.seed(5)",
    "import itertools\ncount = itertools.count()",
    "print(next(count))",
    "class A:\n    seen = 0\n    def __init__(self): A.seen += 1",
    "print(A().seen, A().seen)",
    "y = sympy.Symbol('y')\nprint(sympy.solve(y**2 - 4))",
    "print(sympy.expand((y + 1)**2))",
    "from functools import lru_cache\n@lru_cache\ndef g(n): print('computed'); return n",
    "print(g(1), g.cache_info())",
    "import builtins\nbuiltins.extra = 1",
    "print(extra)",
    "print = lambda *a: None",
    "del print",
    "import sys\nsys.stdout.write('no newline')",
    "import math as m\nm.pi = 3",
    "print(math.pi)",
    "global z\nz = 1",
    "x: int = 5\nprint(__annotations__)",
    "print(sorted(name for name in globals() if name[0] != '_'))",
    "raise ValueError(x)",
    "1 / 0",
    "import os\nos._exit(0)",
    "import sys\nsys.exit()",
    "if True:\n    print('in')\n    x = 9",
    "    print('indented')",
    "else:\n    print('otherwise')",
    "from __future__ import annotations",
    "x = (1,",
    "2)\nprint(x)",
    "import atexit\natexit.register(lambda: sys.stdout.write('bye'))",
    "import threading\nt = threading.Thread(target=lambda: items.append(0))\nt.start()\nt.join()",
    "print(__name__, len(__builtins__.__dict__) > 100)",
    "'''a text\n# with a line like a comment\n'''\nprint('after')",
    "# a comment\n",
    "",
)
TEXTS = st.lists(st.sampled_from(STATEMENTS), max_size=4).map("\n".join)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(num_workers=1, timeout_seconds=10)) as sandbox:
        yield sandbox


def ends(executions):
    return [(each.status, each.stdout, each.error) for each in executions]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    preamble=st.sampled_from(("", PREAMBLE)),
    prefix=TEXTS,
    candidates=st.lists(TEXTS, min_size=2, max_size=4, unique=True),
)
def test_siblings_end_as_if_each_had_run_alone(sandbox, preamble, prefix, candidates):
    prefix = preamble + prefix
    together = sandbox.run(Execute(prefix, tuple(candidates)))
    alone = [sandbox.run(Execute(prefix, (candidate,)))[0] for candidate in candidates]
    whole = [sandbox.run(Execute("", (f"{prefix}\n{each}" if prefix else each,)))[0] for each in candidates]
    assert ends(together) == ends(alone) == ends(whole)
