"""A dataset of the harness as features and one label: what ``quantify`` and ``advise`` estimate from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.data import Column
from braidbench.errors import UsageError
from braidbench.measuring import Opened, open_task
from braidbench.specs import SPLITS, Dataset, Task
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.samples import IntArray

SEGMENTS = 8
"""Equal parts of a sequence, each shown by its mean and its deviation: sequences of any length become vectors of one.
The deviation is what a volatility or a movement is made of, whose mean is nothing."""


@dataclass(frozen=True)
class Table:
    """All rows of a dataset."""

    features: Mapping[str, FloatArray]
    """Modality → (N, D)."""
    labels: IntArray
    """(N,)."""
    split: IntArray
    """(N,): 0 training, 1 validation, 2 test."""
    label: str
    """What the label is, in words."""
    decide: Callable[[NDArray[Any]], IntArray]
    """Targets as the dataset holds them → labels, (N,)."""
    choose: Callable[[NDArray[Any]], IntArray]
    """Predictions as they are scored, (N, width) → labels, (N,): the most probable class, or the side of the cut."""


def read(spec: Dataset, task: Task, quantiles: int = 2, label: str | None = None) -> Table:
    """The rows of a dataset, prepared if need be, with the features and the label as vectors and integers.

    A sequence is cut into :data:`SEGMENTS` equal parts, each shown by its features' means and deviations. A number to
    predict becomes its quantile among the training rows, ``quantiles`` of equal size; of several labels the one named
    ``label`` is taken, or else the one that is nearest to half of the training rows.

    Raises:
        UsageError: ``label`` is no class of a multilabel task, or ``quantiles`` is below 2.
        DataError: the dataset cannot be prepared.
    """
    _check(task, quantiles, label)  # before a dataset is prepared, which may take long
    return tabulate(open_task(spec, task), quantiles, label)


def tabulate(data: Opened, quantiles: int = 2, label: str | None = None) -> Table:
    """:func:`read` of a dataset that is open."""
    task = data.task
    _check(task, quantiles, label)
    spec = data.dataset
    opened = [data.splits[name] for name in SPLITS]
    features = {
        modality.name: np.concatenate([flatten(split.columns[modality.name]) for split in opened])
        for modality in spec.modalities
    }
    split = np.repeat(np.arange(len(SPLITS)), [len(part) for part in opened])
    targets = np.concatenate([part.target.numpy() for part in opened])
    decide, choose, said = _label(task, targets[split == 0], quantiles, label)
    return Table(features, decide(targets), split, said, decide, choose)


def _check(task: Task, quantiles: int, label: str | None) -> None:
    if quantiles < 2:
        raise UsageError(f"a label has two quantiles or more, not {quantiles}")
    if label is not None and (task.kind != "multilabel" or label not in task.classes):
        known = ", ".join(task.classes) if task.kind == "multilabel" else "none: it is not a multilabel task"
        raise UsageError(f"task {task.name!r} has no label {label!r}; its labels are {known}")


def flatten(column: Column) -> FloatArray:
    """A modality's rows as vectors, (N, D) float64: of sequences all means, then all deviations, part by part."""
    values = column.all().numpy().astype(np.float64)
    if column.lengths is None:
        return values.reshape(len(values), -1)
    lengths = column.lengths.numpy()
    values = values.reshape(*values.shape[:2], -1)
    segments = min(SEGMENTS, values.shape[1])
    edges = np.arange(segments + 1) * lengths[:, None] / segments
    starts = np.minimum(np.floor(edges[:, :-1]).astype(np.int64), np.maximum(lengths - 1, 0)[:, None])
    # At least one step each: a sequence shorter than the segments repeats its steps.
    ends = np.maximum(np.floor(edges[:, 1:]).astype(np.int64), starts + 1)
    rows = np.arange(len(values))[:, None]
    steps = (ends - starts)[..., None]

    def average(of: FloatArray) -> FloatArray:
        # Differences of the running sum, whose first entry is zero.
        total = np.concatenate([np.zeros_like(of[:, :1]), np.cumsum(of, axis=1)], axis=1)
        part: FloatArray = (total[rows, ends] - total[rows, starts]) / steps
        return part

    mean = average(values)
    deviation = np.sqrt(np.maximum(average(values**2) - mean**2, 0.0))
    flat: FloatArray = np.concatenate([mean, deviation], axis=1).reshape(len(values), -1)
    return flat


Labelling = Callable[[NDArray[Any]], IntArray]


def _label(task: Task, training: NDArray[Any], quantiles: int, label: str | None) -> tuple[Labelling, Labelling, str]:
    """How targets and predictions become a label, and what it is in words."""
    if task.kind == "classification":
        return (lambda targets: targets.astype(np.int64)), (lambda predictions: predictions.argmax(axis=1)), task.name
    if task.kind == "multilabel":
        frequency = training.mean(axis=0)
        chosen = int(np.argmin(np.abs(frequency - 0.5))) if label is None else task.classes.index(label)
        return (
            lambda targets: targets[:, chosen].astype(np.int64),
            lambda predictions: (predictions[:, chosen] > 0.5).astype(np.int64),
            f"{task.name}: {task.classes[chosen]}",
        )
    cuts = np.quantile(_first(training), np.arange(1, quantiles) / quantiles)
    which = task.name if task.outputs == 1 else f"the first output of {task.name}"
    said = f"{which} above its training median" if quantiles == 2 else f"{which}, its {quantiles} training quantiles"

    def cut(values: NDArray[Any]) -> IntArray:
        return np.searchsorted(cuts, _first(values), side="right").astype(np.int64)

    return cut, cut, said


def _first(values: NDArray[Any]) -> FloatArray:
    first: FloatArray = values.reshape(len(values), -1)[:, 0].astype(np.float64)
    return first
