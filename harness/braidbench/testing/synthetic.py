"""Small made-up data, and the plainest parts there are, so that one component can be tried without anybody else's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch, Column, Split, TrainingData
from braidbench.model import MultimodalModel, Output
from braidbench.registry import Plugin, Registered, Registry
from braidbench.specs import (
    Dataset,
    Encoder,
    Fusion,
    Method,
    Metric,
    Modality,
    Objective,
    Part,
    Procedure,
    Spec,
    Task,
    Training,
)
from braidbench.training import Settings, train

NAMESPACE = "conformance"
SAMPLES = 16
STEPS = 8
"""Longest sequence of the made-up data."""

_GRIDS: Mapping[str, tuple[int, ...]] = {
    "image": (1, 28, 28), "depth": (1, 28, 28), "optical_flow": (2, 28, 28), "video": (3, 16, 16),
}  # fmt: skip
_SPECTROGRAM = (1, 28, 28)


def examples(kind: str) -> dict[bool, Modality]:
    """Whether it is a sequence → a small modality of the kind. A step is a vector, or a frame where it has frames."""
    shape = _GRIDS.get(kind, (6,))
    still = _SPECTROGRAM if kind == "audio" else shape
    return {
        False: Modality(kind.replace("_", "-"), kind, still),
        True: Modality(kind.replace("_", "-"), kind, shape, length=STEPS),
    }


# --- values -----------------------------------------------------------------------------------------------------------


def values(modality: Modality, rows: int, generator: torch.Generator, steps: int | None = None) -> Tensor:
    """(rows, …) numbers in the scale that a model sees: [0, 1] for images, standard normal for the rest."""
    shape = (rows, *((steps or modality.length,) if modality.is_sequence else ()), *modality.shape)
    if modality.kind in ("image", "depth", "video") and len(modality.shape) == 3:
        return torch.rand(shape, generator=generator)
    return torch.randn(shape, generator=generator)


def lengths_of(rows: int, longest: int) -> Tensor:
    """(rows,) lengths that differ, the longest one first."""
    return torch.tensor([max(1, longest - row % longest) for row in range(rows)])


def blank(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` (B, T, …) with zeros beyond each row's length, as a batch has them."""
    if lengths is None:
        return x
    past = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
    return x.masked_fill(past.reshape(*past.shape, *(1,) * (x.ndim - 2)), 0.0)


def make_split(modalities: tuple[Modality, ...], task: Task, rows: int = SAMPLES, seed: int = 0) -> Split:
    """Rows whose target can be read off every modality: noise, shifted by the sample's first label or output."""
    generator = torch.Generator().manual_seed(seed)
    target, hidden = _targets(task, rows, generator)
    columns = {}
    for modality in modalities:
        x = values(modality, rows, generator)
        direction = torch.randn(modality.shape, generator=generator).sign()
        x = x + 0.5 * hidden.reshape(-1, *(1,) * (x.ndim - 1)) * direction
        lengths = lengths_of(rows, STEPS) if modality.is_sequence else None
        columns[modality.name] = Column.of(blank(x, lengths), lengths)
    times = {m.name: _times(rows, rate) for rate, m in enumerate(modalities, 1) if m.times}
    return Split(columns, target, modalities, times)


def _times(rows: int, rate: int) -> Tensor:
    """(rows, STEPS, 2): steps of equal length one after the other, shorter in each further modality."""
    edges = torch.arange(STEPS + 1, dtype=torch.float32) / rate
    return torch.stack([edges[:-1], edges[1:]], dim=1).expand(rows, STEPS, 2)


def _targets(task: Task, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(target as a batch has it, one number a row in [-1, 1] that the inputs reveal)."""
    if task.kind == "classification":
        target = torch.arange(rows) % task.width
        return target, 2.0 * target / max(task.width - 1, 1) - 1.0
    if task.kind == "multilabel":
        on = (torch.arange(rows) % 2).float()
        return torch.stack([on, *[1 - on] * (task.width - 1)], dim=1), 2 * on - 1
    drawn = 2 * torch.rand(rows, generator=generator) - 1
    return drawn[:, None].expand(rows, task.width).clone(), drawn


def training_data(split: Split, task: Task) -> TrainingData:
    """The same rows for training and validation: what is asked is whether they can be learned by heart."""
    statistics = {m.name: {"mean": [0.0] * m.shape[0], "std": [1.0] * m.shape[0]} for m in split.modalities}
    return TrainingData(split, split, task, statistics)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's global generator at ``seed`` inside, and as it was after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


# --- the plainest parts -----------------------------------------------------------------------------------------------


class Plain(nn.Module):
    """An encoder: a linear layer on the input, or on each step and their mean; ``out_dim=0`` leaves the layer out."""

    def __init__(self, modality: Modality, out_dim: int = 16, form: str = "vector") -> None:
        super().__init__()
        width = modality.size // (modality.length or 1)
        self.layer = nn.Linear(width, out_dim) if out_dim else nn.Identity()
        self.out_dim = out_dim or width
        self.form = form

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            still: Tensor = self.layer(x.flatten(1))
            return still
        steps = blank(self.layer(x.flatten(2)), lengths)
        return steps if self.form == "sequence" else steps.sum(1) / lengths.clamp(min=1)[:, None]


class Beside(nn.Module):
    """A fusion: vectors side by side; of sequences, the means over their real steps."""

    def __init__(self, in_dims: list[int]) -> None:
        super().__init__()
        self.out_dim = sum(in_dims)

    def forward(self, found: list[Tensor], lengths: list[Tensor | None] | None = None) -> Tensor:
        if lengths is None:
            return torch.cat(found, dim=1)
        means = [
            x.mean(1) if n is None else blank(x, n).sum(1) / n.clamp(min=1)[:, None]
            for x, n in zip(found, lengths, strict=True)
        ]
        return torch.cat(means, dim=1)


class Loss:
    """An objective: the task's own loss."""

    def __call__(self, output: Output, batch: Batch, model: MultimodalModel) -> dict[str, Tensor]:
        return {"task": loss(model.task, output.prediction, batch.target)}


class Fit:
    """A procedure: the loop of the core."""

    def fit(self, model: MultimodalModel, data: TrainingData, settings: Settings) -> MultimodalModel:
        train(model, data, settings)
        return model


def loss(task: Task, prediction: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, binary cross-entropy or mean squared error."""
    if task.kind == "classification":
        return functional.cross_entropy(prediction, target)
    if task.kind == "multilabel":
        return functional.binary_cross_entropy_with_logits(prediction, target)
    return functional.mse_loss(prediction, target.reshape(prediction.shape))


def agreement(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """1 where every sample is right, 0 for what knows nothing of the target or less: the score of the made-up tasks.

    Share of right classes or labels; for numbers, the share of the variance that is explained.
    """
    if target.ndim == 1:
        return float((prediction.argmax(1) == target).mean())
    if np.isin(target, (0, 1)).all():
        return float(((prediction >= 0.5) == (target >= 0.5)).mean())
    residual = ((prediction - target) ** 2).mean()
    return float(max(0.0, 1.0 - residual / max(float(target.var()), 1e-12)))


# --- made-up datasets, beside everything that is installed ------------------------------------------------------------


def _modalities() -> dict[str, tuple[Modality, ...]]:
    vector, series = Modality("a", "tabular", (6,)), Modality("b", "time_series", (4,), length=STEPS, times=True)
    text, image = Modality("c", "text", (5,), length=STEPS, times=True), Modality("d", "image", (1, 28, 28))
    audio, video = (
        Modality("e", "audio", (4,), length=STEPS, times=True),
        Modality("f", "video", (7,), length=STEPS, times=True),
    )
    return {
        "vectors": (vector, Modality("b", "tabular", (4,))),
        "sequences": (text, audio),
        "mixed": (vector, series),
        "seen-and-heard": (image, audio),
        "three": (text, audio, video),
        "one": (vector,),
        "sequence": (series,),
    }


def tasks() -> tuple[Task, ...]:
    """One task of each kind."""
    score = (f"{NAMESPACE}/agreement",)
    return (
        Task("classes", "classification", score, classes=("one", "two")),
        Task("labels", "multilabel", score, classes=("one", "two", "three")),
        Task("number", "regression", score),
    )


def combinations() -> tuple[tuple[Modality, ...], ...]:
    """The modalities of each made-up dataset."""
    return tuple(_modalities().values())


def _specs() -> list[tuple[str, Spec]]:
    here = "braidbench.testing.synthetic"
    declared: list[tuple[str, Spec]] = [
        ("encoders", Encoder(f"{NAMESPACE}/plain", f"{here}:Plain", gives=("vector", "sequence"))),
        ("fusions", Fusion(f"{NAMESPACE}/beside", f"{here}:Beside")),
        ("objectives", Objective(f"{NAMESPACE}/loss", f"{here}:Loss")),
        ("procedures", Procedure(f"{NAMESPACE}/fit", f"{here}:Fit")),
        ("metrics", Metric(f"{NAMESPACE}/agreement", f"{here}:agreement")),
    ]
    for name, modalities in _modalities().items():
        declared.append(
            (
                "datasets",
                Dataset(
                    f"{NAMESPACE}/{name}",
                    f"{here}:make_split",
                    modalities=modalities,
                    tasks=tasks(),
                    encoders={m.name: Part(f"{NAMESPACE}/plain", out_dim=16) for m in modalities},
                    training=Training(epochs=80, batch_size=SAMPLES // 2, lr=0.01),
                ),
            )
        )
    return declared


DATASETS = tuple(f"{NAMESPACE}/{name}" for name in _modalities())
"""The made-up datasets, in the order in which a method is offered them."""


class Overlay(Registry):
    """A registry with the kit's own parts and made-up datasets beside everything that another one has."""

    def __init__(self, base: Registry, further: tuple[tuple[str, Spec], ...] = ()) -> None:
        super().__init__([])
        self.plugins = list(base.plugins)
        self._entries = {kind: dict(names) for kind, names in base._entries.items()}
        kit = Plugin("conformance", __name__, "braidbench", "")
        for kind, spec in (*_specs(), *further):
            self._entries[kind][spec.name] = [Registered(spec, kit)]


def plain_method(kind: str, name: str) -> Method:
    """A method of the plainest parts but for one: the fusion, objective or procedure ``name``."""
    parts = {"fusion": f"{NAMESPACE}/beside", "objective": f"{NAMESPACE}/loss", "procedure": f"{NAMESPACE}/fit"}
    parts[kind] = name
    return Method(
        f"{NAMESPACE}/plain-but-for-the-{kind}",
        fusion=parts["fusion"],
        objective=parts["objective"],
        procedure=parts["procedure"],
    )
