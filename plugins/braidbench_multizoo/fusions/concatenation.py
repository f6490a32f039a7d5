"""Early and late fusion by concatenation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Concat(nn.Module):
    """z = [z_1, …, z_M]: late fusion. Source: *Foundations of Multisensory AI*, 7.4.2. No parameters."""

    def __init__(self, in_dims: list[int]) -> None:
        super().__init__()
        self.out_dim = sum(in_dims)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, Σ D_i)."""
        return torch.cat(representations, dim=1)


class ConcatEarly(nn.Module):
    """z = f([x_1, …, x_M]): the flat inputs side by side, then hidden layers of rectified units.

    Source: *Foundations of Multisensory AI*, 7.4.2: concatenation at the input level before a suitable model.
    """

    def __init__(self, in_dims: list[int], hidden: tuple[int, ...] = (128,), dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = sum(in_dims)
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers)
        self.out_dim = width

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, hidden[-1])."""
        result: Tensor = self.layers(torch.cat(representations, dim=1))
        return result
