"""Attention of a mixed batch: one token for each decoding sequence, and whole prompts being read.

All tokens of a step stand in one row, so every linear layer sees one large matrix. This file owns how their
attention is split again; it is registered with transformers under the name `rstar` and works with every
model that supports pluggable attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

if TYPE_CHECKING:
    from infra.engines.kv_slots import KvSlots

ATTENTION_NAME = "rstar"


@dataclass(slots=True)
class PromptSpan:
    """A prompt being read: `count` tokens from position `start` of `slot` on, the shared prefix excluded."""

    slot: int
    start: int
    count: int


@dataclass(slots=True)
class StepLayout:
    """What each token of the flat batch is.

    Attributes:
        cache: Where keys and values live.
        slots: Slot of each decoding sequence; shape (B,), the first B tokens of the batch.
        lengths: Tokens already in each slot, the shared prefix excluded; shape (B,).
        prompts: The prompts that follow, in order.
        bias: Additive mask for the decoding rows, shape (rows, 1, 1, length).
        length: Columns of the cache that the decoding rows look at.
        rows: Slots 0 … rows−1 that the decoding rows cover.
    """

    cache: KvSlots
    slots: Tensor
    lengths: Tensor
    prompts: list[PromptSpan]
    bias: Tensor
    length: int
    rows: int


def rstar_attention(
    module: Any,  # noqa: ANN401 - any transformers attention module
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - the layout is the mask
    *,
    scaling: float,
    layout: StepLayout,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention over cache and batch.

    Args:
        module: Gives the layer's index.
        query: (1, heads, tokens, head_dim).
        key: (1, kv_heads, tokens, head_dim).
        value: As key.
        attention_mask: Not used.
        scaling: Factor of the scores.
        layout: The step's layout.

    Returns:
        (1, tokens, heads, head_dim), and None for the weights.
    """
    layer = module.layer_idx
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))  # (tokens, heads, head_dim)
    decoding = layout.slots.shape[0]
    parts = []
    if decoding:
        layout.cache.write_tokens(layer, layout.slots, layout.lengths, k[:decoding], v[:decoding])
        parts.append(_decode(q[:decoding] * scaling, layout, layer))
    offset = decoding
    for span in layout.prompts:
        end = offset + span.count
        layout.cache.write_span(layer, span.slot, span.start, k[offset:end], v[offset:end])
        parts.append(_read_prompt(q[offset:end] * scaling, layout.cache, span, layer))
        offset = end
    return torch.cat(parts).unsqueeze(0), None


def _decode(q: Tensor, layout: StepLayout, layer: int) -> Tensor:
    """One new token per sequence: (B, heads, head_dim) → the same."""
    cache = layout.cache
    count, heads, dim = q.shape
    groups = heads // cache.kv_heads
    dense = q.new_zeros(layout.rows, cache.kv_heads, groups, dim)
    dense[layout.slots] = q.view(count, cache.kv_heads, groups, dim)
    keys, values = cache.own(layer, layout.rows, layout.length)
    own = torch.matmul(dense, keys) + layout.bias
    prefix_keys, prefix_values = cache.prefix(layer)
    if cache.prefix_length == 0:
        out = torch.matmul(own.softmax(-1), values)
        return out[layout.slots].reshape(count, heads, dim)
    by_head = dense.transpose(0, 1).reshape(cache.kv_heads, layout.rows * groups, dim)
    shared = torch.matmul(by_head, prefix_keys).view(cache.kv_heads, layout.rows, groups, -1).transpose(0, 1)
    weights = torch.cat((shared, own), dim=-1).softmax(-1)
    shared_weights, own_weights = torch.split(weights, [cache.prefix_length, layout.length], dim=-1)
    flat = shared_weights.transpose(0, 1).reshape(cache.kv_heads, layout.rows * groups, -1)
    from_prefix = torch.matmul(flat, prefix_values).view(cache.kv_heads, layout.rows, groups, dim)
    out = torch.matmul(own_weights, values) + from_prefix.transpose(0, 1)
    return out[layout.slots].reshape(count, heads, dim)


def _read_prompt(q: Tensor, cache: KvSlots, span: PromptSpan, layer: int) -> Tensor:
    """Causal attention of a prompt's new tokens over prefix, cached part and themselves."""
    count, heads, dim = q.shape
    groups = heads // cache.kv_heads
    prefix_keys, prefix_values = cache.prefix(layer)
    keys, values = cache.span(layer, span.slot, span.start + count)
    keys = torch.cat((prefix_keys, keys), dim=-1)
    values = torch.cat((prefix_values, values), dim=-2)
    by_head = q.view(count, cache.kv_heads, groups, dim).permute(1, 2, 0, 3)
    scores = torch.matmul(by_head, keys.unsqueeze(1))  # (kv_heads, groups, count, prefix + start + count)
    future = torch.ones(count, count, dtype=torch.bool, device=q.device).triu(1)
    scores[..., -count:].masked_fill_(future, float("-inf"))
    out = torch.matmul(scores.softmax(-1), values.unsqueeze(1))
    return out.permute(2, 0, 1, 3).reshape(count, heads, dim)


def register() -> None:
    """Make `attn_implementation="rstar"` known to transformers; harmless if done twice."""
    AttentionInterface.register(ATTENTION_NAME, rstar_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, lambda *_, **__: None)
