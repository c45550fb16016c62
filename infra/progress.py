"""How far the work in this process is, for whoever watches: a terminal, or nobody.

Tasks run in many threads and know no terminal; they report here. The command line puts a display in place.
"""

from __future__ import annotations

from typing import Protocol


class Display(Protocol):
    """Something that shows progress; called from any thread."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage with `total` units of work begins."""

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` replaces the text beside the bar."""

    def extend(self, stage: str, count: int) -> None:
        """The stage turns out to have `count` more units of work."""

    def end(self, stage: str) -> None:
        """The stage is over."""


class Nobody:
    """The display of a worker: nothing is shown."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Show nothing."""

    def advance(self, stage: str, count: int = 1, note: str = "") -> None:
        """Show nothing."""

    def extend(self, stage: str, count: int) -> None:
        """Show nothing."""

    def end(self, stage: str) -> None:
        """Show nothing."""


class _Holder:
    display: Display = Nobody()


def show_on(display: Display) -> None:
    """Send this process's progress to `display`."""
    _Holder.display = display


def progress() -> Display:
    """The display in place."""
    return _Holder.display
