"""Upper and lower bounds on the union information that anybody can check.

The union information is I∪ = min I_q(X1, X2; Y) over q in Δ_p = {q : q(x1, y) = p(x1, y), q(x2, y) = p(x2, y)}
(Bertschinger et al. 2014, equation 3.3 of the thesis); R, U1, U2 and S follow from it. With H(Y) fixed it is

    min over q in Δ_p of  Σ q(x1, x2, y) ln q(y | x1, x2)                                                   (primal)
  = max over λ, μ of      Σ p(x1, y) λ(x1, y) + Σ p(x2, y) μ(x2, y)                                         (dual)
    subject to            Σ_y exp(λ(x1, y) + μ(x2, y)) ≤ 1 for every (x1, x2).

Weak duality is Gibbs' inequality: for q in Δ_p the dual objective is Σ q (λ + μ), and λ + μ is in every cell the
logarithm of a sub-probability over y, so it is at most Σ q ln q(y | x1, x2). Any q made feasible and any (λ, μ) made
feasible therefore enclose the answer, whichever solver they come from.

Shapes: ``first`` p(x1, y) is (…, n1, n_y), ``second`` p(x2, y) is (…, n2, n_y), q is (…, n1, n2, n_y). All in nats.
"""

from __future__ import annotations

import numpy as np

from braidbench_interactions.joint import FloatArray, entropy, marginal

TOLERANCE = 1e-8
"""A result is certified when its primal and dual values differ by no more than this, in nats."""

_FACTORED = 1e-100

_TINY = float(np.finfo(np.float64).tiny)


def feasible_coupling(q: FloatArray, first: FloatArray, second: FloatArray, sweeps: int = 8) -> FloatArray:
    """The nearby member of Δ_p for an almost feasible ``q``; its marginals are right to rounding.

    A few Sinkhorn sweeps, then the rounding of Altschuler, Weed & Rigollet (NeurIPS 2017, algorithm 2): scale rows and
    columns down to at most their targets and spread what is missing as a product, label by label.
    """
    q = np.maximum(q, 0.0)
    for _ in range(sweeps):
        q = q * _ratio(first, q.sum(-2))[..., :, None, :]
        q = q * _ratio(second, q.sum(-3))[..., None, :, :]
    q = q * np.minimum(_ratio(first, q.sum(-2)), 1.0)[..., :, None, :]
    q = q * np.minimum(_ratio(second, q.sum(-3)), 1.0)[..., None, :, :]
    rows = np.maximum(first - q.sum(-2), 0.0)
    columns = np.maximum(second - q.sum(-3), 0.0)
    missing = np.maximum(rows.sum(-2), columns.sum(-2))[..., None, :]
    result: FloatArray = q + (rows / np.maximum(missing, _TINY))[..., :, None, :] * columns[..., None, :, :]
    return result


def primal_value(q: FloatArray) -> FloatArray:
    """Σ q ln q(y | x1, x2) = -H_q(Y | X1, X2), shape (…)."""
    value: FloatArray = entropy(marginal(q, -1), 2) - entropy(q, 3)
    return value


def feasible_potentials(lam: FloatArray, mu: FloatArray) -> FloatArray:
    """λ, shifted row by row so that the tightest constraint of each x1 holds with equality.

    The shift is measured in floating point; what rounding leaves is far below ``TOLERANCE``.
    """
    g = log_sum(lam, mu).max(-1)
    result: FloatArray = lam - np.where(np.isfinite(g), g, 0.0)[..., None]
    return result


def log_sum(lam: FloatArray, mu: FloatArray) -> FloatArray:
    """ln Σ_y exp(λ(x1, y) + μ(x2, y)), shape (…, n1, n2)."""
    top1, top2 = lam.max(-1), mu.max(-1)
    total = np.exp(lam - top1[..., None]) @ np.exp(mu - top2[..., None]).swapaxes(-1, -2)
    value: FloatArray
    if total.min(initial=1.0) > _FACTORED:
        value = top1[..., :, None] + top2[..., None, :] + np.log(total)
        return value
    # Some terms of the product underflow: take the maximum out of every cell instead.
    joint = lam[..., :, None, :] + mu[..., None, :, :]
    top = joint.max(-1)
    value = top + np.log(marginal(np.exp(joint - top[..., None]), -1))
    return value


def dual_value(lam: FloatArray, mu: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Σ p(x1, y) λ + Σ p(x2, y) μ for feasible potentials, shape (…)."""
    value: FloatArray = np.einsum("...xy,...xy->...", first, lam) + np.einsum("...xy,...xy->...", second, mu)
    return value


def _ratio(target: FloatArray, current: FloatArray) -> FloatArray:
    """target / current; 1 where both vanish, so that nothing is made of nothing."""
    value: FloatArray = np.where(current > 0, target / np.maximum(current, _TINY), 1.0)
    return value
