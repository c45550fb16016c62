"""Prompt states that were computed before: a tree of token segments with their keys and values.

A child's prompt is its parent's prompt plus one step that was generated a moment ago, so almost every
prompt of a search is already here. Least recently used leaves leave first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.engines.kv_slots import KvBlock


@dataclass(slots=True, eq=False)
class _Segment:
    """Tokens that follow `parent` after its first `offset` tokens."""

    tokens: tuple[int, ...]
    block: KvBlock | None
    parent: _Segment | None
    offset: int
    children: dict[tuple[int, int], _Segment] = field(default_factory=dict)
    used: int = 0


class PromptCache:
    """Longest-prefix lookup over stored segments, within a budget of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._clock = count(1)
        self._root = _Segment((), None, None, 0)
        self._leaves: set[_Segment] = set()

    def find(self, tokens: Sequence[int]) -> list[KvBlock]:
        """Blocks that cover the longest stored prefix of `tokens`, in order."""
        return [block for _, _, block in self._walk(tokens)]

    def store(self, tokens: Sequence[int], start: int, block: KvBlock) -> None:
        """Remember `block` as tokens[start : start + block.num_tokens], if what comes before is still here.

        Only the part that is not stored already is kept.
        """
        path = self._walk(tokens)
        known = sum(used for _, used, _ in path)
        end = start + block.num_tokens
        if known < start or known >= end or block.num_bytes > self.max_bytes:
            return
        parent, offset = (path[-1][0], path[-1][1]) if path else (self._root, 0)
        if known > start:
            block = _tail(block, known - start)
        segment = _Segment(tuple(tokens[known:end]), block, parent, offset, used=next(self._clock))
        parent.children[offset, segment.tokens[0]] = segment
        self._leaves.discard(parent)
        self._leaves.add(segment)
        self.num_bytes += block.num_bytes
        self._evict()

    def clear(self) -> None:
        """Forget everything."""
        self._root.children.clear()
        self._leaves.clear()
        self.num_bytes = 0

    def _walk(self, tokens: Sequence[int]) -> list[tuple[_Segment, int, KvBlock]]:
        """(segment, tokens used of it, block of those) along the longest match."""
        path: list[tuple[_Segment, int, KvBlock]] = []
        node, offset, position, now = self._root, 0, 0, next(self._clock)
        while position < len(tokens):
            child = node.children.get((offset, tokens[position]))
            if child is None or child.block is None:
                break
            used = _common(child.tokens, tokens, position)
            child.used = now
            path.append((child, used, child.block.head(used)))
            node, offset, position = child, used, position + used
        return path

    def _evict(self) -> None:
        if self.num_bytes <= self.max_bytes:
            return
        for leaf in sorted(self._leaves, key=lambda each: each.used):
            self._drop(leaf)
            if self.num_bytes <= 0.9 * self.max_bytes:
                return

    def _drop(self, leaf: _Segment) -> None:
        if leaf.block is None or leaf.parent is None:
            return
        self._leaves.discard(leaf)
        self.num_bytes -= leaf.block.num_bytes
        del leaf.parent.children[leaf.offset, leaf.tokens[0]]
        if not leaf.parent.children and leaf.parent is not self._root:
            self._leaves.add(leaf.parent)


def _common(segment: tuple[int, ...], tokens: Sequence[int], position: int) -> int:
    limit = min(len(segment), len(tokens) - position)
    return next((i for i in range(limit) if segment[i] != tokens[position + i]), limit)


def _tail(block: KvBlock, start: int) -> KvBlock:
    return type(block)(block.keys[..., start:].clone(), block.values[:, :, start:].clone())
