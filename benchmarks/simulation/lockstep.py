"""The same requests in lock-step: a batch begins when the whole batch before it has ended.

Two orders. *By turn*: batch k holds the k-th turn of every tree. *By rollout*, as the released code has it:
batch k of a rollout holds the k-th turn that each tree has in that rollout, and no tree begins its next
rollout before all trees have ended theirs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.simulation.runner import SimulatedRunner
    from benchmarks.simulation.server import BatchServer
    from rstar_core.protocols import CodeRunner, Policy
    from rstar_core.requests import Execute, Propose
    from rstar_core.types import Completion, Execution


@dataclass(slots=True)
class Turn:
    """The work of one expansion.

    Attributes:
        steps: The steps of the node that was expanded.
        lengths: Tokens of each completion.
        run_seconds: How long each program ran; empty where there was no code.
    """

    steps: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    run_seconds: tuple[float, ...] = ()


class Recorder:
    """A policy and a code runner that pass requests on and note each tree's work.

    Attributes:
        turns: The turns of each tree, in order, by its question.
    """

    def __init__(self, policy: Policy, runner: CodeRunner) -> None:
        self._policy, self._runner = policy, runner
        self._latest: dict[asyncio.Task[object] | None, Turn] = {}  # a tree is a task; its code has no name
        self.turns: dict[str, list[Turn]] = {}

    async def propose(self, request: Propose) -> tuple[Completion, ...]:
        """The policy's reply; begins the tree's next turn."""
        turn = self._latest[asyncio.current_task()] = Turn(request.steps)
        self.turns.setdefault(request.question, []).append(turn)
        completions = await self._policy.propose(request)
        turn.lengths = tuple(each.num_tokens for each in completions)
        return completions

    async def execute(self, request: Execute) -> tuple[Execution, ...]:
        """The runner's reply; completes the tree's turn."""
        executions = await self._runner.execute(request)
        self._latest[asyncio.current_task()].run_seconds = tuple(each.seconds for each in executions)
        return executions


def rollouts(turns: Iterable[Turn]) -> list[list[Turn]]:
    """The turns of one tree, cut where a turn does not go on from the node of the turn before it."""
    cut: list[list[Turn]] = []
    for turn in turns:
        if not (cut and turn.steps and turn.steps[:-1] == cut[-1][-1].steps):
            cut.append([])
        cut[-1].append(turn)
    return cut


def by_turn(trees: Iterable[Sequence[Turn]]) -> Iterator[list[Turn]]:
    """Batches of the trees' first turns, then of their second, and so on."""
    for batch in zip_longest(*trees):
        yield [turn for turn in batch if turn is not None]


def by_rollout(trees: Iterable[Sequence[Turn]]) -> Iterator[list[Turn]]:
    """Batches in the order of the released code."""
    for rollout in zip_longest(*map(rollouts, trees), fillvalue=()):
        yield from by_turn(rollout)


async def replay(batches: Iterable[Sequence[Turn]], server: BatchServer, runner: SimulatedRunner) -> None:
    """One batch after the other: all of it is generated, then all of its code is run."""
    for batch in batches:
        await server.generate([length for turn in batch for length in turn.lengths])
        await runner.run([seconds for turn in batch for seconds in turn.run_seconds])
