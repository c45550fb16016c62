"""A search tree as one static page: no script, no request to anywhere, everything a model wrote escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from flows.tree_view import LEGEND, figures, marks, repeats
from rstar_core.types import StepKind

if TYPE_CHECKING:
    from flows.tree_view import FailedView, StepView, TreeView

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Even if something slipped through, the page could load and run nothing."""

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --soft: #656d76; --box: #f6f8fa; --good: #1a7f37;
  --bad: #cf222e; --mark: #9a6700; --page: #fff; --ink: #1f2328; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --soft: #8b949e; --box: #161b22;
  --good: #3fb950; --bad: #f85149; --mark: #d29922; --page: #0d1117; --ink: #e6edf3; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  background: var(--page); color: var(--ink); }
h1 { font-size: 1.3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; }
dt { color: var(--soft); }
dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { border-left: 4px solid var(--mark); padding: .3rem .8rem; background: var(--box); }
.legend { color: var(--soft); font-size: .85rem; }
.legend b { color: var(--ink); margin-right: .3rem; }
.legend span { margin-right: 1.2rem; display: inline-block; }
ul { list-style: none; margin: 0; padding-left: 1.3rem; border-left: 1px solid var(--line); }
ul.root { padding-left: 0; border: 0; }
li { margin: .3rem 0; }
summary { cursor: pointer; border-radius: 4px; padding: .05rem .3rem; overflow-wrap: anywhere; }
summary:hover { background: var(--box); }
summary > span { margin-right: .35rem; }
.chosen > summary { background: color-mix(in srgb, var(--mark) 14%, transparent); }
.index, .first { color: var(--soft); }
.first { font: .85em ui-monospace, monospace; }
details[open] > summary > .first { display: none; }
.figures { font-variant-numeric: tabular-nums; font-weight: 600; white-space: pre; }
.good { color: var(--good); } .bad { color: var(--bad); }
.marks { color: var(--mark); font-weight: 700; }
.idle > summary { opacity: .65; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 4px;
  margin: .25rem 0 .25rem 1.1rem; padding: .35rem .7rem; overflow-x: auto;
  font: .85em/1.45 ui-monospace, monospace; }
pre.output { border-left: 4px solid var(--soft); }
.failed > summary, .failed p { color: var(--soft); font-size: .9em; }
.failed p { margin: .4rem 0 0 1.1rem; }
.failed p b { color: var(--bad); font-weight: 600; }
.failed pre { opacity: .8; }
"""


def tree_page(view: TreeView) -> str:
    """The page as HTML; whatever comes from `view` is escaped."""
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in view.facts)
    note = f'<p class="note">{escape(view.note)}</p>' if view.note else ""
    legend = "".join(f"<span><b>{escape(sign)}</b>{escape(words)}</span>" for sign, words in LEGEND)
    title = escape(dict(view.facts)["problem"].partition(",")[0])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Search tree of {title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Search tree of {title}</h1>
<dl>{facts}</dl>
{note}
<p class="legend">{legend}</p>
<ul class="root">{_step(view.root)}</ul>
</body>
</html>
"""


def _step(step: StepView) -> str:
    """A node as an item of a list: what was visited is open, the rest is closed."""
    tone = {True: "good", False: "bad", None: ""}
    answer = step.kind is StepKind.ANSWER
    first = "" if answer else step.body.strip().partition("\n")[0]
    more_output = step.output if "\n" in step.output.strip() else ""  # one line stands in the outcome
    kind = "chosen" if step.ranks else "" if step.visits else "idle"
    children = "".join(map(_step, step.children)) + _failed(step)
    return (
        f'<li><details class="{kind}"{" open" if step.visits and not answer else ""}><summary>'
        f'<span class="index">#{step.index}</span> '
        f'<span class="figures {_sign(step.q)}">{escape(figures(step))}</span> '
        f'<span class="{tone[step.good]}">{escape(step.outcome)}</span> '
        f'<span class="marks">{escape(marks(step))}</span> '
        f'<span class="index">{repeats(step)}</span> '
        f'<span class="first">{escape(first)}</span></summary>'
        f"{_block(step.body)}{_block(more_output, 'output')}"
        f"{f'<ul>{children}</ul>' if children else ''}</details></li>"
    )


def _sign(q: float | None) -> str:
    return "good" if q is not None and q > 0 else "bad" if q is not None and q < 0 else ""


def _block(text: str, kind: str = "step") -> str:
    return f'<pre class="{kind}">{escape(text)}</pre>' if text.strip() else ""


def _failed(step: StepView) -> str:
    """The candidates that failed here, closed."""
    if not step.failed:
        return ""
    count = sum(each.count for each in step.failed)
    items = "".join(map(_failed_item, step.failed))
    words = f"✗ {count} candidate{'s' if count > 1 else ''} failed"
    return f'<li><details class="failed"><summary>{words}</summary>{items}</details></li>'


def _failed_item(failed: FailedView) -> str:
    times = f"{failed.count} × " if failed.count > 1 else ""
    return f"<p>{times}<b>{escape(failed.reason)}</b></p>{_block(failed.body)}"
