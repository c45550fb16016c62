"""`make check`: no file of the four packages is over 500 lines."""

import sys
from pathlib import Path

LIMIT = 500
ROOT = Path(__file__).parents[1]

too_long = [
    f"{path.relative_to(ROOT)}: {count} lines, at most {LIMIT} are allowed"
    for package in ("flows", "tasks", "infra", "rstar_core")
    for path in sorted((ROOT / package).rglob("*.py"))
    if (count := len(path.read_text(encoding="utf-8").splitlines())) > LIMIT
]
print("\n".join(too_long) or "file sizes ok")
sys.exit(bool(too_long))
