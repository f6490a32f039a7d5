"""What accuracy information allows: bounds on the Bayes accuracy of Y from I(X; Y) (thesis 6.4.2, theorem 8).

Everything is vectorised over leading axes and written for H = H(Y | X) = H(Y) − I(X; Y) in nats; with X = (X1, X2)
these are bounds on the best multimodal model. Theorem 8 as printed is kept for comparison: its lower bound is loose but
valid; its upper bound takes H(Y) for log |Y|, fails for unbalanced classes and is above 1 for two classes. Proofs:
docs/interactions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from braidbench.errors import UsageError
from braidbench_interactions.joint import FloatArray, check_base, entropy

_TINY = float(np.finfo(np.float64).tiny)


class Printed(NamedTuple):
    """Theorem 8 to the letter."""

    lower: FloatArray
    """2^(I − H(Y))"""
    upper: FloatArray
    """(I + 1) / log2 |Y|: no bound when Y is unbalanced"""


@dataclass(frozen=True, eq=False)
class PerformanceBounds:
    """Bounds on the accuracy of the Bayes classifier, shape (…)."""

    lower: FloatArray
    upper: FloatArray
    printed: Printed

    @property
    def average(self) -> FloatArray:
        """The middle of both bounds, the thesis's estimate of performance."""
        return (self.lower + self.upper) / 2


def performance_bounds(
    information: ArrayLike,
    label: ArrayLike,
    base: float = 2,
    information_upper: ArrayLike | None = None,
    accuracy_floor: ArrayLike = 0.0,
) -> PerformanceBounds:
    """Bounds on the best accuracy for labels of distribution ``label`` given a variable of this ``information``.

    * lower: Feder & Merhav (1994), the tightest there is from H(Y | X) alone. The least entropy at accuracy a is linear
      between the points (1/k, ln k); so a ≥ their interpolation. For H ≤ ln 2 that is 1 − H / (2 ln 2), Hellman &
      Raviv's (1970) bound, and everywhere at least the printed 2^(−H). Also at least ``max p(y)``, what guessing gets.
    * upper: Fano's inequality, H ≤ h(e) + e ln (|Y| − 1), solved for the error e rather than relaxed to
      a ≤ 1 − (H(Y) − I − 1) / log2 |Y|; for two classes a ≤ 1 − h⁻¹(H). It holds for unbalanced classes, and |Y| counts
      the labels that have mass.

    Args:
        information: I(X; Y) in units of log ``base``, shape (…), or a lower bound on it.
        label: p(y), shape (…, n_y).
        base: of the logarithm.
        information_upper: an upper bound on I(X; Y) where it is not known exactly; the accuracy's upper bound uses it.
        accuracy_floor: an accuracy that is known to be attainable, such as a single modality's Bayes accuracy.

    Raises:
        UsageError: a ``label`` that is not a distribution, or an information that is not finite, is below zero or is
            above the entropy of the label by more than rounding.
    """
    scale = check_base(base)
    prior = _distribution(label)
    total = entropy(prior, 1)
    low = _information(information, scale, total)
    high = low if information_upper is None else _information(information_upper, scale, total)
    if (high < low - 1e-9).any():
        raise UsageError("the upper bound on the information is below the lower one")
    guess = prior.max(-1)
    labels = (prior > 0).sum(-1)
    lower = np.maximum(np.maximum(_feder_merhav(total - low, prior.shape[-1]), guess), accuracy_floor)
    upper = np.maximum(_fano(np.maximum(total - high, 0.0), labels), lower)
    size = np.log2(np.maximum(labels, 2))
    printed = Printed(np.exp(low - total), (high / np.log(2) + 1.0) / size)
    return PerformanceBounds(np.minimum(lower, 1.0), np.minimum(upper, 1.0), printed)


def bayes_accuracy(p: ArrayLike) -> FloatArray:
    """Σ_x max_y p(x, y) of tables p[…, x, y]: the accuracy of the best classifier that sees x."""
    value: FloatArray = np.asarray(p, dtype=np.float64).max(-1).sum(-1)
    return value


def _feder_merhav(conditional: FloatArray, labels: int) -> FloatArray:
    """The least accuracy with H(Y | X) = ``conditional``, in nats."""
    counts = np.arange(1, labels + 1)
    value: FloatArray = np.interp(conditional, np.log(counts), 1.0 / counts)
    return value


def _fano(conditional: FloatArray, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
    """The greatest accuracy with H(Y | X) = ``conditional``, in nats, for this number of labels."""
    others = np.maximum(labels - 1, 1).astype(np.float64)
    # h(e) + e ln (n − 1) rises from 0 to ln n on [0, 1 − 1/n]: bisect, keeping the end where it is not above H.
    low, high = np.zeros_like(conditional), np.broadcast_to(others / (others + 1), conditional.shape).copy()
    logarithm = np.log(others)
    for _ in range(50):
        middle = (low + high) / 2
        spread = -middle * np.log(np.maximum(middle, _TINY)) - (1 - middle) * np.log1p(-middle) + middle * logarithm
        below = spread <= conditional
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 1.0 - low


def _distribution(label: ArrayLike) -> FloatArray:
    prior = np.asarray(label, dtype=np.float64)
    if prior.ndim < 1 or prior.shape[-1] < 2:
        raise UsageError(f"p(y) needs at least two labels on its last axis; shape {prior.shape}")
    if not (np.isfinite(prior).all() and (prior >= 0).all() and np.allclose(prior.sum(-1), 1.0, atol=1e-6)):
        raise UsageError("p(y) is not a distribution: negative, not finite, or not summing to one")
    value: FloatArray = prior / prior.sum(-1, keepdims=True)
    return value


def _information(value: ArrayLike, scale: float, total: FloatArray) -> FloatArray:
    nats = np.asarray(value, dtype=np.float64) * scale
    if not np.isfinite(nats).all() or (nats < -1e-6).any() or (nats > total + 1e-6).any():
        raise UsageError("an information about Y is a finite number between 0 and the entropy of Y")
    clipped: FloatArray = np.minimum(np.maximum(nats, 0.0), total)
    return clipped
