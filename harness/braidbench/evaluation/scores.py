"""Metrics of stored predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError, UndefinedScoreError
from braidbench.registry import Registry, load_target
from braidbench.specs import Metric, Task


def metrics_of(registry: Registry, task: Task) -> dict[str, Metric]:
    """The task's metrics by the name the task gives them, in its order. Raises UsageError for an unknown one."""
    return {name: registry.find("metrics", name).spec for name in task.metrics}


@dataclass(frozen=True)
class Scored:
    """Scores of one set of predictions."""

    values: dict[str, float | None]
    """Metric → score; None where it is undefined."""
    undefined: dict[str, str]
    """Metric → why it is undefined."""


def score(metrics: Mapping[str, Metric], prediction: NDArray[Any], target: NDArray[Any]) -> Scored:
    """Each metric of (N, width) predictions.

    Raises DataError when a prediction is not finite: a score of it would be a number without meaning.
    """
    if not np.isfinite(prediction).all():
        row = int(np.argwhere(~np.isfinite(prediction))[0][0])
        raise DataError(f"the model's prediction for row {row} is not finite")
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            # Copies: what a metric writes into them would be scored by the next one, and stored.
            value = float(load_target(metric)(prediction.copy(), target.copy()))
            reason = "" if math.isfinite(value) else _why_undefined(value, target)
        except UndefinedScoreError as error:
            value, reason = math.nan, str(error)
        values[name] = None if reason else value
        if reason:
            undefined[name] = reason
    return Scored(values, undefined)


def scorer(metric: Metric) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """The metric as a function of (prediction, target); NaN where it is undefined."""
    function = load_target(metric)

    def value(prediction: NDArray[Any], target: NDArray[Any]) -> float:
        try:
            return float(function(prediction.copy(), target.copy()))
        except UndefinedScoreError:
            return math.nan

    return value


def _why_undefined(value: float, target: NDArray[Any]) -> str:
    """What can be said of a metric that gave no finite number without knowing it."""
    if target.ndim == 1 and target.dtype.kind in "iu":
        classes = np.unique(target)
        if len(classes) == 1:
            return f"one class only: all {len(target):,} rows have class {classes[0]}"
    elif target.ndim == 2:
        constant = [column for column in range(target.shape[1]) if len(np.unique(target[:, column])) == 1]
        if constant:
            which = f"column {constant[0]} of the target" if target.shape[1] > 1 else "the target"
            return f"{which} has one value only in all {len(target):,} rows"
    return f"the metric gave {value} for these {len(target):,} rows"
