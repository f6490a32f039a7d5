"""The transformer encoder."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import mean_pool, valid_steps, zero_padding


def sinusoids(steps: int, width: int, like: Tensor) -> Tensor:
    """(steps, width) positional encoding: sines in the even columns, cosines in the odd ones.

    Source: Vaswani et al., Attention Is All You Need (2017), 3.5.
    """
    position = torch.arange(steps, device=like.device, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=torch.float64) * (-math.log(1e4) / width))
    table = torch.zeros(steps, width, device=like.device, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: width // 2])
    return table.to(like.dtype)


class _Block(nn.Module):
    """Self-attention and a feed-forward layer, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.before_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, steps, width = x.shape
        heads = self.project_in(self.before_attention(x)).view(batch, steps, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        x = x + self.drop(self.project_out(attended.transpose(1, 2).reshape(batch, steps, width)))
        result: Tensor = x + self.drop(self.feed(self.before_feed(x)))
        return result


class Transformer(nn.Module):
    """A pre-norm transformer over the real steps, then their mean.

    Each step is projected to ``width`` (``out_dim`` when None), scaled by √width and added to sinusoids. Steps beyond a
    row's end are attended by none. A row of length zero attends its (zero) first step, and its mean is zero.

    Sources: Vaswani et al. (2017); pre-norm after Xiong et al., On Layer Normalization in the Transformer (2020).
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        width: int | None = None,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        width = width or out_dim
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.form, self.out_dim, self.width = form, out_dim, width
        self.embed = nn.Linear(modality.size // (modality.length or 1), width, bias=False)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.project = nn.Linear(width, out_dim) if width != out_dim else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, \\*shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        x = self.embed(zero_padding(x.flatten(2), lengths)) * math.sqrt(self.width)
        x = self.drop(x + sinusoids(x.shape[1], self.width, x))
        mask = None
        if lengths is not None:
            mask = valid_steps(x, lengths.clamp(min=1))[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        if self.form == "sequence":
            return zero_padding(self.project(x), lengths)
        result: Tensor = self.project(mean_pool(x, lengths))
        return result
