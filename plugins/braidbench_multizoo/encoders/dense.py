"""Encoders without structure: the input as it is, and multilayer perceptrons."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, zero_padding


class Identity(nn.Module):
    """The input itself, flat. It has no parameters, and its width follows from the modality.

    A sample (B, …) becomes (B, size). A sequence (B, T, …) is continued with zeros to the ``length`` that the modality
    declares and becomes (B, length · features), or stays (B, T, features) with ``form="sequence"``; what stands beyond
    a row's length counts as zero, so a row without steps is all zeros.
    """

    def __init__(self, modality: Modality, form: Literal["vector", "sequence"] = "vector") -> None:
        super().__init__()
        self.modality = modality
        self.form = form
        self.out_dim = modality.size if form == "vector" else features(modality)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, …) or (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        if self.modality.length is None:
            return x.flatten(1)
        x = flat_steps(self.modality, x, lengths)
        if self.form == "sequence":
            return x
        return functional.pad(x, (0, 0, 0, self.modality.length - x.shape[1])).flatten(1)


class MLP(nn.Module):
    """Linear layers with rectified units between them.

    ``hidden`` is the width of each hidden layer (0 or (): none); ``dropout`` follows each of them. A sequence is read
    flat, as :class:`Identity` gives it, or step by step with ``form="sequence"``, where steps beyond a row's length
    give zeros. Read flat, a row without steps is a row of zeros. MultiBench's ``MLP`` with ``dropout=True`` leaves its
    last layer out; this one does not.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: int | tuple[int, ...] = (64,),
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        self.flat = Identity(modality, form)
        layers: list[nn.Module] = []
        width = self.flat.out_dim
        for size in hidden if isinstance(hidden, tuple) else (hidden,) if hidden else ():
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_dim))
        self.out_dim = out_dim
        self.stage_dims = [*(layer.out_features for layer in layers if isinstance(layer, nn.Linear)), out_dim]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, …) or (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        result: Tensor = self.layers(self.flat(x, lengths))
        return zero_padding(result, lengths) if result.ndim == 3 else result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """The units of each hidden layer, and the output: (B, stage_dims[i]) each, of an encoder that gives vectors."""
        x = self.flat(x, lengths)
        found = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return [*found, x]
