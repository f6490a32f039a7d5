"""Convolutional encoders: images by a LeNet, sequences by dilated temporal convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, mean_pool, valid_steps, zero_padding


class LeNet(nn.Module):
    """MultiBench's LeNet: a 5 × 5 convolution to ``channels`` maps, then ``layers`` 3 × 3 convolutions that each double
    them; every one followed by batch normalisation, rectification and 2 × 2 max pooling.

    ``layers=None`` takes as many as bring the shorter side down to one: 3 for 28 × 28, 5 for 112 × 112. The maps are
    flattened and mapped to ``out_dim`` by a linear layer; ``out_dim=0`` leaves it out, as MultiBench does, and gives 48
    numbers for 28 × 28 and 192 for 112 × 112 with ``channels=6``.

    Pooling comes before rectification: both orders give the same, and this one rectifies a quarter of the numbers.

    Source: Vielzeuf et al. (2018), CentralNet, AV-MNIST; Liang et al. (2021), MultiBench.
    """

    def __init__(self, modality: Modality, out_dim: int = 64, channels: int = 6, layers: int | None = None) -> None:
        super().__init__()
        if len(modality.shape) != 3:
            raise UsageError(
                f"encoder 'lenet' reads (channels, height, width); {modality.name!r} has shape {modality.shape}"
            )
        width, *sides = modality.shape
        short = min(sides)
        halvings = short.bit_length() - 1
        layers = max(halvings - 1, 0) if layers is None else layers
        if not 0 <= layers < halvings:
            raise UsageError(
                f"encoder 'lenet' halves a picture {1 + layers} times with layers={layers}; the shorter side of "
                f"{modality.name!r} is {short}: " + (f"layers can be 0 to {halvings - 1}" if halvings else "use 'mlp'")
            )
        blocks: list[nn.Module] = []
        for index in range(1 + layers):
            kernel, maps = (3, channels << index) if index else (5, channels)
            # Without a bias: the normalisation that follows would take it out again.
            blocks += [
                nn.Conv2d(width, maps, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(maps),
                nn.MaxPool2d(2),
                nn.ReLU(),
            ]
            width = maps
            sides = [side // 2 for side in sides]
        flat = width * sides[0] * sides[1]
        self.stage_dims = [*(channels << index for index in range(1 + layers)), out_dim or flat]
        self.first, self.rest = blocks[0], nn.Sequential(*blocks[1:])
        self.project = nn.Linear(flat, out_dim) if out_dim else nn.Identity()
        self.out_dim = out_dim or flat

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, channels, height, width) → (B, out_dim); ``lengths`` is not read."""
        # Normalisation and pooling of few maps are up to twice as fast with the maps' index running fastest.
        maps = self.first(x).contiguous(memory_format=torch.channels_last)
        result: Tensor = self.project(self.rest(maps).flatten(1))
        return result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """The mean of each convolution's rectified maps over the picture, and the output: (B, stage_dims[i]) each."""
        maps = self.first(x)
        found = []
        for layer in self.rest:
            maps = layer(maps)
            if isinstance(layer, nn.ReLU):
                found.append(maps.mean((2, 3)))
        return [*found, self.project(maps.flatten(1))]


class Conv1d(nn.Module):
    """Temporal convolutions over each row's own steps, then a pool over time and a linear layer.

    Layer i has ``channels[i]`` maps, an odd ``kernel``, dilation 2**i and rectified units, and keeps the number of
    steps; with the default three layers an output step sees 29 input steps. Steps beyond a row's length are zero before
    every layer, as steps outside the sequence are, so padding changes nothing. ``pool`` is the mean or the maximum over
    a row's own steps. With ``form="sequence"`` the linear layer is applied to each step, and padding gives zeros. A row
    without steps pools to zeros.

    Source: dilated convolutions in time as in Bai, Kolter & Koltun (2018), not causal and without residual blocks.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        channels: tuple[int, ...] = (32, 32, 64),
        kernel: int = 5,
        pool: Literal["mean", "max"] = "mean",
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or kernel < 1:
            raise UsageError(f"encoder 'conv1d': kernel must be odd and positive, not {kernel}")
        if not channels:
            raise UsageError("encoder 'conv1d': channels needs a width for one layer or more, such as [32, 64]")
        self.modality = modality
        widths = (features(modality), *channels)
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=(kernel // 2) << index, dilation=1 << index)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(channels[-1], out_dim)
        self.pool = pool
        self.form = form
        self.out_dim = out_dim
        self.stage_dims = [*channels, out_dim]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        *_, x = self._states(x, lengths)
        if self.form == "sequence":
            return zero_padding(self.project(x), lengths)
        result: Tensor = self.project(self._pooled(x, lengths))
        return result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Each layer's pool over time, and the output as a vector: (B, stage_dims[i]) each."""
        found = [self._pooled(states, lengths) for states in self._states(x, lengths)]
        return [*found, self.project(found[-1])]

    def _states(self, x: Tensor, lengths: Tensor | None) -> Iterator[Tensor]:
        """(B, T, maps) after each layer, zeros for padding."""
        x = flat_steps(self.modality, x, lengths).transpose(1, 2)
        padding = None if lengths is None else ~valid_steps(x.transpose(1, 2), lengths).unsqueeze(1)
        for layer in self.layers:
            x = self.dropout(functional.relu(layer(x)))
            if padding is not None:
                x = x.masked_fill(padding, 0.0)
            yield x.transpose(1, 2)

    def _pooled(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        # After rectification a zero never is the maximum over a positive one, so padding needs no other mask.
        return mean_pool(x, lengths) if self.pool == "mean" else torch.amax(x, 1)
