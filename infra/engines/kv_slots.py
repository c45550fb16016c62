"""Keys and values of the sequences being decoded: one slot a sequence, one prefix for all.

This file knows tensors and lengths. It does not know requests, tokens or sampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 64


@dataclass(frozen=True, slots=True)
class KvBlock:
    """Keys and values of some consecutive tokens.

    Attributes:
        keys: (layers, kv_heads, head_dim, tokens).
        values: (layers, kv_heads, tokens, head_dim).
    """

    keys: Tensor
    values: Tensor

    @property
    def num_tokens(self) -> int:
        """How many tokens the block covers."""
        return int(self.values.shape[2])

    @property
    def num_bytes(self) -> int:
        """Memory of both tensors."""
        return int(self.keys.nbytes + self.values.nbytes)

    def head(self, count: int) -> KvBlock:
        """The first `count` tokens, as views."""
        return KvBlock(self.keys[..., :count], self.values[:, :, :count])


class KvSlots:
    """Slots that grow in length and number as they are needed.

    Keys lie transposed, (layer, slot, kv_head, head_dim, token), which makes a decoding step's product with
    them twice as fast on a CPU.
    """

    def __init__(
        self, *, num_layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_layers, self.kv_heads, self.head_dim = num_layers, kv_heads, head_dim
        self._options = {"dtype": dtype, "device": device}
        self._keys = torch.zeros(num_layers, 0, kv_heads, head_dim, 0, **self._options)  # type: ignore[call-overload]
        self._values = torch.zeros(num_layers, 0, kv_heads, 0, head_dim, **self._options)  # type: ignore[call-overload]
        self.set_prefix(None)

    def set_prefix(self, block: KvBlock | None) -> None:
        """Put `block` before every slot."""
        if block is None:
            keys = torch.zeros(self.num_layers, self.kv_heads, self.head_dim, 0, **self._options)  # type: ignore[call-overload]
            block = KvBlock(keys, keys.transpose(-1, -2))
        self._prefix = block
        self.prefix_length = block.num_tokens

    def reserve(self, num_slots: int, length: int) -> None:
        """Make room for `num_slots` slots of `length` tokens; what is stored stays."""
        slots = max(num_slots, self._values.shape[1])
        columns = max(-(-length // _CHUNK) * _CHUNK, self._values.shape[3])
        if (slots, columns) == (self._values.shape[1], self._values.shape[3]):
            return
        keys = torch.zeros(self.num_layers, slots, self.kv_heads, self.head_dim, columns, **self._options)  # type: ignore[call-overload]
        values = torch.zeros(self.num_layers, slots, self.kv_heads, columns, self.head_dim, **self._options)  # type: ignore[call-overload]
        keys[:, : self._keys.shape[1], :, :, : self._keys.shape[4]] = self._keys
        values[:, : self._values.shape[1], :, : self._values.shape[3]] = self._values
        self._keys, self._values = keys, values

    def write_tokens(self, layer: int, slots: Tensor, positions: Tensor, k: Tensor, v: Tensor) -> None:
        """Store one token per slot; k and v are (B, kv_heads, head_dim)."""
        self._keys[layer, slots, :, :, positions] = k
        self._values[layer, slots, :, positions] = v

    def write_span(self, layer: int, slot: int, start: int, k: Tensor, v: Tensor) -> None:
        """Store consecutive tokens of one slot; k and v are (tokens, kv_heads, head_dim)."""
        end = start + k.shape[0]
        self._keys[layer, slot, :, :, start:end] = k.permute(1, 2, 0)
        self._values[layer, slot, :, start:end] = v.transpose(0, 1)

    def own(self, layer: int, rows: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys (rows, kv_heads, head_dim, length) and values (rows, kv_heads, length, head_dim)."""
        return self._keys[layer, :rows, :, :, :length], self._values[layer, :rows, :, :length]

    def prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys (kv_heads, head_dim, P) and values (kv_heads, P, head_dim) of the shared prefix."""
        return self._prefix.keys[layer], self._prefix.values[layer]

    def span(self, layer: int, slot: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys (kv_heads, head_dim, length) and values (kv_heads, length, head_dim) of one slot."""
        return self._keys[layer, slot, :, :, :length], self._values[layer, slot, :, :length]

    def load(self, slot: int, start: int, block: KvBlock) -> None:
        """Copy `block` into a slot from token `start` on."""
        end = start + block.num_tokens
        self._keys[:, slot, :, :, start:end] = block.keys
        self._values[:, slot, :, start:end] = block.values

    def save(self, slot: int, start: int, end: int) -> KvBlock:
        """A copy of tokens start … end−1 of a slot."""
        return KvBlock(
            self._keys[:, slot, :, :, start:end].clone(), self._values[:, slot, :, start:end].clone()
        )

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot into another."""
        self._keys[:, target, :, :, :length] = self._keys[:, source, :, :, :length]
        self._values[:, target, :, :length] = self._values[:, source, :, :length]
