"""A program never sees which image it runs in: what the light one runs, the full one answers alike."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.sandbox.sandbox import Sandbox, _by_image
from infra.sandbox.source import is_light
from rstar_core.config import SandboxConfig
from rstar_core.prompts import PREAMBLE
from rstar_core.requests import Execute


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(num_workers=1)) as sandbox:
        yield sandbox


def in_full_image(sandbox, request):
    slot = sandbox._idle.get()
    try:
        return sandbox._ask(slot, sandbox._frame(request.prefix, list(request.candidates)), light=False)
    finally:
        sandbox._idle.put(slot)


def ends(executions):
    return [(each.status, each.stdout, each.error) for each in executions]


PLAIN = (
    "x = 3 * 14\nprint(x)",
    "print(math.sqrt(2), math.factorial(20), 10**30 % 7)",
    "import itertools\nprint(list(itertools.permutations([1, 2, 3])))",
    "from fractions import Fraction\nprint(Fraction(1, 3) + Fraction(1, 6), repr(Fraction(2)))",
    "from decimal import Decimal\nprint(Decimal(1) / 3)",
    "from collections import Counter, defaultdict\nprint(Counter('aba'), defaultdict(int)[1])",
    "from functools import lru_cache\n@lru_cache\ndef f(n): return n and n * f(n - 1) or 1\nprint(f(80))",
    "print({'b', 'a', 'c', 'd'}, f'{1 / 3:.3f}', '%d' % 7)",
    "def f(n): return f(n + 1)\nf(0)",
    "print(int('9' * 5000))",
    "total = 1_000\nfor i in range(10): total += i\nprint(total)",
    "1 / 0",
    "print(unknown)",
    "math.nothing",
    "x = (1",
    "print(input())",
    "class A:\n  n = 1\nprint(A.n, isinstance(True, int))",
    "# from sympy import the numbers\nx = 1  # nothing else\nprint(x)",
)
TRICKY = (
    "print(sympy.Rational(1, 3))",
    "from sympy import *\nprint(pi)",
    "import sympy as s\nprint(s.sqrt(8))",
    "print(globals()['sym' + 'py'].sqrt(8))",
    "print(eval('sym' + 'py.sqrt(8)'))",
    "exec('print(sym' + 'py.sqrt(8))')",
    "print(vars()['sym' + 'py'].sqrt(8))",
    "print([n for n in dir() if n[0] == 's'])",
    "print(len(__import__('sys').modules) > 300)",
    "print('numpy' in math.__loader__.load_module('sys').modules)",
    "import sys\nprint('numpy' in sys.modules, 'sympy.core' in sys.modules)",
    "import numpy\nprint(numpy.arange(3))",
    "from fractions import sys\nprint('numpy' in sys.modules)",
    "import fractions\nprint('numpy' in fractions.operator.attrgetter('sys.modules')(fractions))",
    "import random\nprint('numpy' in random._os.sys.modules)",
    "g = (i for i in [1])\nprint(g.gi_frame.f_globals['sym' + 'py'].sqrt(8))",
    "try: 1/0\nexcept Exception as e: print(e.__traceback__.tb_frame.f_globals['sym' + 'py'].sqrt(8))",
    "u = '_' * 2\nprint(('{0.' + u + 'class' + u + '}').format(math))",
    "print(getattr(math, '_' * 2 + 'name' + '_' * 2))",
    "\uff53\uff59\uff4d\uff50\uff59.sqrt",
    "print(\u017fympy.sqrt(8))",
    "def f():\n  return sympy\nprint(f().sqrt(8))",
    "sympy = None\nprint(sympy)",
    "del sympy\nprint('gone')",
    "print(len(object.__subclasses__()) > 500)",
    "import math, sys\nprint('numpy' in sys.modules)",
    "print(f'{sympy.sqrt(8)}')",
    "x = 1; import numpy; print(numpy.int64(3))",
)


def test_plain_programs_are_light_and_all_others_are_not():
    assert [code for code in PLAIN if not is_light(PREAMBLE + code)] == []
    assert [code for code in TRICKY if is_light(PREAMBLE + code)] == []
    assert not is_light("print(1)")  # what does not start like the factory's programs is left alone


def test_each_candidate_goes_to_its_image():
    request = Execute(PREAMBLE + "x = 1\n", ("print(x)", "print(sympy.pi)", "y = 2", "1/0"))
    assert _by_image(request) == [(True, [0, 2, 3]), (False, [1])]
    assert _by_image(Execute(PREAMBLE + "x = sympy.pi\n", ("print(x)",))) == [(False, [0])]
    assert _by_image(Execute("", (PREAMBLE + "print(1)", "print(1)"))) == [(True, [0]), (False, [1])]


@pytest.mark.parametrize("prefix", [PREAMBLE, PREAMBLE + "x = 5\n", ""])
def test_every_program_ends_as_in_the_full_image(sandbox, prefix):
    candidates = (*PLAIN, *TRICKY) if prefix else tuple(PREAMBLE + code for code in (*PLAIN, *TRICKY))
    request = Execute(prefix, candidates)
    assert ends(sandbox.run(request)) == ends(in_full_image(sandbox, request))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.sampled_from(PLAIN[:8] + TRICKY[:4]), max_size=2),
    candidates=st.lists(st.sampled_from(PLAIN + TRICKY), min_size=1, max_size=6),
)
def test_generated_programs_end_as_in_the_full_image(sandbox, steps, candidates):
    request = Execute(PREAMBLE + "".join(step + "\n" for step in steps), tuple(candidates))
    assert ends(sandbox.run(request)) == ends(in_full_image(sandbox, request))


def test_a_light_program_cannot_change_the_next(sandbox):
    first = "math.pi = 3\nx = 1"
    assert sandbox.run(Execute(PREAMBLE, (first, "print(math.pi > 3.1)")))[1].stdout == "True\n"
    assert sandbox.run(Execute(PREAMBLE, ("print(math.pi > 3.1)",)))[0].stdout == "True\n"


def test_a_statement_whose_place_matters_is_read_with_the_prefix(sandbox):
    executions = sandbox.run(
        Execute(PREAMBLE + "x = 1\n", ("global x", "from __future__ import division", "x"))
    )
    assert [each.error.partition(":")[0] for each in executions] == ["SyntaxError", "SyntaxError", ""]


def test_the_last_candidate_runs_even_if_the_prefix_dies_before_it(sandbox):
    prefix = "import signal\nsignal.alarm(1)\n"
    executions = sandbox.run(Execute(prefix, ("import time\ntime.sleep(1.2)", "print(1)")))
    assert executions[1].stdout == "1\n"
