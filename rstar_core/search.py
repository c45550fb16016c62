"""Monte Carlo tree search as a generator that yields what it needs (paper, section 3.2).

`search` performs no input or output: it yields a `Request` and is sent the matching `Reply`. One rollout is
one descent from the root to a terminal node, then back-propagation, in four verbs: select, expand,
evaluate, backup.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TypeVar, cast

from rstar_core.annotation import initial_q, terminal_value
from rstar_core.errors import SearchError
from rstar_core.parsing import Defect, Malformed, parse_step
from rstar_core.prompts import PREAMBLE, answer_step, last_output_line, output_block
from rstar_core.requests import Execute, Grade, Propose, Reply, Request, Score
from rstar_core.selection import select_child
from rstar_core.tags import ALL_TAGS
from rstar_core.tree import Terminal, Tree
from rstar_core.types import Completion, Execution, ExecutionStatus, Step, StepKind, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Generator, Sequence

    from rstar_core.config import SearchConfig

ReplyT = TypeVar("ReplyT", Completion, Execution, float, Verdict)
_MAX_SEED = 2**31 - 1
_TAG = re.compile("|".join(ALL_TAGS))

MISSING_CANDIDATE = "missing_candidate"
"""Reason in `drops` for a candidate that the policy owed and did not send."""


def search(
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
    tree: Tree | None = None,
) -> Generator[Request, Reply, Tree]:
    """Grow one tree.

    Args:
        question: The problem's question.
        reference: The reference answer, or None at test time, when the PPM judges the answers.
        config: Budget and rules.
        rng: The tree's own random stream; nothing else is random.
        tree: An empty tree to grow, for who wants to look on; None makes one.

    Returns:
        The tree, as the generator's return value.
    """
    tree = Tree() if tree is None else tree
    while tree.num_rollouts < config.num_rollouts and not tree.closed[0]:
        leaf = yield from _descend(tree, question, reference, config, rng)
        backup(tree, leaf, value_of(tree, leaf, config))
    tree.trim()
    return tree


def backup(tree: Tree, leaf: int, value: float) -> None:
    """q(s)^k = q(s)^(k-1) + value and N(s) + 1 along the path (paper, equation 2)."""
    visits, q_sum, parent = tree.visits, tree.q_sum, tree.parent
    tree.rollout_leaves.append(leaf)
    while leaf >= 0:
        visits[leaf] += 1
        q_sum[leaf] += value
        leaf = parent[leaf]
    tree.num_rollouts += 1


def value_of(tree: Tree, leaf: int, config: SearchConfig) -> float:
    """What a rollout that ended at `leaf` is worth."""
    node = tree.node(leaf)
    score = node.prior if config.annotation == "ppm" else None
    return terminal_value(cast("Terminal", node.terminal), correct=node.correct, score=score)


def _descend(
    tree: Tree, question: str, reference: str | None, config: SearchConfig, rng: random.Random
) -> Generator[Request, Reply, int]:
    node = 0
    while not tree.is_terminal(node):
        if tree.first_child[node] < 0:
            yield from expand(tree, node, question, reference, config, rng)
        if tree.first_child[node] < 0:
            return node  # a dead end
        node = select_child(tree, node, exploration=config.exploration, rng=rng)
    return node


def expand(
    tree: Tree,
    node: int,
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
) -> Generator[Request, Reply, None]:
    """Give `node` children, or close it as a dead end if no candidate survives `num_proposals` attempts."""
    texts = tree.texts_to(node)
    parent = tree.kind_of(node)
    if parent is StepKind.FINAL_CODE and config.answer_step == "output":
        written = Step(StepKind.ANSWER, answer_step(last_output_line(texts[-1])))
        if written.answer:
            yield from _accept(tree, node, [written], texts, question, reference, config)
        else:  # what was printed has a brace too many
            tree.drop(node, Defect.NO_BOXED_ANSWER, written.text)
    else:
        for _ in range(config.num_proposals):
            candidates = yield from _propose(tree, node, texts, question, config, rng)
            survivors = yield from _execute(tree, node, candidates, texts)
            yield from _accept(tree, node, survivors, texts, question, reference, config)
            if tree.first_child[node] >= 0:
                break
    if tree.first_child[node] < 0:
        tree.end(node, Terminal.DEAD_END)
        _close(tree, node)


def evaluate(
    tree: Tree,
    node: int,
    steps: Sequence[Step],
    verdicts: Sequence[bool | None],
    scores: Sequence[float | None],
    config: SearchConfig,
) -> None:
    """Turn surviving candidates into children with their initial values."""
    children = tree.extend(node, steps, [initial_q(score) for score in scores])
    at_limit = tree.depth[node] + 1 >= config.max_depth
    for child, step, verdict in zip(children, steps, verdicts, strict=True):
        if step.kind is StepKind.ANSWER:
            tree.end(child, Terminal.ANSWER, correct=verdict)
        elif at_limit:
            tree.end(child, Terminal.DEPTH_LIMIT)


def _accept(
    tree: Tree,
    node: int,
    steps: Sequence[Step],
    texts: tuple[str, ...],
    question: str,
    reference: str | None,
    config: SearchConfig,
) -> Generator[Request, Reply, None]:
    """Grade and score the candidates that ran, and add them to the tree."""
    verdicts, steps = yield from _grade(tree, node, steps, reference)
    scores: Sequence[float | None] = [None] * len(steps)
    if steps and config.annotation == "ppm":
        request = Score(question, texts, tuple([step.text for step in steps]))
        scores = _check((yield request), len(steps), float)
    evaluate(tree, node, steps, verdicts, scores, config)


def _propose(
    tree: Tree,
    node: int,
    texts: tuple[str, ...],
    question: str,
    config: SearchConfig,
    rng: random.Random,
) -> Generator[Request, Reply, list[Step]]:
    request = Propose(
        question=question,
        steps=texts,
        num_candidates=config.num_candidates,
        seed=rng.randint(0, _MAX_SEED),
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_step_tokens,
    )
    reply = _of_kind((yield request), config.num_candidates, Completion)
    tree.num_tokens += sum([completion.num_tokens for completion in reply])
    completions = reply[: config.num_candidates]
    tree.num_candidates += len(completions)
    if len(completions) < config.num_candidates:
        tree.drops[MISSING_CANDIDATE] += config.num_candidates - len(completions)
    parent = tree.kind_of(node)
    candidates: dict[str, Step] = {}
    for completion in completions:
        step = parse_step(completion, parent)
        if isinstance(step, Malformed):
            tree.drop(node, step.defect, completion.text)
        elif step.text in candidates:
            tree.drop(node, "identical_sibling", step.text)
        else:
            candidates[step.text] = step
    return list(candidates.values())


def _execute(
    tree: Tree, node: int, candidates: list[Step], texts: tuple[str, ...]
) -> Generator[Request, Reply, list[Step]]:
    """Keep the candidates whose code runs; a final one also has to print something."""
    with_code = tuple([step.code for step in candidates if step.kind is not StepKind.ANSWER])
    if not with_code:
        return candidates
    prefix = PREAMBLE + "".join([Step(StepKind.CODE, text).code for text in texts])
    executions = _check((yield Execute(prefix, with_code)), len(with_code), Execution)
    results = iter(executions)
    survivors = []
    for step in candidates:
        execution = None if step.kind is StepKind.ANSWER else next(results)
        if execution is None or (step.kind is StepKind.CODE and execution.status is ExecutionStatus.OK):
            survivors.append(step)
        elif execution.status is not ExecutionStatus.OK:
            tree.drop(node, f"code_{execution.status}", step.text, execution.error)
        elif not execution.stdout.strip():
            tree.drop(node, "no_output", step.text)
        elif _TAG.search(execution.stdout):  # a program must not write the solution's structure
            tree.drop(node, "tag_in_output", step.text, execution.stdout)
        else:
            survivors.append(Step(step.kind, step.text + output_block(execution.stdout)))
    return survivors


def _grade(
    tree: Tree, node: int, steps: Sequence[Step], reference: str | None
) -> Generator[Request, Reply, tuple[list[bool | None], Sequence[Step]]]:
    """Verdicts of the answer steps; an answer that cannot be decided is dropped: it is not wrong."""
    answers = tuple([step.answer or "" for step in steps if step.kind is StepKind.ANSWER])
    if reference is None or not answers:
        return [None] * len(steps), steps
    results = iter(_check((yield Grade(answers, reference)), len(answers), Verdict))
    verdicts: list[bool | None] = []
    decided = []
    for step in steps:
        correct = None if step.kind is not StepKind.ANSWER else next(results).correct
        if step.kind is StepKind.ANSWER and correct is None:
            tree.drop(node, "answer_undecided", step.text)
            continue
        verdicts.append(correct)
        decided.append(step)
    return verdicts, decided


def _close(tree: Tree, node: int) -> None:
    """Close `node`, and every ancestor of which all children are closed."""
    tree.closed[node] = 1
    while (node := tree.parent[node]) >= 0:
        if not all(tree.closed[child] for child in tree.children_of(node)):
            return
        tree.closed[node] = 1


def _check(reply: Reply, count: int, kind: type[ReplyT]) -> tuple[ReplyT, ...]:
    """Exactly `count` values of a kind."""
    values = _of_kind(reply, count, kind)
    if len(values) != count:
        raise _misfit(reply, count, kind)
    if kind is float and not all(math.isfinite(value) for value in values):
        raise SearchError(
            "the PPM gave a score that is not a number; train it again with a lower learning rate"
        )
    return values


def _of_kind(reply: Reply, count: int, kind: type[ReplyT]) -> tuple[ReplyT, ...]:
    """Any number of values of a kind."""
    if not ({*map(type, reply)} <= {kind} or all(isinstance(item, kind) for item in reply)):
        raise _misfit(reply, count, kind)
    return cast("tuple[ReplyT, ...]", reply)


def _misfit(reply: Reply, count: int, kind: type) -> SearchError:
    return SearchError(f"a driver sent {len(reply)} values where {count} of {kind.__name__} were asked for")
