"""What a plan assumes where nothing was measured, and the paper's own budget to compare with.

Each assumption says where it comes from. The paper gives no speeds; those of GPUs are what its budget comes
to when its four rounds are planned with the other figures of this file (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstar_core.estimate import Rate, Rates

if TYPE_CHECKING:
    from rstar_core.config import RoundConfig


@dataclass(frozen=True, slots=True)
class PaperRound:
    """What a round of the paper was and cost (section 3.4, appendix A.2).

    Attributes:
        num_problems: Word problems with an answer.
        num_candidates: Candidates per step.
        num_rollouts: Rollouts of a problem's first tree.
        unsolved: Share of the problems without a correct solution after the round (Table 2, "All").
        machines: What it ran on.
        num_gpus: GPUs of these.
        days: Wall time.
    """

    num_problems: int
    num_candidates: int
    num_rollouts: int
    unsolved: float
    machines: str
    num_gpus: int
    days: float

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of the whole round."""
        return self.num_gpus * self.days * 24


PAPER_ROUNDS = (
    PaperRound(747_000, 5, 8, 0.3983, "10×8 H100", 80, 14),
    PaperRound(747_000, 8, 16, 0.3340, "15×4 A100-40G", 60, 3),
    PaperRound(747_000, 8, 16, 0.2214, "15×4 A100-40G", 60, 3),
    PaperRound(747_000, 16, 16, 0.0975, "not said; 15×4 A100-40G taken", 60, 7),
)

_TOKENS_PER_PATH = 170.0
_NODES_PER_ROLLOUT = 4.0
_EXAMPLE_TOKENS = 300.0
_PAIR_GROUPS = 3.0
_LARGE_PER_GPU = 95.0
_SMALL_PER_GPU = 1_400.0
_TRAINING_PER_GPU = 2_700.0
_SEARCH_ON_CPU = 110.0
_SYSTEM2_ON_CPU = 66.0
_TRAINING_ON_CPU = 100.0


def paper_round(round_id: int) -> PaperRound:
    """The round of the paper to compare with: the same, or its last."""
    return PAPER_ROUNDS[min(round_id, len(PAPER_ROUNDS)) - 1]


def assumed(settings: RoundConfig, round_id: int, *, gpus: int, large: bool) -> Rates:
    """Every rate of a round that nobody measured.

    Args:
        settings: The round.
        round_id: Which it is; decides how much of the paper's problems stayed unsolved.
        gpus: GPUs that work at a time; 0 means two CPU cores.
        large: Whether the search asks a large policy on a server, like the paper's first round.
    """
    search, unsolved = settings.search, paper_round(round_id).unsolved
    limit = float(search.max_depth * search.max_step_tokens)
    path = (
        Rate(_TOKENS_PER_PATH, "assumed: 5,453 a trajectory of 32 candidates (paper, MATH)")
        if limit > _TOKENS_PER_PATH
        else Rate(limit, "assumed: max_depth × max_step_tokens")
    )
    depth = min(_NODES_PER_ROLLOUT, search.max_depth)
    sft_per_problem = settings.sft.trajectories_per_problem if settings.sft else 0
    pairs = settings.ppm.pairs_per_side**2 if settings.ppm else 0
    rates = {
        "tokens_per_rollout_and_candidate": path,
        "nodes_per_rollout": Rate(depth, "assumed: a solution of four steps, each expanded once"),
        "greedy_tokens_per_problem": path,
        "system2_tokens_per_rollout_and_candidate": path,
        "sft_examples_per_problem": Rate(
            sft_per_problem * (1 - unsolved), "assumed: all that are kept of the paper's share of solved ones"
        ),
        "sft_tokens_per_example": Rate(_EXAMPLE_TOKENS, "assumed: question, solution and output"),
        "ppm_pairs_per_problem": Rate(
            pairs * _PAIR_GROUPS, "assumed: 3 groups a problem (docs/log.md, 123 pairs of 40 problems)"
        ),
        "ppm_tokens_per_pair": Rate(2 * _EXAMPLE_TOKENS, "assumed: two solutions"),
    }
    for level in range(1, len(settings.escalation) + 1):
        rates[share_of(level)] = (
            Rate(unsolved, "assumed: what the paper's round leaves unsolved")
            if level == 1
            else Rate(1.0, "assumed: no escalation solves any")
        )
    return rates | _speeds(gpus, large=large)


def share_of(level: int) -> str:
    """Name of the rate that says which share of an effort's problems goes on to this escalation."""
    return f"share_to_escalation_{level}"


def _speeds(gpus: int, *, large: bool) -> Rates:
    if not gpus:
        cores = "assumed: a 135M model on two cores (docs/log.md)"
        search, training = Rate(_SEARCH_ON_CPU, cores), Rate(_TRAINING_ON_CPU, cores)
        return {
            "search_tokens_per_second": search,
            "greedy_tokens_per_second": search,
            "system2_tokens_per_second": Rate(_SYSTEM2_ON_CPU, cores),
            "sft_tokens_per_second": training,
            "ppm_tokens_per_second": training,
        }
    small = Rate(_SMALL_PER_GPU * gpus, f"assumed: 7B, 1,400 a GPU (the paper's round 2), {gpus} GPUs")
    big = Rate(_LARGE_PER_GPU * gpus, f"assumed: 236B, 95 a GPU (the paper's round 1), {gpus} GPUs")
    training = Rate(_TRAINING_PER_GPU * gpus, f"assumed: 7B, 2,700 a GPU (40 % of an A100), {gpus} GPUs")
    return {
        "search_tokens_per_second": big if large else small,
        "greedy_tokens_per_second": small,
        "system2_tokens_per_second": small,
        "sft_tokens_per_second": training,
        "ppm_tokens_per_second": training,
    }
