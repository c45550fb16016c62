"""A search tree as what a person reads of it: words and figures, for the terminal and for the page alike.

Whatever a model or a problem file wrote passes through `visible` here, so both may show it as it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from flows.visible import first_line, visible
from rstar_core.tags import END_OF_CODE, END_OF_OUTPUT, END_OF_STEP, OUTPUT_START
from rstar_core.trajectories import trajectories
from rstar_core.tree import Terminal
from rstar_core.types import StepKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.tree_history import TreeHistory
    from rstar_core.audit import Rejected
    from rstar_core.tree import Node

LEGEND = (
    ("N", "rollouts through the step"),
    ("Q", "its mean value, −1 to +1"),
    ("PPM", "its step score, −1 to +1"),
    ("★1", "on the trajectory selected first"),
    ("⊕ ⊖", "better or worse side of a step pair"),
    ("✗", "candidate that did not become a step"),
    ("n repeats", "next steps proposed once more"),
    ("#n", "node_id in the catalog's nodes"),
)
_REASONS = {
    "code_error": "error",
    "code_timeout": "timeout",
    "code_memory": "out of memory",
    "code_killed": "killed",
    "no_output": "printed nothing",
    "tag_in_output": "printed a tag of the step format",
    "too_long": "cut at the length limit",
    "no_end_tag": "ended without an end tag",
    "answer_undecided": "its answer could not be checked",
}
_IDENTICAL = "identical_sibling"


@dataclass(frozen=True, slots=True)
class FailedView:
    """Candidates that failed alike: why, what they were, and how many."""

    reason: str
    body: str
    count: int


@dataclass(frozen=True, slots=True)
class StepView:
    """One node.

    Attributes:
        index: Its index in the tree; 0 is the root.
        kind: Kind of its step; None for the root.
        visits: N.
        q: Q; None if it was never visited.
        score: The PPM's score; None if none scored it.
        outcome: What became of it, in a few words.
        good: Whether that is good; None if it is neither.
        ranks: Ranks of the selected trajectories through it.
        side: ⊕, ⊖, both or neither.
        body: The step without its end tag and output.
        output: What its program printed.
        failed: Candidates after it that failed.
        num_identical: Candidates after it that were proposed more than once.
        children: The steps after it.
    """

    index: int
    kind: StepKind | None
    visits: int
    q: float | None
    score: float | None
    outcome: str
    good: bool | None
    ranks: tuple[int, ...]
    side: str
    body: str
    output: str
    failed: tuple[FailedView, ...]
    num_identical: int
    children: tuple[StepView, ...]


@dataclass(frozen=True, slots=True)
class TreeView:
    """The head's facts by name, a warning or nothing, and the root."""

    facts: tuple[tuple[str, str], ...]
    note: str
    root: StepView


def tree_view(history: TreeHistory) -> TreeView:
    """What a person reads of a tree."""
    return TreeView(_facts(history), visible(history.note), _step(history, history.tree.root))


def figures(step: StepView) -> str:
    """N, Q and the PPM's score in one line."""
    q = "Q   –  " if step.q is None else f"Q {step.q:+.2f}"
    return f"N {step.visits}  {q}" + ("" if step.score is None else f"  PPM {step.score:+.2f}")


def marks(step: StepView) -> str:
    """★ with the rank of each selected trajectory, and the sides of pairs."""
    return "  ".join(filter(None, (*(f"★{rank}" for rank in step.ranks), step.side)))


def repeats(step: StepView) -> str:
    """How many candidates after it were proposed more than once; empty if none."""
    return _count(step.num_identical, "repeat") if step.num_identical else ""


def _facts(history: TreeHistory) -> tuple[tuple[str, str], ...]:
    problem, found = history.problem, trajectories(history.problem.problem_id, history.tree)
    others = [str(index) for index in history.tree_indices if index != history.tree_index]
    ppm = history.round.ppm_model
    scorer = "no PPM" if ppm is None or not history.scored else f"PPM {'/'.join(PurePath(ppm).parts[-2:])}"
    search = (
        f"{_count(history.num_rollouts, 'rollout')}, {_count(len(history.tree), 'node')}, "
        f"{_count(history.num_tokens, 'token')}, {_count(history.num_candidates, 'candidate')} of which "
        f"{history.num_failed} failed"
    )
    return (
        ("problem", visible(f"{problem.problem_id}, {problem.tier}, {problem.source}, {problem.split}")),
        ("question", visible(problem.question)),
        ("reference", visible(problem.answer)),
        (
            "tree",
            f"{history.tree_index} of round {history.round.round_id}, seed {history.seed}"
            + (f" (there is also --tree {', '.join(others)})" if others else ""),
        ),
        ("models", visible(f"policy {history.round.policy_model}, {scorer}")),
        ("search", search),
        ("found", f"{_count(len(found), 'solution')}, {sum(each.correct for each in found)} correct"),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _step(history: TreeHistory, node: Node) -> StepView:
    rejected = [] if history.rejected is None else history.rejected.get(node.index, [])
    body, output = _texts(node)
    outcome, good = _outcome(node, output)
    side = "⊕" * (node.index in history.marks.positive) + "⊖" * (node.index in history.marks.negative)
    return StepView(
        index=node.index,
        kind=None if node.step is None else node.step.kind,
        visits=node.visits,
        q=node.q if node.visits else None,
        score=node.prior if history.scored and node.index else None,
        outcome=outcome,
        good=good,
        ranks=tuple(history.marks.ranks.get(node.index, ())),
        side=side,
        body=body,
        output=output,
        failed=_failed(rejected),
        num_identical=sum(each.reason == _IDENTICAL for each in rejected),
        children=tuple(_step(history, child) for child in history.tree.children(node)),
    )


def _texts(node: Node) -> tuple[str, str]:
    """The step's own text and what its program printed."""
    step = node.step
    if step is None:
        return "", ""
    if step.kind is StepKind.ANSWER:
        return visible(step.text).strip(), ""
    block = step.text.partition(END_OF_CODE)[2]
    return visible(step.code).strip("\n"), visible(printed(block))


def printed(block: str) -> str:
    """What stands in an output block."""
    return block.partition(OUTPUT_START)[2].rpartition(END_OF_OUTPUT)[0]


def _outcome(node: Node, output: str) -> tuple[str, bool | None]:
    step = node.step
    if step is None:
        return "question", None
    if step.kind is StepKind.ANSWER:
        verdict = {True: "correct", False: "wrong", None: "not checked"}[node.correct]
        return f"answer {first_line(step.answer or '')}: {verdict}", node.correct
    if node.terminal is Terminal.DEAD_END:
        return "ok, then a dead end", False
    if node.terminal is Terminal.DEPTH_LIMIT:
        return "ok, but at the depth limit", False
    if step.kind is StepKind.FINAL_CODE:
        return f"ok, printed {first_line(output)}", None
    return "ok", None


def _failed(rejected: Sequence[Rejected]) -> tuple[FailedView, ...]:
    alike = Counter((_reason(each), _body(each)) for each in rejected if each.reason != _IDENTICAL)
    return tuple(FailedView(reason, body, count) for (reason, body), count in alike.items())


def _body(rejected: Rejected) -> str:
    """What was proposed, without the tag that ends a well-formed step."""
    text = rejected.text.strip("\n")
    return visible(text.removesuffix(END_OF_STEP).removesuffix(END_OF_CODE)).strip("\n")


def _reason(rejected: Rejected) -> str:
    words = _REASONS.get(rejected.reason, rejected.reason.replace("_", " "))
    detail = first_line(rejected.detail)
    return f"{words}: {detail}" if detail else words
