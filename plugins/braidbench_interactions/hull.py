"""Exact union information for a label of two values, in O(n log n).

Let π = p(Y = 1 | x) be the posterior that a modality gives and V_i(t) = E[(t − π_i)⁺] its potential, a convex
piecewise linear function with kinks at the posteriors. Potential and ROC curve are Legendre transforms of one another;
one experiment is more informative than another in Blackwell's order if and only if its potential is nowhere smaller;
and I(X_i; Y) = ∫ (V_i(t) − V_0(t)) / (t (1 − t)) dt with V_0(t) = (t − p(Y = 1))⁺, the potential of knowing nothing.

*Theorem.* I∪ = I(J; Y), where J is the experiment of potential max(V_1, V_2): the upper concave hull of both ROC
curves.
*Proof.* Under every q in Δ_p the pair (X1, X2) dominates X1 and X2, so its potential is at least max(V_1, V_2), and
the information grows with the potential: I∪ ≥ I(J; Y). Conversely max(V_1, V_2) is convex, with the ends of a
potential, so J exists and dominates both; there are garblings J → X1 and J → X2 (Blackwell 1953), and drawing X1 and
X2 independently given J is a member of Δ_p with I(X1, X2; Y) ≤ I(J; Y). ∎
Hence U1 = ∫ (V_1 − V_2)⁺ and U2 = ∫ (V_2 − V_1)⁺ over dt / (t (1 − t)), and R = ∫ (min(V_1, V_2) − V_0).

The dual potentials are explicit too. The tangents of t ln t + (1 − t) ln (1 − t) at the posteriors of J change from
one to the next by a step; a step between two neighbours belongs to λ where V_1 is the larger potential there and to μ
where V_2 is. Every sum λ(x1, ·) + μ(x2, ·) is then an affine minorant of the same maximum of tangents, hence feasible,
and the value is Σ_j p(j) Σ_y p(y | j) ln p(y | j): no gap but rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from braidbench_interactions.certificate import feasible_coupling
from braidbench_interactions.joint import FloatArray

_TINY = 1e-300
"""What a posterior of zero counts as inside a logarithm of the dual potentials, to keep them finite."""

_SAME = 1e-15
"""What a quantile may be off in p(x, y) before it is moved: the rounding of the marginals."""

_PAIRS = 1 << 16
"""Pairs (x1, x2) whose constraint is measured at a time: the memory, beside the tables', whatever their size."""


class Union(NamedTuple):
    """The join J of both modalities for a stack of b, in m = 2 (n1 + n2) − 1 slots; unused slots have no mass."""

    mass: FloatArray
    """p(j), shape (m, b)."""
    posterior: FloatArray
    """p(Y = 1 | j), ascending, shape (m, b)."""
    value: FloatArray
    """Σ_j p(j) Σ_y p(y | j) ln p(y | j), in nats, shape (b,)."""
    lam: FloatArray
    """Dual potential λ(x1, y), shape (b, n1, 2)."""
    mu: FloatArray
    """Dual potential μ(x2, y), shape (b, n2, 2)."""


def union(first: FloatArray, second: FloatArray) -> Union:
    """The join of p(x1, y), shape (b, n1, 2), and p(x2, y), shape (b, n2, 2), with its dual potentials.

    Inside, the stack is the last axis and posteriors the first: numpy is slow along a short last axis. Memory is that
    of the tables; time has a term n1 · n2, of measuring that the potentials are feasible.
    """
    n1 = first.shape[1]
    tables = np.empty((2, n1 + second.shape[1], len(first)))
    tables[:, :n1], tables[:, n1:] = first.T, second.T
    zeros, ones = tables
    mass = zeros + ones
    # 1 − t is carried beside t: it would lose its digits near t = 1.
    t, u = _divide(ones, mass), _divide(zeros, mass)
    order = np.argsort(t.T, axis=-1).T
    of_first = order < n1
    columns = np.arange(len(first))
    place = np.multiply(order, len(first), order="C") + columns  # in the flat array: faster than take_along_axis
    mass, t, u = (np.take(array, place) for array in (mass, t, u))

    mass1 = mass * of_first
    slope1, slope2 = _running_sum(mass1), _running_sum(mass - mass1)  # V_i' to the right of each posterior
    gap_t, gap_u = np.diff(t, axis=0), np.diff(u, axis=0)
    ahead = np.zeros_like(t)  # V_1 − V_2 at each posterior
    ahead[1:] = _running_sum((slope1[:-1] - slope2[:-1]) * gap_t)

    # On the interval after posterior k both potentials are straight: the larger one at its left end and at its right
    # end, and the point between where they cross if these are not the same one.
    left, right = ahead[:-1], ahead[1:]
    tied = slope1[:-1] >= slope2[:-1]
    one_left = (left > 0) | ((left == 0) & ((right > 0) | ((right == 0) & tied)))
    one_right = (right > 0) | ((right == 0) & ((left > 0) | ((left == 0) & tied)))
    crosses = one_left != one_right
    where = np.divide(left, left - right, out=np.ones_like(left), where=crosses)

    slope_left = np.where(one_left, slope1[:-1], slope2[:-1])
    slope_right = np.where(one_right, slope1[:-1], slope2[:-1])
    shape = (2 * len(t) - 1, t.shape[1])
    grid_t, grid_u, grid_mass = np.empty(shape), np.empty(shape), np.empty(shape)
    grid_t[::2], grid_u[::2] = t, u
    grid_t[1::2] = t[:-1] + where * gap_t
    grid_u[1::2] = u[:-1] + where * gap_u
    # The masses of J are the jumps of the slope of max(V_1, V_2).
    grid_mass[0] = slope_left[0]
    grid_mass[2:-1:2] = slope_left[1:] - slope_right[:-1]
    grid_mass[-1] = slope1[-1] - slope_right[-1]
    grid_mass[1::2] = slope_right - slope_left
    np.maximum(grid_mass, 0.0, out=grid_mass)

    tangents = [np.log(np.maximum(grid, _TINY)) for grid in (grid_u, grid_t)]
    value = np.einsum("jb,jb->b", grid_mass, grid_u * tangents[0] + grid_t * tangents[1])

    belongs = np.empty((shape[0] - 1, shape[1]), dtype=bool)
    belongs[::2], belongs[1::2] = one_left, one_right
    lam, mu = np.empty((n1, 2, shape[1])), np.empty((len(t) - n1, 2, shape[1]))
    back = np.empty_like(place)
    np.put(back, place, np.arange(len(t))[:, None] * len(first) + columns)
    for y, tangent in enumerate(tangents):
        steps = _running_sum(np.diff(tangent, axis=0) * belongs)[1::2]
        ordered = np.concatenate([tangent[:1], tangent[:1] + steps])
        lam[:, y] = np.take(ordered, back[:n1])
        mu[:, y] = np.take(tangent[::2] - ordered, back[n1:])
    # Feasible in theory, and shifted by what rounding has left.
    block = max(_PAIRS // max(mu.shape[0] * mu.shape[2], 1), 1)
    for start in range(0, n1, block):
        part = lam[start : start + block]
        weights = sum(np.exp(part[:, None, y] + mu[None, :, y]) for y in (0, 1))
        part -= np.log(np.max(weights, axis=1))[:, None]
    lam, mu = (np.ascontiguousarray(np.moveaxis(potential, 2, 0)) for potential in (lam, mu))
    return Union(grid_mass, grid_t, value, lam, mu)


def coupling(first: FloatArray, second: FloatArray) -> FloatArray:
    """A q in Δ_p that attains the union information, shape (n1, n2, 2), for one pair of tables (n1, 2), (n2, 2).

    X1 and X2 are drawn independently given J, each by a garbling that is found in closed form.
    """
    join = union(first[None], second[None])
    used = join.mass[:, 0] > 0
    mass, posterior = join.mass[used, 0], join.posterior[used, 0]
    to_first, to_second = (_garbling(table, mass, posterior) for table in (first, second))
    weights = np.stack([1.0 - posterior, posterior]) / mass
    q = np.stack([(to_first * weight) @ to_second.T for weight in weights], axis=-1)
    return feasible_coupling(q, first, second, sweeps=1)


def _garbling(table: FloatArray, mass: FloatArray, posterior: FloatArray) -> FloatArray:
    """The joint masses p(x, j), shape (n, m), of a garbling of J, ascending in its posterior, that yields p(x, y).

    The inverse transform martingale coupling (Jourdain & Margheriti, Electronic Journal of Probability 2020): couple by
    quantiles; where the quantile of X has a larger posterior than that of J, match it with a later quantile where it is
    the other way round, by equal amounts of what is missing; each pair of quantiles then exchanges mass so that the
    posterior of J averages to that of X.
    """
    total = table.sum(-1)
    values = _divide(table[:, 1], total)
    order = np.argsort(values)
    ends_x, ends_j = np.cumsum(total[order]), np.cumsum(mass)
    ends = np.sort(np.concatenate([[0.0], ends_x, ends_j]))
    width = np.diff(ends)
    middle = ends[:-1] + width / 2
    x = order[np.minimum(np.searchsorted(ends_x, middle), len(order) - 1)]
    j = np.minimum(np.searchsorted(ends_j, middle), len(mass) - 1)
    excess = values[x] - posterior[j]
    amount = np.where(np.abs(excess * width) > _SAME, excess * width, 0.0)

    result = np.zeros((len(total), len(mass)))
    above, below = np.flatnonzero(amount > 0), np.flatnonzero(amount < 0)
    if len(above) and len(below):
        ends_above, ends_below = np.cumsum(amount[above]), np.cumsum(-amount[below])
        ends_below *= ends_above[-1] / ends_below[-1]  # equal but for rounding: both have the mean of Y
        ends = np.sort(np.concatenate([[0.0], ends_above, ends_below]))
        share = np.diff(ends)
        middle = ends[:-1] + share / 2
        a = above[np.minimum(np.searchsorted(ends_above, middle), len(above) - 1)]
        b = below[np.minimum(np.searchsorted(ends_below, middle), len(below) - 1)]
        span = posterior[j[b]] - posterior[j[a]]
        for piece, other in ((a, b), (b, a)):
            # What a quantile exchanges is small when its two posteriors are close; its width is not, and is kept whole.
            whole = np.bincount(piece, weights=share, minlength=len(width))
            moved = width[piece] * share / np.maximum(whole[piece], _TINY)
            distance = np.abs(excess[piece])
            # Rounding may pair neighbours wrongly at the ends of an interval: these pieces stay where they are.
            away = moved * np.divide(distance, span, out=np.zeros_like(span), where=span > distance)
            np.add.at(result, (x[piece], j[piece]), moved - away)
            np.add.at(result, (x[piece], j[other]), away)
            amount[np.flatnonzero(whole)] = np.nan  # done
    rest = ~np.isnan(amount)
    np.add.at(result, (x[rest], j[rest]), width[rest])
    # Masses that went to a neighbour of the same posterior, to rounding, go back.
    for _ in range(3):
        result *= _divide(total, result.sum(1))[:, None]
        result *= _divide(mass, result.sum(0))
    return result


def _running_sum(array: FloatArray) -> FloatArray:
    """np.cumsum over the first axis, row by row where these are few and long."""
    if len(array) > array.shape[1]:
        return np.cumsum(array, axis=0)
    result = array.copy()
    for row in range(1, len(result)):
        result[row] += result[row - 1]
    return result


def _divide(part: FloatArray, whole: FloatArray) -> FloatArray:
    """part / whole, 0 where the whole has no mass."""
    value: NDArray[np.float64] = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return value
