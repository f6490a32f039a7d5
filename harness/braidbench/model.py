"""Encoders → fusion → head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from braidbench.errors import PluginError
from braidbench.specs import Task


@dataclass
class Output:
    """What a model gives for a batch.

    ``prediction`` is (B, width): logits for classification and multilabel, values for regression. ``fused`` is (B, D);
    ``representations[name]`` is each encoder's (B, D) or (B, T, D).
    """

    prediction: Tensor
    fused: Tensor
    representations: dict[str, Tensor]


class Head(nn.Module):
    """(B, in_dim) → (B, width): a linear layer, or one hidden layer of ``hidden`` rectified units before it."""

    def __init__(self, in_dim: int, width: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.hidden, self.dropout = width, hidden, dropout
        layers: list[nn.Module] = []
        if hidden:
            layers += [nn.Linear(in_dim, hidden), nn.ReLU()]
            in_dim = hidden
        if dropout:
            layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, width))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result

    def resized(self, in_dim: int) -> Head:
        """A new head of the same form for another width of input."""
        return Head(in_dim, self.width, self.hidden, self.dropout)


class MultimodalModel(nn.Module):
    """The model that every method shares. ``encoders`` are in the order of the dataset's modalities.

    ``takes`` is the form that the fusion asks for: with ``sequences`` it is called with the lengths too, and a vector
    becomes a sequence of one step.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], fusion: nn.Module, head: nn.Module, task: Task, takes: str = "vectors"
    ) -> None:
        super().__init__()
        self.names = tuple(encoders)
        self.encoders = nn.ModuleDict({_key(name): encoder for name, encoder in encoders.items()})
        self.fusion = fusion
        self.head = head
        self.task = task
        self.takes = takes

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        """``inputs[name]`` (B, …) and ``lengths[name]`` (B,) or None, as a Batch holds them."""
        found: dict[str, Tensor] = {}
        for name in self.names:
            found[name] = self.encoders[_key(name)](inputs[name], lengths[name])
        if self.takes == "sequences":
            values = [value if value.ndim == 3 else value.unsqueeze(1) for value in found.values()]
            spans = [lengths[name] if found[name].ndim == 3 else None for name in self.names]
            fused = self.fusion(values, spans)
        else:
            fused = self.fusion(list(found.values()))
        return Output(self.head(fused), fused, found)


def _key(name: str) -> str:
    """A modality's key in the module dictionary, which keeps a few names for itself (``values``, ``type``, …)."""
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def out_dim(module: nn.Module, what: str) -> int:
    """The width that a built encoder or fusion promises. Raises PluginError if it does not say."""
    width: Any = getattr(module, "out_dim", None)
    if not isinstance(width, int) or width < 1:
        raise PluginError(
            f"{what} must have an integer attribute out_dim, the width of what it gives; it has {width!r}"
        )
    return width


def activate(task: Task, prediction: Tensor) -> Tensor:
    """What is stored and scored: class probabilities, label probabilities, or the values. float32, (B, width)."""
    prediction = prediction.float()
    if task.kind == "classification":
        return torch.softmax(prediction, dim=-1)
    if task.kind == "multilabel":
        return torch.sigmoid(prediction)
    return prediction.reshape(len(prediction), -1)
