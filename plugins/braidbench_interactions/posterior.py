"""Posteriors p(y | x) as sufficient statistics: the ``posterior`` estimator.

X_i enters R, U1 and U2 only through its posterior vector p(y | x_i): the posterior is sufficient for the label, and
experiments that are equal in Blackwell's order have the same union information. So
features of any dimension are replaced by the calibrated posterior of a classifier, and nothing is estimated in their
space. With two classes the union information of the posteriors has a closed form
(:mod:`braidbench_interactions.join`); with more, posteriors are clustered into symbols for the interior point. S needs
the posterior given both modalities as well.

Posteriors are those of held-out rows, calibrated so that the information they claim, H(Y) − E[H(π)], is what they show
on the labels, H(Y) − E[−ln π_y].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from braidbench.errors import UsageError
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.samples import IntArray, Samples
from braidbench_interactions.threads import on_one_thread

_FLOOR = 1e-12
_COMPONENTS = 256  # principal components kept of wide features


def check_posterior(posterior: ArrayLike, rows: int | None = None, tolerance: float = 1e-6) -> FloatArray:
    """Posteriors (N, C) as float64, each row divided by its sum.

    Raises:
        UsageError: not (N, C) with C ≥ 2, negative, not finite, or a row whose sum is off from one by more than
            ``tolerance``.
    """
    array = np.asarray(posterior, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2 or (rows is not None and len(array) != rows):
        raise UsageError(f"posteriors are (N, classes) with two classes or more, one row a sample; got {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise UsageError("posteriors are finite and not negative")
    total = array.sum(axis=1)
    worst = int(np.argmax(np.abs(total - 1.0)))
    if abs(total[worst] - 1.0) > tolerance:
        raise UsageError(f"posteriors sum to one; row {worst} sums to {total[worst]:.6g}")
    normalised: FloatArray = array / total[:, None]
    return normalised


def cross_entropy(posterior: FloatArray, labels: IntArray) -> float:
    """Mean −ln π_y in nats."""
    return float(-np.log(np.maximum(posterior[np.arange(len(labels)), labels], _FLOOR)).mean())


# --- classifiers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """What a classifier is to be fitted on."""

    rows: int
    features: int
    rarest: int
    """Rows of the rarest class."""

    @property
    def stops_early(self) -> bool:
        """Whether a part of the rows, stratified by class, can be held back to decide when to stop."""
        return self.rarest >= 10


Maker = Callable[[Size, int], Any]
"""(size, seed) → an unfitted scikit-learn classifier."""


def _logistic(size: Size, seed: int, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return _prepared(size, seed, LogisticRegression(C=strength, max_iter=500))


def _network(size: Size, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        (64,), alpha=1e-2, batch_size=min(256, size.rows), learning_rate_init=3e-3, max_iter=60,
        early_stopping=size.stops_early, validation_fraction=0.15, n_iter_no_change=6, random_state=seed,
    )  # fmt: skip
    return _prepared(size, seed, network)


def _boosted(size: Size, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=100, max_leaf_nodes=15, early_stopping=size.stops_early, n_iter_no_change=5, random_state=seed
    )


def _prepared(size: Size, seed: int, classifier: Any) -> Any:
    """Standardised features, and of many their leading principal components, before a classifier."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kept = min(_COMPONENTS, size.features, size.rows)
    steps = [PCA(kept, random_state=seed)] if kept < size.features else []
    return make_pipeline(StandardScaler(), *steps, classifier)


CLASSIFIERS: dict[str, Maker] = {
    "logistic": partial(_logistic, strength=1.0),
    "logistic-strong": partial(_logistic, strength=0.01),
    "network": _network,
    "boosted": _boosted,
}
"""The classifiers that are tried; the one of the least cross-entropy on the validation rows is used."""

_BOOSTED_AT_MOST = 64  # features; trees on more are slow and no better here


@on_one_thread
def fit_posterior(features: FloatArray, samples: Samples, seed: int, only: str | None = None) -> tuple[str, FloatArray]:
    """Posteriors (N, C) of all rows by a classifier fitted on the training rows, and its name.

    The classifier is ``only``, or the best of :data:`CLASSIFIERS` on the validation rows.
    """
    from sklearn.exceptions import ConvergenceWarning

    train, valid = samples.train, samples.valid
    size = Size(int(train.sum()), features.shape[1], int(np.bincount(samples.labels[train]).min()))
    best: tuple[float, str, FloatArray] | None = None
    for name, make in CLASSIFIERS.items():
        if only is not None and name != only:
            continue
        if only is None and name == "boosted" and features.shape[1] > _BOOSTED_AT_MOST:
            continue
        classifier = make(size, seed)
        with warnings.catch_warnings():
            # A classifier stopped early is judged on the validation rows like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(features[train], samples.labels[train])
        posterior = np.asarray(classifier.predict_proba(features), dtype=np.float64)
        loss = cross_entropy(posterior[valid], samples.labels[valid])
        if best is None or loss < best[0]:
            best = loss, name, posterior
    assert best is not None
    return best[1], best[2]


# --- calibration ------------------------------------------------------------------------------------------------------


def calibrate(posterior: FloatArray, labels: IntArray, weights: FloatArray) -> FloatArray:
    """softmax(β ln π + b) with the β and b of the greatest weighted likelihood, (N, C).

    At the optimum the mean posterior is the frequency of the labels, and the mean of −ln π_y is the mean entropy of the
    posteriors: what they claim to know is what they know. (Temperature scaling with an intercept a class: Guo et al.
    2017. Scikit-learn's calibrators have no common temperature for several classes.) By Newton's method on a convex
    function of C parameters; β is not below zero, which would turn the classifier around.
    """
    logits = np.log(np.maximum(posterior, _FLOOR))
    logits = logits - logits.mean(axis=1, keepdims=True)
    rows, classes = logits.shape
    share = weights / weights.sum()
    frequency = np.bincount(labels, weights=share, minlength=classes)
    observed = np.concatenate([[share @ logits[np.arange(rows), labels]], frequency])
    theta = np.concatenate([[0.0], np.log(np.maximum(frequency, _FLOOR))])
    value, probability = _likelihood(logits, theta, observed, share)
    ridge = 1e-9 * np.eye(classes + 1)  # the intercepts are determined up to a constant
    for _ in range(50):
        # Sufficient statistics of a row: (logits · indicator, indicator); the Hessian is their covariance.
        mean_logit = (probability * logits).sum(axis=1)
        gradient = observed - np.concatenate([[share @ mean_logit], share @ probability])
        weighted = probability * share[:, None]
        hessian = np.empty((classes + 1, classes + 1))
        hessian[0, 0] = share @ ((probability * logits**2).sum(axis=1) - mean_logit**2)
        hessian[0, 1:] = hessian[1:, 0] = (weighted * (logits - mean_logit[:, None])).sum(axis=0)
        hessian[1:, 1:] = np.diag(weighted.sum(axis=0)) - weighted.T @ probability
        step = np.linalg.solve(hessian + ridge, gradient)
        if gradient @ step < 1e-14:
            break
        length = 1.0
        while length > 1e-6:
            candidate = theta + length * step
            higher, trial = _likelihood(logits, candidate, observed, share)
            if higher > value:
                theta, value, probability = candidate, higher, trial
                break
            length /= 2
        else:
            break
    if theta[0] < 0.0:
        return np.tile(frequency, (rows, 1))
    return probability


def _likelihood(
    logits: FloatArray, theta: FloatArray, observed: FloatArray, share: FloatArray
) -> tuple[float, FloatArray]:
    score = theta[0] * logits + theta[1:]
    top = score.max(axis=1, keepdims=True)
    weight = np.exp(score - top)
    total = weight.sum(axis=1, keepdims=True)
    return float(observed @ theta - share @ (np.log(total) + top)[:, 0]), weight / total


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Posteriors:
    """Posteriors of the held-out rows given the first modality, the second and both, (n, C), before calibration."""

    first: FloatArray
    second: FloatArray
    both: FloatArray
    labels: IntArray
    classifiers: tuple[str, str, str]
    losses: tuple[float, float, float]
    """Cross-entropy of each on the validation rows, in nats."""

    def tables(self, weights: FloatArray) -> list[FloatArray]:
        """The calibrated joint tables p(row, y), (n, C), of x1, x2 and both; all have one and the same p(y)."""
        share = weights / weights.sum()
        frequency = np.bincount(self.labels, weights=share, minlength=self.first.shape[1]).astype(np.float64)
        return [
            match_marginals(calibrate(posterior, self.labels, weights), share, frequency)
            for posterior in (self.first, self.second, self.both)
        ]


def fit_posteriors(
    samples: Samples,
    seed: int = 0,
    only: tuple[str, str, str] | None = None,
    unimodal: Sequence[tuple[str, FloatArray]] = (),
) -> Posteriors:
    """The posteriors of the held-out rows by the best classifiers, or those named ``only``.

    ``unimodal``: what :func:`fit_posterior` gave of the first and the second modality, if it was asked before.
    """
    names, posteriors, losses = [], [], []
    held_out = samples.held_out
    for position, features in enumerate((samples.first, samples.second, samples.both)):
        if position < len(unimodal):
            name, posterior = unimodal[position]
        else:
            name, posterior = fit_posterior(features, samples, seed, None if only is None else only[position])
        names.append(name)
        posteriors.append(posterior[held_out])
        losses.append(cross_entropy(posterior[samples.valid], samples.labels[samples.valid]))
    return Posteriors(
        posteriors[0],
        posteriors[1],
        posteriors[2],
        samples.labels[held_out],
        (names[0], names[1], names[2]),
        (losses[0], losses[1], losses[2]),
    )


def match_marginals(posterior: FloatArray, share: FloatArray, frequency: FloatArray, sweeps: int = 100) -> FloatArray:
    """The table nearest to share_i π_i with row sums ``share`` (n,) and column sums ``frequency`` (C,).

    Calibration leaves nothing to do but rounding, except where it stopped at β = 0 or on resampled rows.
    """
    table = posterior * share[:, None]
    for _ in range(sweeps):
        column = table.sum(axis=0)
        if np.abs(column - frequency).max() < 1e-13:
            break
        table = table * np.divide(frequency, column, out=np.zeros_like(column), where=column > 0)
        row = table.sum(axis=1)
        table = table * np.divide(share, row, out=np.zeros_like(row), where=row > 0)[:, None]
    return table


@on_one_thread
def cluster_posteriors(posterior: FloatArray, weights: FloatArray, clusters: int, seed: int = 0) -> IntArray:
    """Symbols (n,) of posteriors (n, C): k-means on their square roots, where distance is Hellinger's.

    For small distances Hellinger's is the information that is lost by not telling two posteriors apart.
    """
    from sklearn.cluster import KMeans

    roots = np.sqrt(posterior)
    distinct = len(np.unique(np.round(roots, 6), axis=0))
    found = KMeans(min(clusters, distinct), n_init=2, random_state=seed).fit_predict(roots, sample_weight=weights)
    return np.asarray(found, dtype=np.int64)


def merge(table: FloatArray, symbols: IntArray) -> FloatArray:
    """p(symbol, y) of p(row, y), (n, C): rows of one symbol added up."""
    merged = np.zeros((int(symbols.max()) + 1, table.shape[1]))
    np.add.at(merged, symbols, table)
    return merged
