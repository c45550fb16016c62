"""Which token comes next: a function of the logits, the request's seed, the candidate and the position.

No generator state is kept, so a candidate does not depend on what else is in the batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_TOP_K = 64
_MASK = np.uint64(0xFFFFFFFFFFFFFFFF)


def uniforms(seeds: np.ndarray, candidates: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) from three integer arrays of one shape, by two rounds of SplitMix64."""
    with np.errstate(over="ignore"):
        state = seeds.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state = _mix(state + candidates.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))
        state = _mix(state + positions.astype(np.uint64) * np.uint64(0x8CB92BA72F3D8DD7))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) / float(1 << 53))


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((x ^ (x >> np.uint64(31))) & _MASK)


def sample(logits: Tensor, u: Tensor, temperatures: Tensor, top_p: Tensor) -> Tensor:
    """Draw one token a row by inverting the nucleus's cumulative distribution at `u`.

    The nucleus is looked for among the 64 likeliest tokens.

    Args:
        logits: (B, vocabulary).
        u: (B,) in [0, 1).
        temperatures: (B,); 0 takes the likeliest token.
        top_p: (B,) in (0, 1].

    Returns:
        Token ids, (B,).
    """
    values, indices = logits.float().topk(min(_TOP_K, logits.shape[-1]), dim=-1)
    scaled = values / temperatures.clamp_min(1e-6).unsqueeze(-1)
    probabilities = scaled.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    nucleus = torch.where(before < top_p.unsqueeze(-1), probabilities, 0.0)
    cumulative = nucleus.cumsum(-1)
    target = u.clamp_max(1 - 2**-24).unsqueeze(-1) * cumulative[:, -1:]  # float32 rounds the last u up to 1
    choice = (cumulative <= target).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    choice = torch.where(temperatures.unsqueeze(-1) > 0, choice, 0)
    return indices.gather(-1, choice).squeeze(-1)
