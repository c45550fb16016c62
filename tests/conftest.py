"""Says at the end what was not tested for want of a model, data or rights, and which tests that are."""

from collections import Counter, defaultdict


def pytest_terminal_summary(terminalreporter):
    skipped = defaultdict(Counter)
    for report in terminalreporter.stats.get("skipped", []):
        _, _, reason = report.longrepr
        skipped[reason.removeprefix("Skipped: ")][report.nodeid.partition("[")[0]] += 1
    for reason, tests in skipped.items():
        terminalreporter.write_line(f"not tested, because {reason}:", yellow=True)
        for test, count in tests.items():
            terminalreporter.write_line(f"  {test}" + (f" ({count} cases)" if count > 1 else ""))
