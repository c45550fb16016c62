"""For all tests: quick imports, and a word at the end on what was not tested and why."""

import gc
from collections import Counter, defaultdict

from hypothesis import settings

# The gate must say the same of the same code; whoever hunts for counterexamples sets another profile.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

gc.disable()  # searching the modules for garbage while they are imported takes a second


def pytest_collection_modifyitems(items):
    """The files that take minutes come first: while the last one runs, the other cores are idle."""
    long = {item.path for item in items if item.get_closest_marker("real")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish():
    gc.freeze()  # and so does searching them again and again afterwards
    gc.enable()


def pytest_terminal_summary(terminalreporter):
    skipped = defaultdict(Counter)
    for report in terminalreporter.stats.get("skipped", []):
        _, _, reason = report.longrepr
        skipped[reason.removeprefix("Skipped: ")][report.nodeid.partition("[")[0]] += 1
    for reason, tests in skipped.items():
        terminalreporter.write_line(f"not tested, because {reason}:", yellow=True)
        for test, count in tests.items():
            terminalreporter.write_line(f"  {test}" + (f" ({count} cases)" if count > 1 else ""))
