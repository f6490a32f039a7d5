"""The maxout perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.dense import Identity


class MaxOutMLP(nn.Module):
    """Batch normalisation of the input, maxout layers that are each normalised and dropped out, then a linear layer.

    A maxout layer gives the largest of ``pieces`` linear functions of its input for each of its units; ``hidden`` is
    the number of units of each layer. ``out_dim=0`` leaves the last linear layer out. A sequence is read flat, as
    :class:`~braidbench_multizoo.encoders.dense.Identity` gives it.

    Source: Goodfellow et al. (2013), 2; as an encoder of films Arevalo et al. (2017). ε is torch's 10⁻⁵ throughout;
    MultiBench's code passes 10⁻⁴ to the input's normalisation alone.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: tuple[int, ...] = (64, 64),
        pieces: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if not hidden or pieces < 2:
            raise UsageError(
                f"encoder 'maxout-mlp' needs a layer or more of two pieces or more, not hidden={list(hidden)} and "
                f"pieces={pieces}"
            )
        self.flat = Identity(modality)
        width = self.flat.out_dim
        layers: list[nn.Module] = [_Normalise(width)]
        for size in hidden:
            layers += [_Maxout(width, size, pieces), _Normalise(size), nn.Dropout(dropout)]
            width = size
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(width, out_dim) if out_dim else nn.Identity()
        self.out_dim = out_dim or width
        self.stage_dims = [*hidden[: len(hidden) if out_dim else -1], self.out_dim]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, …) or (B, T, …), lengths (B,) or None → (B, out_dim)."""
        result: Tensor = self.project(self.layers(self.flat(x, lengths)))
        return result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Each maxout layer's normalised units, and the output: (B, stage_dims[i]) each."""
        x = self.flat(x, lengths)
        found = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.Dropout):
                found.append(x)
        return [*(found if isinstance(self.project, nn.Linear) else found[:-1]), self.project(x)]


class _Maxout(nn.Module):
    """(B, width) → (B, units): the maximum over ``pieces`` linear functions each."""

    def __init__(self, width: int, units: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.linear = nn.Linear(width, units * pieces)

    def forward(self, x: Tensor) -> Tensor:
        return torch.amax(self.linear(x).unflatten(1, (-1, self.pieces)), dim=2)


class _Normalise(nn.BatchNorm1d):
    """Batch normalisation that uses the running statistics for a batch of one, which has no variance of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 1:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
