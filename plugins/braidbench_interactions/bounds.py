"""Bounds on synergy from pairwise marginals: labelled unimodal and unlabelled paired data (thesis 6.3).

Known are p(x1, y), p(x2, y) and p(x1, x2). R, U1 and U2 follow exactly from the first two (definition 5); S does not.
Everything is in nats until the end and vectorised over a stack of b joints. What the thesis leaves out, in short; full
proofs are in docs/interactions.md, measurements on random joints in :mod:`braidbench_interactions.random_joints`:

*Theorem 4.* Let r* be the distribution of greatest entropy with the three pairwise marginals. By equation 6.3 the least
synergy among all distributions that share them is that of r*, S_R; no valid lower bound that uses only these marginals
exceeds it. r* is the log-linear model without three-way interaction, and S − S_R = KL(p ‖ r*). For any distribution f
of that model the cross-entropy −Σ p ln f needs only pairwise marginals and is at least H(r*); so S_R taken with it is a
lower bound however far iterative proportional fitting has come.

*Theorem 5.* I(Y; X2 | X1) = U2 + S is E KL(p(y | x1, x2) ‖ p(y | x1)), and likewise U1 + S for x2. With Pinsker's
inequality and ‖v‖₂² ≤ ‖v‖₁² / 2 for differences of distributions, E ‖p(y | x1, x2) − p(y | x_i)‖₂² ≤ U_j + S, j ≠ i.
Let α = E ‖p(y | x1) − p(y | x2)‖₂² be the disagreement.
    (i)   (u + v)² ≤ 2 u² + 2 v²:          S ≥ α / 4 − (U1 + U2) / 2 ≥ α / 4 − max(U1, U2).
    (ii)  Minkowski, √α ≤ √(U1 + S) + √(U2 + S):   S ≥ (α + U1 − U2)² / (4 α) − U1  where α ≥ |U1 − U2|.
    (iii) For 0 < w < 1 and distributions m, a, b, Gibbs' inequality gives w KL(m ‖ a) + (1 − w) KL(m ‖ b) ≥
          −ln Σ a^w b^(1 − w), hence S ≥ E[−ln Σ_y p(y | x1)^w p(y | x2)^(1 − w)] − w U2 − (1 − w) U1 for every w.
(ii) is (iii) with each divergence replaced by its Pinsker bound, so the best w of (iii) is at least (ii), and (ii) at
least (i). The constant is 1/4 for nats, 1 / (4 ln 2) = 0.361 for bits, and no larger one is valid; with 1 in its
place, for bits, 3.4 % of random joints violate the bound.

*Theorem 7.* S = H(X1, X2) + H(Y) − H(X1, X2, Y) − R − U1 − U2, and H(X1, X2, Y) is at least the entropy of the meet,
in the majorization lattice, of any two marginals that it couples (Cicalese, Gargano & Vaccaro, IEEE Transactions on
Information Theory 2019): (X1, X2) with Y, (X1, Y) with X2, (X2, Y) with X1. The same holds given one of the three
variables, value by value, which is where the tighter bounds come from. An approximate coupling would not do: its
entropy errs upwards.

For 2×2×2 the distributions with given pairwise marginals form an interval, the entropy on it is concave, and both the
greatest (S_R) and the least entropy (the least upper bound on S) are found exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench.errors import UsageError
from braidbench_interactions.decomposition import pid_batch
from braidbench_interactions.joint import FloatArray, check_base, check_joint, entropy, marginal, unit
from braidbench_interactions.performance import PerformanceBounds, bayes_accuracy, performance_bounds

_TINY = float(np.finfo(np.float64).tiny)
_AGREE = 1e-6
_FITTED = 1e-9


@dataclass(frozen=True, eq=False)
class SynergyBounds:
    """What three pairwise marginals say about S. Arrays of length b, in units of log ``base``."""

    redundancy: FloatArray
    unique1: FloatArray
    unique2: FloatArray
    disagreement: FloatArray
    """α = E ‖p(y | x1) − p(y | x2)‖₂², between 0 and 2; no unit."""
    lower_redundancy: FloatArray
    """S_R (theorem 4): the least synergy there can be."""
    lower_uniqueness: FloatArray
    """S_U (theorem 5) with its constant, (i): α / (4 ln base) − max(U1, U2). May be negative."""
    lower_minkowski: FloatArray
    """S_U from the disagreement alone at its sharpest, (ii)."""
    lower_chernoff: FloatArray
    """S_U from both classifiers' posteriors, (iii)."""
    upper_printed: FloatArray
    """Theorem 7 as printed: (X1, X2) paired with Y alone."""
    upper_pairings: FloatArray
    """Theorem 7 over three pairings."""
    upper: FloatArray
    """The least upper bound known here: pairings, conditional pairings, and the exact one for 2×2×2."""
    label: FloatArray
    """p(y), shape (b, n_y)."""
    unimodal_accuracy: FloatArray
    """The better modality's Bayes accuracy."""
    base: float

    @property
    def lower(self) -> FloatArray:
        """The greatest of the lower bounds, and zero."""
        bounds = (self.lower_redundancy, self.lower_uniqueness, self.lower_minkowski, self.lower_chernoff)
        greatest: FloatArray = np.maximum(np.max(bounds, axis=0), 0.0)
        return greatest

    @property
    def unit(self) -> str:
        """``"bits"``, ``"nats"``, …"""
        return unit(self.base)

    def performance(self) -> PerformanceBounds:
        """Bounds on the accuracy of the best multimodal model: between the least and the greatest information."""
        known = self.redundancy + self.unique1 + self.unique2
        return performance_bounds(
            known + self.lower,
            self.label,
            base=self.base,
            information_upper=known + np.maximum(self.upper, self.lower),
            accuracy_floor=self.unimodal_accuracy,
        )


def pairwise(p: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """p(x1, y), p(x2, y) and p(x1, x2) of a stack p[joint, x1, x2, y]."""
    joint = check_joint(p, stack=True)
    return marginal(joint, 2), marginal(joint, 1), marginal(joint, 3)


def synergy_bounds(first: ArrayLike, second: ArrayLike, pairs: ArrayLike, base: float = 2) -> SynergyBounds:
    """Bounds on S from p(x1, y), p(x2, y) and p(x1, x2), one joint or a stack of them.

    Args:
        first: p(x1, y), shape (n1, n_y) or (b, n1, n_y).
        second: p(x2, y), shape (n2, n_y) or (b, n2, n_y).
        pairs: p(x1, x2), shape (n1, n2) or (b, n1, n2).
        base: of the logarithm; 2 gives bits.

    Raises:
        UsageError: tables that are not distributions, do not fit in shape, or disagree on p(x1), p(x2) or p(y) by more
            than 1e-6.
    """
    scale = check_base(base)
    table1, table2, table12 = _tables(first, second, pairs)
    label = table1.sum(1)
    # Any distribution with the (x_i, y) marginals has the same R, U1 and U2.
    product = table1[:, :, None] * (table2 / np.maximum(label, _TINY)[:, None])[:, None]
    parts = pid_batch(product, base=np.e)
    known = parts.redundancy + parts.unique1 + parts.unique2  # the union information, from above
    joint_entropy = entropy(table12, 2) + entropy(label, 1)

    meets = _pairing_entropies(table1, table2, table12)
    upper_pairings = joint_entropy - np.max(meets[:3], axis=0) - parts.dual
    least = np.max(meets, axis=0)
    if product.shape[1:] == (2, 2, 2):
        greatest, exact = _binary_entropies(table1, table2, table12)
        least = np.maximum(least, exact)
    else:
        greatest = _maximum_entropy(table1, table2, table12)
    unimodal = np.maximum(bayes_accuracy(table1), bayes_accuracy(table2))
    alpha, minkowski, chernoff = _disagreement(table1, table2, table12, parts.unique1, parts.unique2)
    return SynergyBounds(
        redundancy=parts.redundancy / scale,
        unique1=parts.unique1 / scale,
        unique2=parts.unique2 / scale,
        disagreement=alpha,
        lower_redundancy=(joint_entropy - greatest - known) / scale,
        lower_uniqueness=(alpha / 4 - np.maximum(parts.unique1, parts.unique2)) / scale,
        lower_minkowski=minkowski / scale,
        lower_chernoff=chernoff / scale,
        upper_printed=(joint_entropy - meets[0] - parts.dual) / scale,
        upper_pairings=upper_pairings / scale,
        upper=(joint_entropy - least - parts.dual) / scale,
        label=label,
        unimodal_accuracy=unimodal,
        base=base,
    )


def _tables(first: ArrayLike, second: ArrayLike, pairs: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The three tables, checked, each (b, …)."""
    names = ("p(x1, y)", "p(x2, y)", "p(x1, x2)")
    tables = []
    for name, given in zip(names, (first, second, pairs), strict=True):
        table = np.asarray(given, dtype=np.float64)
        if table.ndim == 2:
            table = table[None]
        if table.ndim != 3 or 0 in table.shape[1:]:
            raise UsageError(f"{name} is a table, or a stack of tables; this array has shape {table.shape}")
        if not np.isfinite(table).all() or (table < 0).any():
            raise UsageError(f"{name} holds entries that are negative or not finite")
        if not np.allclose(table.sum((1, 2)), 1.0, rtol=0, atol=_AGREE):
            raise UsageError(f"{name} does not sum to one")
        tables.append(table)
    table1, table2, table12 = tables
    if table1.shape[2] < 2:
        raise UsageError(f"the label, the last axis of p(x1, y), has one value; shape {table1.shape}")
    expected = (len(table1), table1.shape[1], table2.shape[1])
    if table12.shape != expected or table1.shape[2] != table2.shape[2] or len(table1) != len(table2):
        raise UsageError(
            f"the tables do not fit: p(x1, y) {table1.shape}, p(x2, y) {table2.shape}, p(x1, x2) {table12.shape}"
        )
    shared = (
        ("p(x1)", table1.sum(2), table12.sum(2)),
        ("p(x2)", table2.sum(2), table12.sum(1)),
        ("p(y)", table1.sum(1), table2.sum(1)),
    )
    for name, one, other in shared:
        worst = float(np.abs(one - other).max())
        if worst > _AGREE:
            raise UsageError(f"the tables disagree on {name} by {worst:.2g}: no one distribution has all three")
    return table1, table2, table12


def _pairing_entropies(table1: FloatArray, table2: FloatArray, table12: FloatArray) -> list[FloatArray]:
    """Six lower bounds on H(X1, X2, Y): three pairings, then three conditional ones."""
    b = len(table1)
    p1, p2, label = table1.sum(2), table2.sum(2), table1.sum(1)
    whole = ((table12, label), (table1, p2), (table2, p1))
    bounds = [_meet_entropy(one.reshape(b, 1, -1), other[:, None]) for one, other in whole]
    given = (
        (table12, table1),  # X2 with Y, for each x1
        (table12.swapaxes(1, 2), table2),  # X1 with Y, for each x2
        (table1.swapaxes(1, 2), table2.swapaxes(1, 2)),  # X1 with X2, for each y
    )
    return bounds + [_meet_entropy(one, other) for one, other in given]


def _meet_entropy(one: FloatArray, other: FloatArray) -> FloatArray:
    """Σ over rows of the entropy of the meet of two (unnormalised) rows of equal mass, shapes (b, rows, ·)."""
    length = max(one.shape[2], other.shape[2])
    sums = []
    for table in (one, other):
        ordered = np.zeros((*table.shape[:2], length))
        ordered[..., : table.shape[2]] = -np.sort(-table, axis=2)
        sums.append(np.cumsum(ordered, axis=2))
    meet = np.diff(np.minimum(*sums), axis=2, prepend=0.0)
    return entropy(np.maximum(meet, 0.0), 2)


def _binary_entropies(table1: FloatArray, table2: FloatArray, table12: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The greatest and the least H(X1, X2, Y) of 2×2×2 with these pairwise marginals, in nats.

    They are r(0, 0, 0) = t and, by inclusion and exclusion, a cell ± t elsewhere. The derivative of the entropy is the
    logarithm of the ratio of the products of the four cells of either sign, monotone in t: bisect.
    """
    one1, one2 = table1[:, 0], table2[:, 0]
    p12, p1y, p2y = table12[:, 0, 0], one1[:, 0], one2[:, 0]
    label = table1[:, :, 0].sum(1)
    total1, total2 = one1.sum(1), one2.sum(1)
    falls = (p12, p1y, p2y)  # r(0,0,1), r(0,1,0), r(1,0,0) = these − t
    rises = (total1 - p12 - p1y, total2 - p12 - p2y, label - p1y - p2y)  # r(0,1,1), r(1,0,1), r(1,1,0) = these + t
    last = 1.0 - total1 - total2 - label + p12 + p1y + p2y  # r(1,1,1) = this − t
    low = np.maximum(-np.minimum(np.minimum(*rises[:2]), rises[2]), 0.0)
    high = np.minimum(np.minimum(falls[0], falls[1]), np.minimum(falls[2], last))
    high = np.maximum(high, low)

    def entropies(t: FloatArray) -> FloatArray:
        cells = (t, *(fall - t for fall in falls), *(rise + t for rise in rises), last - t)
        return entropy(np.maximum(np.stack(cells, axis=1), 0.0), 1)

    left, right = low, high
    for _ in range(52):
        t = (left + right) / 2
        up = t * (rises[0] + t) * (rises[1] + t) * (rises[2] + t)
        down = (falls[0] - t) * (falls[1] - t) * (falls[2] - t) * (last - t)
        below = up < down
        left, right = np.where(below, t, left), np.where(below, right, t)
    return entropies((left + right) / 2), np.minimum(entropies(low), entropies(high))


def _maximum_entropy(table1: FloatArray, table2: FloatArray, table12: FloatArray, sweeps: int = 2_000) -> FloatArray:
    """An upper bound on the greatest H(X1, X2, Y) with these pairwise marginals, and all but equal to it; shape (b,).

    Iterative proportional fitting. Where it stops makes the bound looser, never wrong: it is the cross-entropy of the
    fitted model, whose potentials are added up on the way.
    """
    support = (table12 > 0)[..., None] & (table1 > 0)[:, :, None] & (table2 > 0)[:, None]
    r = support / np.maximum(support.sum((1, 2, 3), keepdims=True), 1)
    result = np.empty(len(r))
    start = np.log(np.maximum(support.sum((1, 2, 3)), 1))
    active = np.arange(len(r))
    targets = [table1, table2, table12]
    potentials = [np.zeros_like(target) for target in targets]
    for sweep in range(sweeps):
        worst = np.zeros(len(active))
        for target, potential, axis in zip(targets, potentials, (2, 1, 3), strict=True):
            current = r.sum(axis)
            worst = np.maximum(worst, np.abs(current - target).max((1, 2)))
            ratio = np.where(target > 0, target / np.maximum(current, _TINY), 1.0)
            r *= np.expand_dims(ratio, axis)
            potential += np.log(ratio)
        done = worst < _FITTED
        if sweep == sweeps - 1:
            done[:] = True
        if done.any():
            products = (np.einsum("bij,bij->b", t, f) for t, f in zip(targets, potentials, strict=True))
            # After fitting p(x1, x2) the model sums to one to rounding; the logarithm covers what rounding left.
            cross = start[active] - sum(products) + np.log(r.sum((1, 2, 3)))
            result[active[done]] = cross[done]
            active, r = active[~done], r[~done]
            targets = [target[~done] for target in targets]
            potentials = [potential[~done] for potential in potentials]
        if not len(active):
            break
    return result


def _disagreement(
    table1: FloatArray, table2: FloatArray, table12: FloatArray, unique1: FloatArray, unique2: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """α, and the Minkowski and Chernoff forms of theorem 5 in nats, shape (b,) each."""
    posterior1, posterior2 = (table / np.maximum(table.sum(2, keepdims=True), _TINY) for table in (table1, table2))
    difference = posterior1[:, :, None] - posterior2[:, None]
    alpha = np.einsum("bij,bijk,bijk->b", table12, difference, difference)
    ahead = unique1 - unique2
    explained = alpha >= np.abs(ahead)
    minkowski = np.where(
        explained & (alpha > 0),
        (alpha + ahead) ** 2 / (4 * np.maximum(alpha, _TINY)) - unique1,
        -np.minimum(unique1, unique2),
    )
    with np.errstate(divide="ignore"):
        log1, log2 = np.log(posterior1), np.log(posterior2)

    def chernoff(weight: FloatArray) -> FloatArray:
        tilted1, tilted2 = np.exp(weight[:, None, None] * log1), np.exp((1 - weight)[:, None, None] * log2)
        affinity = tilted1 @ tilted2.swapaxes(1, 2)
        # No mass where the classifiers exclude one another, or p(y | x1, x2) could not exist.
        surprise = -np.log(np.where(table12 > 0, np.maximum(affinity, _TINY), 1.0))
        value: FloatArray = np.einsum("bij,bij->b", table12, surprise) - weight * unique2 - (1 - weight) * unique1
        return value

    # Concave in the weight, so a search finds the best; any weight is valid. The optimum of (ii) is among those tried.
    weight = np.clip(np.where(alpha > 0, (1 + ahead / np.maximum(alpha, _TINY)) / 2, 0.5), 1e-6, 1 - 1e-6)
    return alpha, minkowski, _greatest(chernoff, weight)


def _greatest(function: Callable[[FloatArray], FloatArray], start: FloatArray, steps: int = 12) -> FloatArray:
    """The greatest value met by a golden-section search of (0, 1) for each element, and at ``start``."""
    golden = (np.sqrt(5.0) - 1) / 2
    low, high = np.zeros_like(start), np.ones_like(start)
    inner, outer = high - golden * (high - low), low + golden * (high - low)
    value_inner, value_outer = function(inner), function(outer)
    best: NDArray[np.float64] = np.maximum(np.maximum(value_inner, value_outer), function(start))
    for _ in range(steps):
        left = value_inner > value_outer
        low, high = np.where(left, low, inner), np.where(left, outer, high)
        new = np.where(left, high - golden * (high - low), low + golden * (high - low))
        value = function(new)
        inner, outer = np.where(left, new, outer), np.where(left, inner, new)
        value_inner, value_outer = np.where(left, value, value_outer), np.where(left, value_inner, value)
        best = np.maximum(best, value)
    return best
