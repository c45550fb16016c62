"""What every program finds loaded.

The full image: the modules that mathematical code uses, imported and exercised.

A program that imports one of these pays nothing, and caches that sympy fills on first use are full already.
To make a module free for programs, add it to `MODULES`.

The light image: what plain arithmetic needs, and an empty `sympy` for the preamble's import. A program in it
costs half. `source.is_light` says which programs cannot tell the two apart.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import io
import itertools
import random
import sys
import types
from typing import Final

from infra.sandbox import kernel
from infra.sandbox.exercise import EXERCISE

MODULES: Final = """
    abc array ast bisect bz2 calendar cmath codecs collections collections.abc colorsys
    concurrent.futures contextlib copy csv ctypes dataclasses datetime decimal difflib enum fractions
    functools graphlib hashlib heapq inspect io itertools json keyword locale logging lzma math numbers
    operator pickle pprint queue random re secrets signal statistics string struct textwrap threading
    time timeit tokenize traceback types typing unicodedata uuid warnings weakref zlib zoneinfo numpy
    numpy.fft numpy.linalg numpy.polynomial numpy.random mpmath sympy sympy.abc sympy.combinatorics
    sympy.core.random sympy.functions.combinatorial.numbers sympy.geometry sympy.ntheory
    sympy.ntheory.modular sympy.ntheory.residue_ntheory sympy.parsing.sympy_parser
    sympy.polys.numberfields sympy.sets sympy.solvers.diophantine sympy.solvers.inequalities sympy.stats
    sympy.utilities.iterables
""".split()  # noqa: SIM905 - names read better as words

LIGHT_MODULES: Final = "cmath collections decimal fractions functools itertools math random".split()  # noqa: SIM905

_HUGE_PAGE: Final = 1 << 21


def warm(*, light: bool) -> None:
    """Import and exercise everything, then fix the seeds and freeze the heap, so that forks share it."""
    if light:
        _load_light()
    else:
        _load_full()
    _fix_seeds()
    atexit._clear()  # noqa: SLF001 - a program's end runs its own handlers, not the libraries'
    gc.collect()
    gc.freeze()
    _use_huge_pages()


def _fix_seeds() -> None:
    """Let no generator begin with the system's randomness: the n-th one that is not seeded gets seed n."""
    numbers = itertools.count()
    seed = random.Random.seed

    def repeatable(self: random.Random, a: object = None, version: int = 2) -> None:
        seed(self, next(numbers) if a is None else a, version)  # type: ignore[arg-type]  # as its author wrote it

    def entropy(size: int) -> bytes:
        return random.Random(next(numbers)).randbytes(size)  # noqa: S311 - repeatable is what it has to be

    random.Random.seed = repeatable  # type: ignore[method-assign]
    random.seed = random._inst.seed  # noqa: SLF001
    random._urandom = entropy  # type: ignore[attr-defined]  # noqa: SLF001 - SystemRandom, secrets and numpy ask it
    random.seed(0)


def _load_light() -> None:
    for name in LIGHT_MODULES:
        importlib.import_module(name)
    sys.modules["sympy"] = types.ModuleType("sympy")


def _load_full() -> None:
    for name in MODULES:
        importlib.import_module(name)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(EXERCISE, {"__name__": "exercise"})  # noqa: S102 - our own text
    importlib.import_module("sympy.core.random").seed(0)
    importlib.import_module("numpy.random").seed(0)


def _use_huge_pages() -> None:
    """Gather the heap into huge pages where the kernel can (6.1 on), which halves the cost of a fork."""
    with open("/proc/self/maps", encoding="ascii") as file:  # noqa: PTH123 - pathlib would grow the image
        fields = [line.split() for line in file]
    for span, rights, _, _, _, *name in fields:
        if rights.startswith("rw") and name in ([], ["[heap]"]):
            first, last = (int(end, 16) for end in span.split("-"))
            first, last = -(-first // _HUGE_PAGE) * _HUGE_PAGE, last // _HUGE_PAGE * _HUGE_PAGE
            if last > first:
                kernel.gather(first, last - first)


def fresh_main() -> dict[str, object]:
    """Globals of a new, empty `__main__` module."""
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    return module.__dict__
