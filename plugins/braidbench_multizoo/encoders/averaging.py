"""The deep averaging network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, valid_steps


class DeepAveraging(nn.Module):
    """The mean over a row's own steps, then hidden layers of rectified units and a linear layer.

    In training each step is left out of the mean with probability ``word_dropout``, all its features at once; in
    evaluation all count. A row without steps, or without one that is left, has zeros for a mean. ``embed`` first maps
    each step to that many numbers by a linear layer, for features that are no word vectors; None averages them as
    they are.

    Source: Iyyer et al. (2015), 3 and, for the dropping of words, 3.1.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: tuple[int, ...] = (64, 64),
        embed: int | None = None,
        word_dropout: float = 0.3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= word_dropout < 1.0:
            raise UsageError(f"encoder 'deep-averaging': word_dropout must be in [0, 1), not {word_dropout}")
        self.modality = modality
        width = features(modality)
        self.embed = nn.Identity() if embed is None else nn.Linear(width, embed)
        width = width if embed is None else embed
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_dim))
        self.word_dropout = word_dropout
        self.out_dim = out_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, …), lengths (B,) or None → (B, out_dim)."""
        x = self.embed(flat_steps(self.modality, x, lengths))
        counted = valid_steps(x, lengths)
        if self.training and self.word_dropout:
            counted = counted & (torch.rand(counted.shape, device=x.device) >= self.word_dropout)
        weights = counted.to(x.dtype)
        mean = torch.einsum("bt,btd->bd", weights, x) / weights.sum(1, keepdim=True).clamp(min=1)
        result: Tensor = self.layers(mean)
        return result
