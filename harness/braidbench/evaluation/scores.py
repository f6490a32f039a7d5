"""Metrics of stored predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError
from braidbench.registry import Registry, load_target
from braidbench.specs import Metric, Task


def metrics_of(registry: Registry, task: Task) -> dict[str, Metric]:
    """The task's metrics by the name the task gives them, in its order. Raises UsageError for an unknown one."""
    return {name: registry.find("metrics", name).spec for name in task.metrics}


def score(metrics: Mapping[str, Metric], prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float | None]:
    """Each metric of (N, width) predictions; None where it is undefined (NaN).

    Raises DataError when a prediction is not finite: a score of it would be a number without meaning.
    """
    if not np.isfinite(prediction).all():
        row = int(np.argwhere(~np.isfinite(prediction))[0][0])
        raise DataError(f"the model's prediction for row {row} is not finite")
    found: dict[str, float | None] = {}
    for name, metric in metrics.items():
        value = float(load_target(metric)(prediction, target))
        found[name] = None if math.isnan(value) else value
    return found
