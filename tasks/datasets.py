"""Training sets of a round: the best trajectories for the policy, preference pairs for the PPM."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from infra.catalog.round_rows import SftExampleRow, StepPairRow
from infra.catalog.rows import DropRow
from infra.tree_rows import trajectory_from, trees_from
from infra.workspace import Workspace
from rstar_core.config import CampaignConfig
from rstar_core.pairs import final_pairs, step_pairs
from rstar_core.trajectories import keeps_synthetic, select_best
from rstar_core.types import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.catalog.catalog import Catalog
    from infra.catalog.rows import TrajectoryRow
    from rstar_core.types import Problem, StepPair


@task(name="select-trajectories", cache_policy=NO_CACHE, timeout_seconds=3600)
def select_trajectories(config: CampaignConfig, round_id: int) -> int:
    """Choose each problem's best correct trajectories (paper: 2); returns how many were chosen."""
    sft = config.rounds[round_id - 1].sft
    with Workspace.of(config).open_catalog() as catalog:
        problems = {problem.problem_id: problem for problem in catalog.problems(Split.TRAIN)}
        chosen: list[SftExampleRow] = []
        doubted: list[DropRow] = []
        for problem_id, rows in _by_problem(catalog, round_id):
            problem = problems[problem_id]
            if problem.synthetic and not keeps_synthetic([trajectory_from(row) for row in rows]):
                doubted.append(_doubted(round_id, problem))
            elif sft is not None:
                chosen += _examples(round_id, problem, rows, sft.trajectories_per_problem)
        catalog.replace_round(SftExampleRow, round_id, chosen)
        catalog.replace_round(DropRow, round_id, doubted, stage="select")
    return len(chosen)


@task(name="build-pairs", cache_policy=NO_CACHE, timeout_seconds=3600)
def build_pairs(config: CampaignConfig, round_id: int) -> int:
    """Compare sibling steps and final answers of mixed problems; returns the number of pairs."""
    ppm = config.rounds[round_id - 1].ppm
    per_side = ppm.pairs_per_side if ppm else 2
    with Workspace.of(config).open_catalog() as catalog:
        pairs: list[StepPair] = []
        mixed = []
        for problem_id, rows in _by_problem(catalog, round_id):
            if {row.correct for row in rows} == {True, False}:
                mixed.append(problem_id)
                pairs += final_pairs(problem_id, [trajectory_from(row) for row in rows], per_side=per_side)
        for number, (problem_id, tree) in enumerate(trees_from(catalog.nodes(round_id, mixed))):
            pairs += step_pairs(problem_id, tree, per_side=per_side, tree_label=str(number))
        catalog.replace_round(StepPairRow, round_id, [_pair_row(round_id, pair) for pair in pairs])
    return len(pairs)


def _by_problem(catalog: Catalog, round_id: int) -> Iterator[tuple[str, list[TrajectoryRow]]]:
    rows = catalog.trajectories(round_id)
    for problem_id, group in groupby(rows, key=lambda row: row.problem_id):
        yield problem_id, list(group)


def _examples(round_id: int, problem: Problem, rows: list[TrajectoryRow], count: int) -> list[SftExampleRow]:
    tree_of = {row.text: row.tree_index for row in rows}
    best = select_best([trajectory_from(row) for row in rows], count=count)
    return [
        SftExampleRow(
            round_id=round_id,
            problem_id=problem.problem_id,
            rank=rank,
            question=problem.question,
            step_texts=tuple(step.text for step in each.steps),
            mean_q=each.mean_q,
            tree_index=tree_of[each.text],
        )
        for rank, each in enumerate(best, start=1)
    ]


def _doubted(round_id: int, problem: Problem) -> DropRow:
    return DropRow(
        round_id=round_id,
        shard_id=None,
        stage="select",
        problem_id=problem.problem_id,
        source=problem.source,
        reason="synthetic_doubted",
        detail="fewer than half of its trajectories agree with its reference answer",
        count=1,
    )


def _pair_row(round_id: int, pair: StepPair) -> StepPairRow:
    return StepPairRow(
        round_id=round_id,
        problem_id=pair.problem_id,
        group_id=pair.group,
        prefix=pair.prefix,
        positive=pair.positive,
        negative=pair.negative,
        positive_q=pair.positive_q,
        negative_q=pair.negative_q,
        depth=pair.depth,
        final=pair.final,
        weight=pair.weight,
    )
