"""The transformer encoder."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, mean_pool, valid_steps, zero_padding


class Transformer(nn.Module):
    """A pre-norm transformer over each row's own steps, their mean, and a linear layer.

    Each step is mapped to ``width`` and gets a sinusoidal position; ``layers`` blocks of self-attention with ``heads``
    heads and a feed-forward network of width 4 · ``width`` follow, then a layer norm. Padding is no key of any
    attention and not part of the mean. With ``form="sequence"`` the linear layer is applied to each step, and padding
    gives zeros. A row without steps has zeros for a mean.

    Source: Vaswani et al. (2017), 3; normalisation before each sublayer as in Xiong et al. (2020).
    """

    positions: Tensor

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        if heads < 1 or width % (2 * heads):
            raise UsageError(f"encoder 'transformer': width={width} must be a multiple of twice heads={heads}")
        if modality.length is None:
            raise UsageError(f"encoder 'transformer' reads a sequence; {modality.name!r} is none")
        self.modality = modality
        self.form = form
        self.embed = nn.Linear(features(modality), width)
        # It follows from two numbers, so it is not part of the weights.
        self.register_buffer("positions", sinusoids(modality.length, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, out_dim)
        self.out_dim = out_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        x = self.embed(flat_steps(self.modality, x, lengths))
        x = self.dropout(x + self.positions[: x.shape[1]].to(x.dtype))
        bias = None if lengths is None else _attention_bias(x, lengths)
        for block in self.blocks:
            x = block(x, bias)
        x = self.norm(x)
        if self.form == "sequence":
            return zero_padding(self.project(x), lengths)
        result: Tensor = self.project(mean_pool(x, lengths))
        return result


class _Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)); (B, T, width) → (B, T, width).

    ``nn.TransformerEncoderLayer`` is not used: without gradients it takes a fused path whose operations cannot be
    counted, and whose output beyond a row's length differs from that of the other path. Attention weights themselves
    are not dropped: on a CPU that alone triples a training step.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        rows, length, width = x.shape
        parts = self.queries_keys_values(self.attention_norm(x)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        x = x + self.dropout(self.attention_out(attended.transpose(1, 2).reshape(rows, length, width)))
        result: Tensor = x + self.dropout(self.feed_forward(x))
        return result


def _attention_bias(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, 1, 1, T) to be added to attention scores: 0 on a row's own steps, −∞ on padding.

    A softmax over no key at all is not a number before torch 2.5, so a row without steps keeps its first key; the mean
    drops it later.
    """
    keys = valid_steps(x, lengths.clamp(min=1))
    return x.new_zeros(keys.shape).masked_fill(~keys, -math.inf)[:, None, None, :]


def sinusoids(length: int, width: int, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """(length, width): sin(t / 10000^(2i / width)) in the even columns, the cosine in the odd ones, t from 0.

    ``dtype`` and ``device`` are torch's default ones when None. Source: Vaswani et al. (2017), 3.5.
    """
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float64, device=device) * (-math.log(10_000.0) / width))
    angles = torch.arange(length, dtype=torch.float64, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].to(dtype or torch.get_default_dtype())
