"""Attention blocks of several transformers side by side: one tensor holds the weights of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench_multizoo.encoders.masking import last_step

Residual = Literal["normalised", "plain"]
KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each (B, T, width)."""
Pair = tuple[Tensor, Tensor]

LANES = 16
"""Numbers in one vector register of a CPU. With zeros up to it, attention over narrower heads takes two thirds of the
time (measured: heads of 5 and 10, sequences of 50 to 500, torch 2.13)."""


class Weights(NamedTuple):
    """One layer's weights of S transformers, each with its shift."""

    norm: Pair
    """(S, 1, width) twice: of queries, keys and values."""
    project: Pair
    """(S, width, 3, width) and (S, 1, 3, width): to queries, keys and values."""
    merge: Pair
    """(S, width, width) and (S, 1, width)."""
    second_norm: Pair
    expand: Pair
    """(S, width, 4 · width) and (S, 1, 4 · width)."""
    contract: Pair
    """(S, 4 · width, width) and (S, 1, width)."""

    def split(self, size: int) -> list[Weights]:
        """The weights of every ``size`` transformers, in order."""
        parts = [zip(weight.split(size), shift.split(size), strict=True) for weight, shift in self]
        return [Weights(*group) for group in zip(*parts, strict=True)]


class Blocks(nn.Module):
    """``streams`` transformers of ``layers`` blocks each, of one shape, with weights of their own.

    A block is y = norm(x), z = y + attention(y), u = norm(z), x' = u + feed-forward(u) with ``residual="normalised"``
    (equation 8.17), or z = x + attention(y), x' = z + feed-forward(u) with ``"plain"`` (the released code). The
    feed-forward network has 4 · ``width`` rectified units. A last norm follows the last block. Keys and values are
    normed with the gain and shift of the queries, as in the released code.

    ``dropout`` is on the rectified units and on what each sublayer adds; ``attention_dropout`` on attention weights,
    which then have to be formed: on a CPU that takes back what not forming them saves.

    Source: *Foundations of Multisensory AI*, equations 8.14 and 8.17; Vaswani et al. (2017), 3.
    """

    def __init__(
        self,
        streams: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        residual: Residual = "normalised",
    ) -> None:
        super().__init__()
        if layers < 1:
            raise UsageError(f"layers={layers}: a transformer needs one block or more")
        if heads < 1 or width % heads:
            raise UsageError(f"a width of {width} cannot be shared between heads={heads}: make it a multiple")
        self.heads, self.size = heads, width // heads
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.residual = residual
        stack, hidden = (layers, streams), 4 * width
        self.norm_gain = nn.Parameter(torch.ones(*stack, 1, width))
        self.norm_shift = nn.Parameter(torch.zeros(*stack, 1, width))
        self.project_weight = _xavier(width, width, *stack, width, 3, width)
        self.project_shift = nn.Parameter(torch.zeros(*stack, 1, 3, width))
        self.merge_weight = _xavier(width, width, *stack, width, width)
        self.merge_shift = nn.Parameter(torch.zeros(*stack, 1, width))
        self.second_norm_gain = nn.Parameter(torch.ones(*stack, 1, width))
        self.second_norm_shift = nn.Parameter(torch.zeros(*stack, 1, width))
        self.expand_weight = _xavier(width, hidden, *stack, width, hidden)
        self.expand_shift = nn.Parameter(torch.zeros(*stack, 1, hidden))
        self.contract_weight = _xavier(hidden, width, *stack, hidden, width)
        self.contract_shift = nn.Parameter(torch.zeros(*stack, 1, width))
        self.last_norm_gain = nn.Parameter(torch.ones(streams, 1, width))
        self.last_norm_shift = nn.Parameter(torch.zeros(streams, 1, width))

    def forward(self, x: Tensor, lengths: Tensor | None, bias: Tensor | None, last_bias: Tensor | None) -> Tensor:
        """A single transformer on its own sequence, of which each row's last own step is wanted.

        x (B, T, width), lengths (B,) or None, ``bias`` of every step and ``last_bias`` of the last, (B, 1, 1, T) →
        (B, width).
        """
        *before, final = self.layers()
        for weights in before:
            x = self.itself(weights, x, bias)
        x = self.itself(final, x, last_bias, lengths, only_last=True)  # (B, 1, width)
        return norm(x, (self.last_norm_gain, self.last_norm_shift)).squeeze(1)

    def layers(self) -> list[Weights]:
        """The weights of every layer."""
        stacked = (
            (self.norm_gain, self.norm_shift),
            (self.project_weight, self.project_shift),
            (self.merge_weight, self.merge_shift),
            (self.second_norm_gain, self.second_norm_shift),
            (self.expand_weight, self.expand_shift),
            (self.contract_weight, self.contract_shift),
        )
        parts = [list(zip(weight.unbind(), shift.unbind(), strict=True)) for weight, shift in stacked]
        return [Weights(*layer) for layer in zip(*parts, strict=True)]

    def keys_values(self, weights: Weights, x: Tensor, streams: list[int]) -> list[KeysValues]:
        """What several transformers read in one source, by one matrix product.

        ``x`` (B, T, width) is normalised, without any gain: each transformer's own is multiplied into its weight.
        """
        rows, steps, width = x.shape
        gain, shift = (part[streams] for part in weights.norm)
        weight, bias = (part[streams, ..., 1:, :].flatten(-2) for part in weights.project)
        bias = torch.baddbmm(bias, shift, weight)  # (S, 1, 2 · width)
        weight = (gain.transpose(1, 2) * weight).transpose(0, 1).reshape(width, -1)
        found = torch.addmm(bias.reshape(1, -1), x.reshape(-1, width), weight)
        parts = found.view(rows, steps, 2 * len(streams), width).unbind(2)
        return list(zip(parts[0::2], parts[1::2], strict=True))

    def cross(
        self, weights: Weights, x: Tensor, sources: Sequence[KeysValues], biases: Sequence[Tensor | None]
    ) -> Tensor:
        """One block of S transformers on a target, each with its own source and bias: (S, B, T, width) → the same."""
        streams, rows, steps, width = x.shape
        y = norm(x.reshape(streams, -1, width), weights.norm)
        weight, shift = (part[..., 0, :] for part in weights.project)
        queries = torch.baddbmm(shift, y, weight).view(streams, rows, steps, width).unbind()
        heard = [
            self._attend(query, *source, bias) for query, source, bias in zip(queries, sources, biases, strict=True)
        ]
        return self._finish(weights, x.reshape(streams, -1, width), y, heard).view(streams, rows, steps, width)

    def itself(
        self, weights: Weights, x: Tensor, bias: Tensor | None, lengths: Tensor | None = None, only_last: bool = False
    ) -> Tensor:
        """One block of a single transformer on its own sequence (B, T, width) → the same shape.

        With ``only_last`` it gives each row's last own step, (B, 1, width), and ``bias`` is of that step: the last
        block then costs little more than its keys and values.
        """
        rows, steps, width = x.shape
        y = norm(x, weights.norm)
        weight, shift = (part[0].flatten(1) for part in weights.project)
        query, key, value = torch.addmm(shift, y.reshape(-1, width), weight).view(rows, steps, 3, width).unbind(2)
        if only_last:
            x, y, query = (last_step(part, lengths).unsqueeze(1) for part in (x, y, query))
        heard = self._attend(query, key, value, bias)
        return self._finish(weights, x.reshape(1, -1, width), y.reshape(1, -1, width), [heard]).view_as(x)

    def last_norm(self, groups: list[Tensor]) -> list[Tensor]:
        """The norm after the last block: groups of transformers (S_i, B, T_i, width), in order → the same shapes."""
        sizes = [len(x) for x in groups]
        pairs = zip(self.last_norm_gain.split(sizes), self.last_norm_shift.split(sizes), strict=True)
        return [
            norm(x, (gain.unsqueeze(1), shift.unsqueeze(1))) for x, (gain, shift) in zip(groups, pairs, strict=True)
        ]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, width) each → (B, T_q, heads, size)."""
        attended = functional.scaled_dot_product_attention(
            self._split(query),
            self._split(key),
            self._split(value),
            attn_mask=bias,
            dropout_p=self.attention_dropout if self.training else 0.0,
            # The zeros add nothing to a product of two heads, whose scale is that of their own width.
            scale=1 / math.sqrt(self.size),
        )
        return attended.transpose(1, 2)[..., : self.size]

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, width) → (B, heads, T, size), narrow heads continued with zeros."""
        x = x.unflatten(-1, (self.heads, -1))
        return (functional.pad(x, (0, LANES - self.size)) if self.size < LANES else x).transpose(1, 2)

    def _finish(self, weights: Weights, x: Tensor, y: Tensor, heard: list[Tensor]) -> Tensor:
        """What follows attention: x and its norm y (S, N, width), S × (B, T, heads, size) → (S, N, width)."""
        plain = self.residual == "plain"
        update = torch.baddbmm(weights.merge[1], torch.stack(heard).view(y.shape), weights.merge[0])
        z = (x if plain else y) + self._drop(update)
        u = norm(z, weights.second_norm)
        hidden = torch.baddbmm(weights.expand[1], u, weights.expand[0]).relu_()
        update = torch.baddbmm(weights.contract[1], self._drop(hidden), weights.contract[0])
        return (z if plain else u) + self._drop(update)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


def normalise(x: Tensor) -> Tensor:
    """Each step of (…, width) to mean 0 and variance 1."""
    return functional.layer_norm(x, x.shape[-1:])


def norm(x: Tensor, pair: Pair) -> Tensor:
    """Layer normalisation of S transformers' steps (S, …, width), each with its own gain and shift (S, …, width)."""
    gain, shift = pair
    if len(gain) == 1:
        return functional.layer_norm(x, x.shape[-1:], gain.flatten(), shift.flatten())
    return torch.addcmul(shift, normalise(x), gain)


def _xavier(before: int, after: int, *shape: int) -> nn.Parameter:
    """Glorot & Bengio's (2010) uniform weights for each of the matrices in a stack."""
    bound = math.sqrt(6 / (before + after))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
