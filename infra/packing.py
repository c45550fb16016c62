"""Several continuations of one prefix as one sequence of a decoder.

A row is `prefix, continuation 1, continuation 2, …`. A continuation attends to the prefix and to itself
alone, at its own positions, so its hidden states are those of a sequence of its own while the prefix is
computed once. Right for any decoder with full causal attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Several continuations of one prefix as one sequence.

    Attributes:
        ids: Prefix ids, then the ids of each continuation.
        positions: Position of each id in its own sequence.
        segments: 0 for the prefix, 1, 2, … for the continuations.
        ends: Index of the last id of each continuation, where its score is read.
    """

    ids: list[int]
    positions: list[int]
    segments: list[int]
    ends: list[int]


def pack(prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> PackedRow:
    """One row for all continuations of a prefix; none of them may be empty."""
    row = PackedRow(list(prefix), list(range(len(prefix))), [0] * len(prefix), [])
    for number, ids in enumerate(continuations, start=1):
        row.ids.extend(ids)
        row.positions.extend(range(len(prefix), len(prefix) + len(ids)))
        row.segments.extend([number] * len(ids))
        row.ends.append(len(row.ids) - 1)
    return row


def micro_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of rows that go through a model together: similar lengths, at most `max_tokens` padded."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def attention_mask(segments: torch.Tensor) -> torch.Tensor:
    """Which position may attend to which, of shape (rows, 1, width, width); padding has segment -1."""
    width = segments.shape[1]
    causal = segments.new_ones((width, width)).bool().tril()
    own = segments[:, None, :] == segments[:, :, None]
    prefix = (segments == 0)[:, None, :]
    return (causal & (own | prefix))[:, None]


def classify(model: Any, rows: Sequence[PackedRow]) -> list[torch.Tensor]:  # noqa: ANN401  # transformers is untyped
    """The head's output for each row's continuations, from one forward pass of a one-label classifier."""
    import torch  # noqa: PLC0415  # heavy

    width = max(len(row.ids) for row in rows)

    def padded(column: list[list[int]], fill: int) -> torch.Tensor:
        values = [[*row, *[fill] * (width - len(row))] for row in column]
        return torch.tensor(values, device=model.device)

    segments = padded([row.segments for row in rows], -1)
    with torch.inference_mode():
        hidden = model.base_model(
            input_ids=padded([row.ids for row in rows], 0),
            position_ids=padded([row.positions for row in rows], 0),
            attention_mask=attention_mask(segments),
            use_cache=False,
        ).last_hidden_state
        ends = torch.cat([hidden[number, row.ends] for number, row in enumerate(rows)])
        logits: torch.Tensor = model.score(ends).squeeze(-1).float()
    return list(torch.split(logits, [len(row.ends) for row in rows]))
