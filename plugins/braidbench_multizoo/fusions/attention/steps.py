"""What the transformers read: modalities embedded to one width, and which step may look at which."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.attention import sinusoids
from braidbench_multizoo.encoders.masking import zero_padding

Mask = Literal["none", "causal", "released"]


class Embedding(nn.Module):
    """A temporal convolution to ``width``, and a sinusoidal position: (B, T, in_dim) → (B, ⌈T / stride⌉, width).

    The convolution has an odd ``kernel``, no bias, and zeros outside each row's own steps. ``scale`` multiplies its
    result by √width before the position is added, as the released code does. A row without steps is read as one step of
    zeros, so every row has a step to attend to.

    Source: *Foundations of Multisensory AI*, equations 8.15 and 8.16. The stride is ours: it brings a long recording of
    a sensor to fewer steps.
    """

    def __init__(
        self, in_dim: int, width: int, kernel: int = 3, stride: int = 1, dropout: float = 0.0, scale: bool = False
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise UsageError(f"kernel={kernel}: a temporal convolution needs an odd and positive kernel")
        if stride < 1:
            raise UsageError(f"stride={stride}: give the steps between two windows, 1 or more")
        self.convolution = nn.Conv1d(in_dim, width, kernel, stride, padding=kernel // 2, bias=False)
        self.positions = Positions(width, dropout, scale)
        self.stride = stride

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, T, in_dim), lengths (B,) or None → (B, T', width), and the new lengths, each 1 or more."""
        x = self.convolution(zero_padding(x, lengths).transpose(1, 2)).transpose(1, 2)
        if lengths is not None:
            lengths = torch.div(lengths.clamp(min=1) + self.stride - 1, self.stride, rounding_mode="floor")
        return self.positions(x), lengths


class Positions(nn.Module):
    """Adds to step t of (B, T, width) its sinusoidal position, t from 0; ``dropout`` follows.

    ``scale`` multiplies the steps by √width before.
    """

    table: Tensor

    def __init__(self, width: int, dropout: float = 0.0, scale: bool = False) -> None:
        super().__init__()
        # It follows from two numbers, so it is not part of the weights; it grows with the sequences that come.
        self.register_buffer("table", torch.empty(0, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.scale = math.sqrt(width) if scale else 1.0

    def forward(self, x: Tensor) -> Tensor:
        length, width = x.shape[1:]
        if len(self.table) < length:
            self.table = sinusoids(length, width, self.table.dtype, self.table.device)
        result: Tensor = self.dropout(torch.add(self.table[:length].to(x.dtype), x, alpha=self.scale))
        return result.contiguous()


def attention_bias(
    query: Tensor, query_lengths: Tensor | None, key: Tensor, key_lengths: Tensor | None, mask: Mask = "none"
) -> Tensor | None:
    """What is added to attention scores of query (B, T_q, …) on key (B, T_k, …): 0, or −∞ on what may not be seen.

    It broadcasts to (B, heads, T_q, T_k); None hides nothing. Padding is always hidden. Lengths must be 1 or more, so
    that step 0 is real: every query sees it, under each mask, and no softmax is over nothing.

    ``causal``: two sequences of one sample last equally long, so that step t of L_q sees step s of L_k if s has begun
    when t ends: s · L_q < (t + 1) · L_k, which is s ≤ t where the lengths are equal. ``released``: s ≤ t + |L_k − L_q|,
    the released code's mask, where L are each row's own lengths and not those that the batch is padded to.

    One bias serves every layer and head; a boolean mask would be turned into one at each call.
    """
    steps = torch.arange(key.shape[1], device=key.device)
    hidden = None if key_lengths is None else steps >= key_lengths[:, None, None]
    if mask != "none":
        spans = [
            torch.full((1, 1, 1), x.shape[1], device=key.device) if lengths is None else lengths[:, None, None]
            for x, lengths in ((query, query_lengths), (key, key_lengths))
        ]
        times = torch.arange(query.shape[1], device=key.device)[:, None]
        if mask == "causal":
            future = steps * spans[0] >= (times + 1) * spans[1]
        else:
            future = steps > times + (spans[1] - spans[0]).abs()
        # Steps of a query's own padding come after its end and would see everything: nobody reads them.
        hidden = future if hidden is None else hidden | future
    if hidden is None:
        return None
    return query.new_zeros(hidden.shape).masked_fill(hidden, -math.inf).unsqueeze(1)


def each(name: str, value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    """A number for each of ``count`` modalities: given so, or one for all. Raises UsageError for another count."""
    values = (value,) * count if isinstance(value, int) else value
    if len(values) != count:
        raise UsageError(
            f"{name}={list(values)} is for {len(values)} modalities; there are {count}: give one, or {count}"
        )
    return values


def without_sequences(modalities: tuple[Modality, ...]) -> str | None:
    """The reason why there is nothing to attend to, or None."""
    if any(modality.is_sequence for modality in modalities):
        return None
    return "it attends over the steps of sequences, and none of the modalities is one"
