"""A simulated search through the real driver, and the same requests in lock-step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.simulation.clock import run_virtual
from benchmarks.simulation.lockstep import Recorder, by_rollout, by_turn, replay, rollouts
from benchmarks.simulation.runner import SimulatedRunner
from benchmarks.simulation.script import REFERENCE, FirstPreferred, write
from benchmarks.simulation.server import BatchServer, SimulatedPolicy
from infra.driver import Services, TreeJob, grow_trees
from infra.grading.fake import ExactGrader
from rstar_core.config import SearchConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.simulation.lockstep import Turn

CONFIG = SearchConfig(
    num_candidates=8, num_rollouts=16, max_step_tokens=8192, annotation="ppm", answer_step="output"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the runs took, in virtual seconds, and what they did.

    Attributes:
        token_bound: All tokens in full batches, without any code.
        makespan: The driver's run, from the first request to the end of the last tree.
        lockstep_by_turn: The same requests in lock-step over the trees' turns.
        lockstep_by_rollout: The same in the released code's order.
        busy_share: Share of the makespan times all slots in which a sequence was running.
        expansions: Expansions of each rollout of each tree.
        num_completions: Sequences generated.
        num_tokens: Tokens generated.
    """

    token_bound: float
    makespan: float
    lockstep_by_turn: float
    lockstep_by_rollout: float
    busy_share: float
    expansions: tuple[int, ...]
    num_completions: int
    num_tokens: int


def compare(num_problems: int) -> Comparison:
    """Search `num_problems` problems in simulated time, then replay what was asked in lock-step."""
    server = BatchServer()
    recorder = Recorder(SimulatedPolicy(server, write), SimulatedRunner())
    jobs = [
        TreeJob(f"p{number}", f"Problem {number}", REFERENCE, 0, number, CONFIG)
        for number in range(num_problems)
    ]
    _, makespan = run_virtual(_grow(jobs, Services(recorder, recorder, ExactGrader(), FirstPreferred())))
    trees = list(recorder.turns.values())
    return Comparison(
        token_bound=server.token_bound(),
        makespan=makespan,
        lockstep_by_turn=_lockstep(by_turn(trees)),
        lockstep_by_rollout=_lockstep(by_rollout(trees)),
        busy_share=server.busy_share(makespan),
        expansions=tuple(len(rollout) for tree in trees for rollout in rollouts(tree)),
        num_completions=server.num_sequences,
        num_tokens=server.num_tokens,
    )


async def _grow(jobs: Sequence[TreeJob], services: Services) -> None:
    async for _ in grow_trees(jobs, services):
        pass


def _lockstep(batches: Iterable[Sequence[Turn]]) -> float:
    return run_virtual(replay(batches, BatchServer(), SimulatedRunner()))[1]
