"""Monte Carlo tree search as a generator that yields what it needs (paper, section 3.2).

`search` performs no input or output: it yields a `Request` and is sent the matching `Reply`. One rollout is
one descent from the root to a terminal node, then back-propagation, in four verbs: select, expand,
evaluate, backup.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar, cast

from rstar_core.annotation import initial_q, terminal_value
from rstar_core.errors import SearchError
from rstar_core.parsing import Malformed, parse_step
from rstar_core.prompts import ALL_TAGS, PREAMBLE, answer_step, last_output_line, output_block
from rstar_core.requests import Execute, Grade, Propose, Reply, Request, Score
from rstar_core.selection import select_child
from rstar_core.tree import Node, Terminal, Tree
from rstar_core.types import Completion, Execution, ExecutionStatus, Step, StepKind, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Generator, Sequence

    from rstar_core.config import SearchConfig

ReplyT = TypeVar("ReplyT", Completion, Execution, float, Verdict)
_MAX_SEED = 2**31 - 1


def search(
    question: str, reference: str | None, config: SearchConfig, rng: random.Random
) -> Generator[Request, Reply, Tree]:
    """Grow one tree.

    Args:
        question: The problem's question.
        reference: The reference answer, or None at test time, when the PPM judges the answers.
        config: Budget and rules.
        rng: The tree's own random stream; nothing else is random.

    Returns:
        The tree, as the generator's return value.
    """
    tree = Tree()
    for _ in range(config.num_rollouts):
        leaf = yield from _descend(tree, question, reference, config, rng)
        value = terminal_value(
            cast("Terminal", leaf.terminal),
            correct=leaf.correct,
            score=leaf.prior if config.annotation == "ppm" else None,
        )
        backup(tree, leaf, value)
        if tree.root.closed:
            break
    return tree


def backup(tree: Tree, leaf: Node, value: float) -> None:
    """q(s)^k = q(s)^(k-1) + value and N(s) + 1 along the path (paper, equation 2)."""
    for node in tree.path(leaf):
        node.visits += 1
        node.q_sum += value
    tree.num_rollouts += 1


def _descend(
    tree: Tree, question: str, reference: str | None, config: SearchConfig, rng: random.Random
) -> Generator[Request, Reply, Node]:
    node = tree.root
    while node.terminal is None:
        if not node.expanded:
            yield from expand(tree, node, question, reference, config, rng)
        if not node.children:
            return node  # a dead end
        node = select_child(tree, node, exploration=config.exploration, rng=rng)
    return node


def expand(
    tree: Tree,
    node: Node,
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
) -> Generator[Request, Reply, None]:
    """Give `node` children, or close it as a dead end if no candidate survives `num_proposals` attempts."""
    node.expanded = True
    written = _answer_is_written(node, config)
    for _ in range(1 if written else config.num_proposals):
        candidates = yield from _propose(tree, node, question, config, rng)
        survivors = yield from _execute(tree, node, candidates)
        verdicts, survivors = yield from _grade(tree, survivors, reference)
        yield from evaluate(tree, node, survivors, verdicts, question, config)
        if node.children:
            return
    node.terminal = Terminal.DEAD_END
    _close(tree, node)


def evaluate(
    tree: Tree,
    node: Node,
    steps: Sequence[Step],
    verdicts: Sequence[bool | None],
    question: str,
    config: SearchConfig,
) -> Generator[Request, Reply, None]:
    """Turn surviving candidates into children with their initial values."""
    if not steps:
        return
    scores: Sequence[float | None] = [None] * len(steps)
    if config.annotation == "ppm":
        earlier = tuple(step.text for step in tree.steps(node))
        request = Score(question, earlier, tuple(step.text for step in steps))
        scores = _check((yield request), len(steps), float)
    for step, verdict, score in zip(steps, verdicts, scores, strict=True):
        child = tree.add(node, step, initial_q(score))
        if step.kind is StepKind.ANSWER:
            child.terminal = Terminal.ANSWER
            child.correct = verdict
        elif child.depth >= config.max_depth:
            child.terminal = Terminal.DEPTH_LIMIT


def _propose(
    tree: Tree, node: Node, question: str, config: SearchConfig, rng: random.Random
) -> Generator[Request, Reply, list[Step]]:
    parent = node.step.kind if node.step else None
    if node.step is not None and _answer_is_written(node, config):
        answer = last_output_line(node.step.text)
        return [Step(StepKind.ANSWER, answer_step(answer), answer=answer)]
    request = Propose(
        question=question,
        steps=tuple(step.text for step in tree.steps(node)),
        num_candidates=config.num_candidates,
        seed=rng.randint(0, _MAX_SEED),
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_step_tokens,
    )
    completions = _check((yield request), config.num_candidates, Completion)
    candidates: dict[str, Step] = {}
    for completion in completions:
        tree.num_tokens += completion.num_tokens
        tree.num_candidates += 1
        step = parse_step(completion, parent)
        if isinstance(step, Malformed):
            tree.drops[step.defect] += 1
        elif step.text in candidates:
            tree.drops["identical_sibling"] += 1
        else:
            candidates[step.text] = step
    return list(candidates.values())


def _answer_is_written(node: Node, config: SearchConfig) -> bool:
    """Whether the next step is the answer that we write from the program's output."""
    final = node.step is not None and node.step.kind is StepKind.FINAL_CODE
    return final and config.answer_step == "output"


def _execute(tree: Tree, node: Node, candidates: list[Step]) -> Generator[Request, Reply, list[Step]]:
    """Keep the candidates whose code runs; a final one also has to print something."""
    with_code = tuple(step.code for step in candidates if step.kind is not StepKind.ANSWER)
    if not with_code:
        return candidates
    prefix = PREAMBLE + "".join(step.code for step in tree.steps(node))
    executions = _check((yield Execute(prefix, with_code)), len(with_code), Execution)
    results = iter(executions)
    survivors = []
    for step in candidates:
        execution = None if step.kind is StepKind.ANSWER else next(results)
        if execution is None or (step.kind is StepKind.CODE and execution.status is ExecutionStatus.OK):
            survivors.append(step)
        elif execution.status is not ExecutionStatus.OK:
            tree.drops[f"code_{execution.status}"] += 1
        elif not execution.stdout.strip():
            tree.drops["no_output"] += 1
        elif any(tag in execution.stdout for tag in ALL_TAGS):
            tree.drops["tag_in_output"] += 1  # a program must not write the solution's structure
        else:
            text = step.text + output_block(execution.stdout)
            survivors.append(Step(step.kind, text, step.code))
    return survivors


def _grade(
    tree: Tree, steps: list[Step], reference: str | None
) -> Generator[Request, Reply, tuple[list[bool | None], list[Step]]]:
    """Verdicts of the answer steps; an answer that cannot be decided is dropped: it is not wrong."""
    answers = tuple(step.answer for step in steps if step.answer is not None)
    if reference is None or not answers:
        return [None] * len(steps), steps
    results = iter(_check((yield Grade(answers, reference)), len(answers), Verdict))
    verdicts: list[bool | None] = []
    decided = []
    for step in steps:
        correct = None if step.answer is None else next(results).correct
        if step.answer is not None and correct is None:
            tree.drops["answer_undecided"] += 1
            continue
        verdicts.append(correct)
        decided.append(step)
    return verdicts, decided


def _close(tree: Tree, node: Node) -> None:
    """Close `node`, and every ancestor of which all children are closed."""
    node.closed = True
    while node.parent is not None:
        node = tree.nodes[node.parent]
        if not all(child.closed for child in tree.children(node)):
            return
        node.closed = True


def _check(reply: Reply, count: int, kind: type[ReplyT]) -> tuple[ReplyT, ...]:
    if len(reply) != count or not all(isinstance(item, kind) for item in reply):
        raise SearchError(
            f"a driver sent {len(reply)} values where {count} of {kind.__name__} were asked for"
        )
    if kind is float and not all(math.isfinite(cast("float", item)) for item in reply):
        raise SearchError(
            "the PPM gave a score that is not a number; train it again with a lower learning rate"
        )
    return cast("tuple[ReplyT, ...]", reply)
