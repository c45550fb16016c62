"""Several rollouts of one tree in flight: virtual loss keeps them apart (off by default).

A wave of rollouts starts together and advances in step: what all of them ask is one request, so the tree that
grows depends on the replies alone and never on the order in which they arrive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rstar_core.annotation import LOSS
from rstar_core.requests import Together
from rstar_core.search import backup, expand, search, value_of
from rstar_core.selection import select_child
from rstar_core.tree import Tree

if TYPE_CHECKING:
    import random
    from collections.abc import Generator

    from rstar_core.config import SearchConfig
    from rstar_core.requests import Reply, Request

    Flight = Generator[Request | None, Reply | None, None]


def start_search(
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
    tree: Tree | None = None,
) -> Generator[Request, Reply, Tree]:
    """The search that the configuration asks for: one rollout after the other, or waves of them."""
    each = search if config.rollouts_in_flight == 1 else search_in_waves
    return each(question, reference, config, rng, tree)


def search_in_waves(
    question: str,
    reference: str | None,
    config: SearchConfig,
    rng: random.Random,
    tree: Tree | None = None,
) -> Generator[Request, Reply, Tree]:
    """Grow one tree, `config.rollouts_in_flight` rollouts at a time; arguments and result as of `search`.

    A rollout in flight counts as a visit that lost on every node of its way, until it ends. With one in
    flight the tree is that of `search`.
    """
    tree = Tree() if tree is None else tree
    while tree.num_rollouts < config.num_rollouts and not tree.closed[0]:
        busy: set[int] = set()
        count = min(config.rollouts_in_flight, config.num_rollouts - tree.num_rollouts)
        flights = [_fly(tree, busy, question, reference, config, rng) for _ in range(count)]
        yield from _advance(flights)
    tree.trim()
    return tree


def _advance(flights: list[Flight]) -> Generator[Request, Reply, None]:
    """Run the flights of one wave to their ends, all that ask at a time with one request."""
    replies: list[Reply | None] = [None] * len(flights)
    while flights:
        asking: list[tuple[Flight, Request | None]] = []
        for flight, reply in zip(flights, replies, strict=True):
            try:
                asking.append((flight, flight.send(reply)))
            except StopIteration:
                continue
        requests = tuple([request for _, request in asking if request is not None])
        answers = iter(cast("tuple[Reply, ...]", (yield Together(requests))) if requests else ())
        replies = [None if request is None else next(answers) for _, request in asking]
        flights = [flight for flight, _ in asking]


def _fly(
    tree: Tree, busy: set[int], question: str, reference: str | None, config: SearchConfig, rng: random.Random
) -> Flight:
    """One rollout; yields None while it waits for what another one is asking.

    A rollout that finds everything below it closed meanwhile ends without a value: it never took place.
    """
    path = [0]
    _mark(tree, 0, 1)
    while not tree.is_terminal(path[-1]) and not tree.closed[path[-1]]:
        node = path[-1]
        while node in busy:
            yield None
        if tree.first_child[node] < 0 and not tree.closed[node]:
            busy.add(node)
            yield from expand(tree, node, question, reference, config, rng)
            busy.discard(node)
            continue
        if tree.closed[node]:
            break
        tree.visits[node] -= 1  # this rollout's own mark must not change its choice
        child = select_child(tree, node, exploration=config.exploration, rng=rng)
        tree.visits[node] += 1
        path.append(child)
        _mark(tree, child, 1)
    for node in path:
        _mark(tree, node, -1)
    if tree.is_terminal(path[-1]) and not (tree.closed[path[-1]] and tree.visits[path[-1]]):
        backup(tree, path[-1], value_of(tree, path[-1], config))


def _mark(tree: Tree, node: int, count: int) -> None:
    """Put a virtual loss on a node, or take it back."""
    tree.visits[node] += count
    tree.q_sum[node] += count * LOSS
