"""Scores of predictions, on numpy arrays.

Predictions are class probabilities (N, C) against integers (N,), label probabilities (N, C) against 0/1 (N, C), or
numbers (N, K) against (N, K). A score that its definition leaves open (one class in the target, no variance) is NaN.
A prediction that is not finite raises DataError: no number would be right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from braidbench.errors import DataError

Array = NDArray[Any]

THRESHOLD = 0.5
"""Probability from which a label counts as predicted (MultiBench's)."""


def accuracy(prediction: Array, target: Array) -> float:
    """Share of samples whose most probable class is right; the first one wins a tie."""
    prediction, target = _checked(prediction, target)
    if target.ndim != 1:
        raise DataError(f"accuracy scores one class a sample, not labels {target.shape}; use micro-f1 or macro-f1")
    return float(sk.accuracy_score(target, _decide(prediction, target)))


def macro_f1(prediction: Array, target: Array) -> float:
    """Mean over classes of the F1 score; a class that is neither present nor predicted is left out."""
    return _f1(prediction, target, "macro")


def micro_f1(prediction: Array, target: Array) -> float:
    """F1 score of the decisions pooled over classes; equals accuracy when each sample has one class."""
    return _f1(prediction, target, "micro")


def auroc(prediction: Array, target: Array) -> float:
    """Area under the ROC curve: of class 1 for two classes, else the mean over classes, one against the rest.

    NaN unless every class has samples inside and outside of it.
    """
    return _ranking(sk.roc_auc_score, prediction, target)


def auprc(prediction: Array, target: Array) -> float:
    """Average precision, Σ (R_n − R_{n−1}) P_n: of class 1 for two classes, else the mean over classes.

    NaN unless every class has samples inside and outside of it.
    """
    return _ranking(sk.average_precision_score, prediction, target)


def mse(prediction: Array, target: Array) -> float:
    """Mean squared error over samples and outputs."""
    prediction, target = _paired(prediction, target)
    return float(((prediction - target) ** 2).mean())


def mae(prediction: Array, target: Array) -> float:
    """Mean absolute error over samples and outputs."""
    prediction, target = _paired(prediction, target)
    return float(np.abs(prediction - target).mean())


def pearson(prediction: Array, target: Array) -> float:
    """Pearson's correlation, averaged over outputs. NaN when a prediction or a target does not vary."""
    prediction, target = _paired(prediction, target)
    x, y = prediction - prediction.mean(axis=0), target - target.mean(axis=0)
    # A constant's deviation is rounding only, a few units in the last place of its size.
    floor = 8 * np.finfo(np.float64).eps
    flat = [np.ptp(v, axis=0) <= floor * np.abs(v).max(axis=0) for v in (prediction, target)]
    if np.any(flat):
        return float("nan")
    x, y = x / np.abs(x).max(axis=0), y / np.abs(y).max(axis=0)
    correlation = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return float(np.clip(correlation, -1.0, 1.0).mean())


def _checked(prediction: Array, target: Array) -> tuple[Array, Array]:
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target)
    if prediction.ndim != 2 or len(prediction) != len(target) or not len(target):
        raise DataError(
            f"a score needs predictions (N, C) and as many targets, N at least 1; "
            f"there are predictions {prediction.shape} and targets {target.shape}"
        )
    if target.ndim == 2 and target.shape != prediction.shape:
        raise DataError(f"targets {target.shape} do not fit predictions {prediction.shape}")
    for what, values in (("prediction", prediction), ("target", target)):
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise DataError(f"the {what} for row {row} is not finite, so no score of it means anything")
    return prediction, target


def _paired(prediction: Array, target: Array) -> tuple[Array, Array]:
    """Both as (N, K) numbers."""
    prediction, target = np.asarray(prediction, np.float64), np.asarray(target, np.float64)
    return _checked(prediction.reshape(len(prediction), -1), target.reshape(len(target), -1))


def _decide(prediction: Array, target: Array) -> Array:
    """The predicted class (N,) or labels (N, C)."""
    if target.ndim == 1:
        return np.asarray(prediction.argmax(axis=1))
    return (prediction >= THRESHOLD).astype(target.dtype)


def _f1(prediction: Array, target: Array, average: str) -> float:
    prediction, target = _checked(prediction, target)
    decided = _decide(prediction, target)
    if target.ndim == 2:
        present = (target != 0).any(axis=0) | (decided != 0).any(axis=0)
        if not present.any():
            return float("nan")
        target, decided = target[:, present].astype(np.int64), decided[:, present].astype(np.int64)
        if average == "macro":
            return float(np.mean([sk.f1_score(target[:, c], decided[:, c]) for c in range(target.shape[1])]))
        target, decided = target.ravel(), decided.ravel()
        return float(sk.f1_score(target, decided))
    return float(sk.f1_score(target, decided, average=average))


def _ranking(score: Callable[..., float], prediction: Array, target: Array) -> float:
    prediction, target = _checked(prediction, target)
    columns = range(prediction.shape[1])
    if target.ndim == 1:
        hits = np.stack([target == c for c in columns], axis=1)
        columns = range(1, 2) if prediction.shape[1] == 2 else columns
    else:
        hits = target != 0
    if any(hits[:, c].all() or not hits[:, c].any() for c in columns):
        return float("nan")
    return float(np.mean([score(hits[:, c], prediction[:, c]) for c in columns]))
