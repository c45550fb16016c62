"""A search tree on the terminal: a head of facts, then a line of figures and the first lines of each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as RichTree

from flows.tree_view import LEGEND, figures, marks, repeats
from rstar_core.types import StepKind

if TYPE_CHECKING:
    from rich.console import RenderableType

    from flows.tree_view import FailedView, StepView, TreeView

_STEP_LINES = 3
_FAILED_LINES = 2
_FAILED_SHOWN = 4
_TAB = 4


def tree_text(view: TreeView) -> RenderableType:
    """The whole tree, to be printed by rich; long lines are cut at its width."""
    head = Table.grid(padding=(0, 2))
    for name, value in view.facts:
        head.add_row(Text(name, style="dim"), Text(value))
    if view.note:
        head.add_row(Text("note", style="dim"), Text(view.note, style="yellow"))
    return Group(head, Text(), _branch(view.root), Text(), _legend())


def _legend() -> Table:
    legend = Table.grid(padding=(0, 2))
    half = len(LEGEND) // 2
    for left, right in zip(LEGEND[:half], LEGEND[half:], strict=True):
        legend.add_row(*(Text(word, style="dim") for word in (*left, *right)))
    return legend


def _branch(root: StepView) -> RichTree:
    tree = RichTree(_label(root), guide_style="dim")
    stack = [(tree, root)]
    while stack:
        place, step = stack.pop()
        stack += [(place.add(_label(child)), child) for child in step.children]
        for label in _failed_labels(step):
            place.add(label)
    return tree


def _label(step: StepView) -> RenderableType:
    colour = {True: "green", False: "red", None: ""}
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"#{step.index}  ", "dim")
    head.append(figures(step), _q_style(step.q))
    head.append(f"  {step.outcome}", colour[step.good])
    if marks(step):
        head.append(f"  {marks(step)}", "bold yellow")
    if step.num_identical:
        head.append(f"  {repeats(step)}", "dim")
    body = "" if step.kind in {None, StepKind.ANSWER} else step.body
    lines = _first_lines(body, _STEP_LINES, "" if step.visits else "dim")
    return Group(head, lines) if lines else head


def _q_style(q: float | None) -> str:
    if q is None:
        return "dim"
    return "bold green" if q > 0 else "bold red" if q < 0 else "bold"


def _failed_labels(step: StepView) -> list[RenderableType]:
    labels: list[RenderableType] = [_failed_label(each) for each in step.failed[:_FAILED_SHOWN]]
    hidden = sum(each.count for each in step.failed[_FAILED_SHOWN:])
    if hidden:
        labels.append(Text(f"✗ {hidden} more failed; --html FILE shows all", style="dim"))
    return labels


def _failed_label(failed: FailedView) -> RenderableType:
    times = f"{failed.count} × " if failed.count > 1 else ""
    reason = Text(f"✗ {times}{failed.reason}", style="dim red", no_wrap=True, overflow="ellipsis")
    lines = _first_lines(failed.body, _FAILED_LINES, "dim")
    return Group(reason, lines) if lines else reason


def _first_lines(body: str, count: int, style: str) -> Text | None:
    """The first lines that are not blank, and how many more there are."""
    lines = [line for line in body.expandtabs(_TAB).split("\n") if line.strip()]
    if not lines:
        return None
    shown, more = lines[:count], len(lines) - count
    text = Text("\n".join(shown), style=style, no_wrap=True, overflow="ellipsis")
    if more > 0:
        text.append(f"\n… {more} more line{'s' if more > 1 else ''}", "dim")
    return text
