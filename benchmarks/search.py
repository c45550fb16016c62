"""How well the search uses its engine, and what the search itself costs.

python benchmarks/search.py [--json] [--only SECTION]

A section is a function that returns its figures; `SECTIONS` names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.all_in import all_in
from benchmarks.bookkeeping import bookkeeping
from benchmarks.figures import Figure, at_least, at_most, run_sections
from benchmarks.simulation.comparison import compare
from benchmarks.waves import waves

if TYPE_CHECKING:
    from collections.abc import Callable

NUM_PROBLEMS = 512
GOAL_MAKESPAN = 1.03
GOAL_LOCKSTEP = 1.9


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    run_sections(__doc__, SECTIONS)


def simulation() -> list[Figure]:
    """The driver against a simulated server: how near to full batches, how far from lock-step (20 s)."""
    run = compare(NUM_PROBLEMS)
    expansions = sum(run.expansions) / len(run.expansions)
    by_rollout, by_turn = run.lockstep_by_rollout, run.lockstep_by_turn
    return [
        at_most("simulated makespan / token bound", run.makespan / run.token_bound, "1", GOAL_MAKESPAN),
        at_least(
            "simulated lock-step, released order / makespan", by_rollout / run.makespan, "1", GOAL_LOCKSTEP
        ),
        Figure("simulated lock-step by turns / makespan", by_turn / run.makespan, "1"),
        Figure(
            "simulated lock-step by turns / token bound: the most possible", by_turn / run.token_bound, "1"
        ),
        Figure("simulated engine busy share", run.busy_share, "1"),
        Figure("simulated makespan", run.makespan, "s"),
        Figure("simulated token bound", run.token_bound, "s"),
        Figure("simulated lock-step, released order", by_rollout, "s"),
        Figure("simulated lock-step by turns", by_turn, "s"),
        Figure("simulated completions", run.num_completions, "1"),
        Figure("simulated tokens", run.num_tokens, "1"),
        Figure("simulated expansions a rollout, fewest", min(run.expansions), "1"),
        Figure("simulated expansions a rollout, mean", expansions, "1"),
        Figure("simulated expansions a rollout, most", max(run.expansions), "1"),
    ]


SECTIONS: dict[str, Callable[[], list[Figure]]] = {
    "all-in": all_in,
    "bookkeeping": bookkeeping,
    "simulation": simulation,
    "waves": waves,
}

if __name__ == "__main__":
    main()
