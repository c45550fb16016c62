"""Tables that stay readable in a narrow terminal: no name and no number is ever cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from flows.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAPS = (2, 1)
"""Spaces between columns, the first that fits."""
_LEAST_WIDTH = 10
"""A column of text is wrapped to no less than this: below it words fall apart."""
_SHARES = frozenset({"coverage", "pass_at_1", "low", "high", "agreement"})


def print_table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their names; numbers stand right.

    Where the terminal is too narrow, the widest column of text is wrapped. Where that is not enough, each row
    is printed as a block of `name  value` lines.
    """
    console = Console(highlight=False, emoji=False, markup=False)
    numeric = [_is_numeric([row[i] for row in rows]) for i in range(len(names))]
    cells = [[_cell(name, value) for name, value in zip(names, row, strict=True)] for row in rows]
    widths = [max(map(_width, [name, *(row[i] for row in cells)])) for i, name in enumerate(names)]
    gap = next((gap for gap in _GAPS if _total(widths, gap) <= console.width), _GAPS[-1])
    excess = _total(widths, gap) - console.width
    if excess > 0:
        widest = max((i for i in range(len(names)) if not numeric[i]), key=widths.__getitem__, default=None)
        if widest is None or widths[widest] - excess < max(_LEAST_WIDTH, len(names[widest])):
            _print_blocks(console, names, cells)
            return
        widths[widest] -= excess
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for name, width, is_number in zip(names, widths, numeric, strict=True):
        table.add_column(name, width=width, justify="right" if is_number else "left", overflow="fold")
    table.add_row(*("─" * width for width in widths))
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _print_blocks(console: Console, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows):
        grid = Table.grid(padding=(0, _GAPS[0], 0, 0))
        grid.add_column(width=max(map(len, names)))
        grid.add_column(overflow="fold")
        for name, cell in zip(names, row, strict=True):
            grid.add_row(name, cell)
        if number:
            console.print()
        console.print(grid)


def _is_numeric(values: Sequence[object]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        if name in _SHARES:
            return f"{100 * value:.1f} %"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return visible(str(value))


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _width(cell: str) -> int:
    return max(map(cell_len, cell.splitlines()), default=0)
