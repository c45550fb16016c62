"""The terminal: progress bars where there is one, a line now and then where there is not."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from rich.progress import TaskID

_LINE_EVERY_SECONDS = 15.0

console = Console(stderr=True, highlight=False)


class TerminalDisplay:
    """One bar per running stage; finished stages stay as a line above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: dict[str, tuple[TaskID, float]] = {}
        self._progress = Progress(
            TextColumn("[bold]{task.description:<16}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._progress.start()

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Show a new bar."""
        with self._lock:
            bar = self._progress.add_task(stage, total=total, unit=unit, note="")
            self._bars[stage] = (bar, time.monotonic())

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        """Move a bar; a stage that was never begun is not shown."""
        with self._lock:
            if stage in self._bars:
                fields = {"note": note} if note else {}
                self._progress.update(self._bars[stage][0], advance=count, **fields)  # type: ignore[arg-type]

    def extend(self, stage: str, count: int) -> None:
        """Make a bar's whole longer."""
        with self._lock:
            if stage in self._bars:
                bar, _ = self._bars[stage]
                task = next(each for each in self._progress.tasks if each.id == bar)
                self._progress.update(bar, total=(task.total or 0) + count)

    def end(self, stage: str) -> None:
        """Replace a bar by a line that says how long it took."""
        with self._lock:
            if stage not in self._bars:
                return
            bar, started = self._bars.pop(stage)
            task = next(each for each in self._progress.tasks if each.id == bar)
            self._progress.remove_task(bar)
            console.print(
                _line(stage, int(task.completed), int(task.total or 0), task.fields["unit"], started)
            )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()


class LineDisplay:
    """A line per stage at its beginning, its end, and every 15 seconds between: for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, tuple[int, int, str, float]] = {}
        self._last = 0.0

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Say that a stage begins."""
        with self._lock:
            self._stages[stage] = (0, total, unit, time.monotonic())
            console.print(f"{stage}: {total} {unit}")

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        """Count; speak if nothing was said for a while."""
        with self._lock:
            if stage not in self._stages:
                return
            done, total, unit, started = self._stages[stage]
            self._stages[stage] = (done + count, total, unit, started)
            if time.monotonic() - self._last > _LINE_EVERY_SECONDS:
                self._last = time.monotonic()
                console.print(f"  {_line(stage, done + count, total, unit, started)} {note}".rstrip())

    def extend(self, stage: str, count: int) -> None:
        """Count to a larger total."""
        with self._lock:
            if stage in self._stages:
                done, total, unit, started = self._stages[stage]
                self._stages[stage] = (done, total + count, unit, started)

    def end(self, stage: str) -> None:
        """Say how long a stage took."""
        with self._lock:
            if stage in self._stages:
                done, total, unit, started = self._stages.pop(stage)
                console.print(_line(stage, done, total, unit, started))

    def close(self) -> None:
        """Nothing to restore."""


def make_display() -> TerminalDisplay | LineDisplay:
    """Bars on a terminal, lines elsewhere."""
    return TerminalDisplay() if sys.stderr.isatty() else LineDisplay()


def _line(stage: str, done: int, total: int, unit: str, started: float) -> str:
    return f"{stage:<16} {done}/{total} {unit} in {time.monotonic() - started:.0f} s"
