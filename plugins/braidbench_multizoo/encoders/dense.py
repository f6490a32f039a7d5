"""Encoders without structure: the input as it is, and multilayer perceptrons."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import zero_padding


class Identity(nn.Module):
    """The input itself, flat.

    A sequence is padded with zeros to the modality's longest length and flattened, (B, length · features); with
    ``form="sequence"`` each step is flattened, (B, T, features). ``out_dim`` follows from the modality. No parameters.
    """

    def __init__(
        self, modality: Modality, out_dim: int | None = None, form: Literal["vector", "sequence"] = "vector"
    ) -> None:
        super().__init__()
        self.form = form
        self.length = modality.length
        step = modality.size // (modality.length or 1)
        self.out_dim = step if form == "sequence" else modality.size
        if out_dim not in (None, self.out_dim):
            raise ValueError(f"the identity of {modality.name!r} is {self.out_dim} wide, not {out_dim}")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, \\*shape) or (B, T, \\*shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        x = x.to(torch.get_default_dtype()) if not x.is_floating_point() else x
        if self.length is None:
            return x.flatten(1)
        x = zero_padding(x, lengths).flatten(2)
        if self.form == "sequence":
            return x
        return F.pad(x, (0, 0, 0, self.length - x.shape[1])).flatten(1)


class MLP(nn.Module):
    """Linear layers with rectified units between them.

    A sequence is flattened as by :class:`Identity`; with ``form="sequence"`` the layers act on every step alone.
    MultiBench's ``MLP`` with ``dropout=True`` leaves its last layer out; this one does not.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: tuple[int, ...] = (64,),
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        self.flat = Identity(modality, form=form)
        self.out_dim = out_dim
        layers: list[nn.Module] = []
        width = self.flat.out_dim
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_dim))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, \\*shape) or (B, T, \\*shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        result: Tensor = self.layers(self.flat(x, lengths))
        return zero_padding(result, lengths) if result.ndim == 3 else result
