"""Everything that is known of one search tree: the tree, what failed on the way, and what was made of it.

The tree is grown again from its shard's replay log, which alone knows the failed candidates. Where the log is
gone, or another version of the code wrote it, the tree comes from the catalog's nodes, and `note` says so.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from infra.catalog.rows import NodeRow, RoundRow, ShardRow, ShardStatus, TreeRow
from infra.configuration import parse_config
from infra.replay_log import log_exists, read_log, replies_of
from infra.synthesis import tree_jobs
from infra.tree_marks import marks_of
from infra.tree_rows import trees_from
from rstar_core.audit import AuditedTree, Rejected, regrow
from rstar_core.errors import CatalogError, ConfigError, ReplayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from infra.catalog.catalog import Catalog
    from infra.tree_marks import Marks
    from infra.workspace import Workspace
    from rstar_core.tree import Tree
    from rstar_core.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class RegrownTree:
    """One tree and what it cost.

    Attributes:
        tree: The tree.
        seed: Its seed.
        num_rollouts: Rollouts done.
        num_tokens: Tokens the policy generated for it.
        num_candidates: Candidates proposed.
        num_failed: Candidates that failed, identical ones not counted.
        scored: Whether its priors are a PPM's scores.
        rejected: Per node the candidates that failed there; None where no log tells.
        note: What a reader has to know of where this comes from; empty for a finished tree from its log.
    """

    tree: Tree
    seed: int
    num_rollouts: int
    num_tokens: int
    num_candidates: int
    num_failed: int
    scored: bool
    rejected: dict[int, list[Rejected]] | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHistory(RegrownTree):
    """One tree and its circumstances.

    Attributes:
        problem: Its problem.
        round: Its round, with the models that made it.
        shard: The shard that grew it.
        tree_index: Which tree of the problem in that round.
        tree_indices: All of them.
        marks: What its nodes were chosen for.
    """

    problem: Problem
    round: RoundRow
    shard: ShardRow
    tree_index: int
    tree_indices: tuple[int, ...]
    marks: Marks


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tree is to be found; `row` is None as long as its shard is not done."""

    shard: ShardRow
    row: TreeRow | None


def tree_history(
    catalog: Catalog,
    workspace: Workspace,
    problem: Problem,
    *,
    round_id: int | None = None,
    tree_index: int | None = None,
) -> TreeHistory:
    """A problem's tree: of the newest round that has one, and the first of that round, unless told otherwise.

    Raises:
        CatalogError: There is no such tree; the sentence says which there are.
        ReplayError: Its shard is not done and its log cannot be used.
    """
    places = _places(catalog, workspace, problem)
    round_id, tree_index = _choose(places, problem, round_id, tree_index)
    place = places[round_id][tree_index]
    (round_row,) = catalog.fetch(RoundRow, "round_id = ?", (round_id,))
    grown = _grown(catalog, workspace, problem, round_row, tree_index, place)
    return TreeHistory(
        **{each.name: getattr(grown, each.name) for each in fields(grown)},
        problem=problem,
        round=round_row,
        shard=place.shard,
        tree_index=tree_index,
        tree_indices=tuple(sorted(places[round_id])),
        marks=marks_of(catalog, problem, round_row, tree_index, grown.tree),
    )


def _places(catalog: Catalog, workspace: Workspace, problem: Problem) -> dict[int, dict[int, _Place]]:
    """By round and tree index: the committed trees, and what the logs of unfinished shards add to them."""
    places: defaultdict[int, dict[int, _Place]] = defaultdict(dict)
    shards = catalog.fetch(
        ShardRow,
        "list_contains(problem_ids, ?) AND NOT starts_with(kind, 'evaluate')",
        (problem.problem_id,),
        order_by="round_id, shard_id",
    )
    done = {(each.round_id, each.shard_id): each for each in shards if each.status == ShardStatus.DONE}
    for row in catalog.fetch(TreeRow, "problem_id = ?", (problem.problem_id,)):
        if (row.round_id, row.shard_id) in done:
            places[row.round_id][row.tree_index] = _Place(done[row.round_id, row.shard_id], row)
    for shard in shards:
        log = workspace.log(shard.round_id, shard.shard_id)
        if shard.status != ShardStatus.DONE and log_exists(log):
            belonging, _, _ = read_log(log)
            for problem_id, index in [] if belonging is None else belonging.keys():
                if problem_id == problem.problem_id:
                    places[shard.round_id].setdefault(index, _Place(shard, None))
    return places


def _choose(
    places: dict[int, dict[int, _Place]], problem: Problem, round_id: int | None, tree_index: int | None
) -> tuple[int, int]:
    name = f"problem {problem.problem_id}"
    if not places:
        raise CatalogError(f"There is no tree of {name} yet: it is {problem.split} and no search had it.")
    if round_id is None:
        round_id = max(places)
    if round_id not in places:
        raise CatalogError(
            f"Round {round_id} has no tree of {name}; there are some in {_list('round', places)}."
        )
    if tree_index is None:
        tree_index = min(places[round_id])
    if tree_index not in places[round_id]:
        there = _list("tree", places[round_id])
        raise CatalogError(f"Round {round_id} has no tree {tree_index} of {name}; it has {there}.")
    return round_id, tree_index


def _list(noun: str, numbers: Iterable[int]) -> str:
    known = sorted(numbers)
    return f"{noun}{'s' if len(known) > 1 else ''} {', '.join(map(str, known))}"


def _grown(
    catalog: Catalog, workspace: Workspace, problem: Problem, round_row: RoundRow, index: int, place: _Place
) -> RegrownTree:
    try:
        return _from_log(workspace, problem, round_row, index, place)
    except (ReplayError, ConfigError) as error:
        if place.row is None:
            raise
        reason = str(error).partition(";")[0]
        return _from_nodes(catalog, place.row, reason)


def _from_log(
    workspace: Workspace, problem: Problem, round_row: RoundRow, index: int, place: _Place
) -> RegrownTree:
    config = parse_config(round_row.config, origin="the catalog", stored=True)
    settings = config.rounds[round_row.round_id - 1]
    jobs = tree_jobs([problem], settings, place.shard, seed=config.seed)
    job = next((each for each in jobs if each.tree_index == index), None)
    path = workspace.log(round_row.round_id, place.shard.shard_id)
    replies = replies_of(path, (problem.problem_id, index))
    if job is None or replies is None:
        raise ReplayError("its replay log is gone")
    rng = random.Random(job.seed)  # noqa: S311 - a recorded seed
    tree = regrow(job.question, job.reference, job.config, rng, replies.take)
    if place.row is not None and (not tree.finished or len(tree) != place.row.num_nodes):
        raise ReplayError("its replay log does not hold the whole tree")
    return RegrownTree(
        tree=tree,
        seed=job.seed,
        num_rollouts=tree.num_rollouts,
        num_tokens=tree.num_tokens,
        num_candidates=tree.num_candidates,
        num_failed=sum(tree.drops.values()) - tree.drops["identical_sibling"],
        scored=job.config.annotation == "ppm",
        rejected=tree.rejected,
        note=_state(place.shard, tree),
    )


def _state(shard: ShardRow, tree: AuditedTree) -> str:
    if shard.status == ShardStatus.DONE:
        return ""
    if tree.finished:
        return f"shard {shard.shard_id} is {shard.status}: this tree is finished, but not in the catalog yet"
    return f"shard {shard.shard_id} is {shard.status}: this is the tree as far as its replay log goes"


def _from_nodes(catalog: Catalog, row: TreeRow, reason: str) -> RegrownTree:
    nodes = catalog.fetch(
        NodeRow,
        "round_id = ? AND shard_id = ? AND problem_id = ? AND tree_index = ?",
        (row.round_id, row.shard_id, row.problem_id, row.tree_index),
        order_by="node_id",
    )
    ((_, tree),) = trees_from(nodes)
    return RegrownTree(
        tree=tree,
        seed=row.seed,
        num_rollouts=row.num_rollouts,
        num_tokens=row.num_tokens,
        num_candidates=row.num_candidates,
        num_failed=row.num_failed_candidates,
        scored=any(each.prior is not None for each in nodes),
        rejected=None,
        note=f"{reason}, so the tree comes from the catalog, where failed candidates are only counted",
    )
