"""Exact union information for any number of label values: a primal-dual interior point on the dual, for a stack.

The dual of :mod:`braidbench_interactions.certificate` has n1·n_y + n2·n_y variables and one smooth convex constraint a
cell (x1, x2), g = ln Σ_y exp(λ(x1, y) + μ(x2, y)) ≤ 0. Its multipliers are the masses s = q(x1, x2): at the solution
q = s · π with π = softmax_y(λ + μ). One Newton step, with slacks z, needs

* a cell's Hessian W = s diag(π) + (s/z − s) π πᵀ, an n_y × n_y matrix: a diagonal and one of rank one;
* Σ_x2 W as the block of λ(x1, ·) and Σ_x1 W as that of μ(x2, ·); between λ(x1, ·) and μ(x2, ·) stands W itself.

The λ blocks are eliminated one by one (Cholesky, n_y × n_y each) and what remains, of n2·n_y unknowns, is factored
densely: n1·n_y·(n2·n_y)² and (n2·n_y)³/3 operations, all in BLAS and LAPACK. The larger modality is the one eliminated.
(λ + c(y), μ − c(y)) is the same point for any c; a multiple of these n_y directions makes the last matrix definite.
Predictor, corrector and step rule follow Mehrotra (SIAM Journal on Optimization 1992) with an infeasible start.

All joints of a stack advance together and leave it when certified.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotrs

from braidbench_interactions.certificate import (
    dual_value,
    feasible_coupling,
    feasible_potentials,
    primal_value,
)
from braidbench_interactions.joint import FloatArray

_NEGLIGIBLE = 1e-14
"""A p(x, y) below this is left out of the solve; the certificate, which is of the whole problem, includes it."""

_TARGET = 1e-9
"""The solver stops at this gap, in nats: a tenth of what is certified."""

_ABSENT = -40.0
"""ln of the weight of the labels left out: nothing in any constraint, and finite."""

_BLOCK = 1 << 18
"""Entries of the Newton matrix's off-diagonal blocks that are in memory at a time."""

_TINY = 1e-300


@dataclass(frozen=True)
class _Settings:
    """How bold the steps are: tuned on random joints of sizes 2 to 50. The certificate does not depend on it."""

    iterations: int
    shift: float
    """How far below zero the largest g starts."""
    infeasible: float
    """Centring: the products s z are held above this share of the infeasibility."""
    first_fraction: float
    fraction: float
    """Share of the way to the boundary, in the first two steps and later."""
    longest: float
    """The most that one potential moves in a step: a marginal is exponential in it."""


_ATTEMPTS = (
    _Settings(40, shift=0.03, infeasible=0.03, first_fraction=0.99, fraction=0.9995, longest=5.0),
    _Settings(80, shift=1.0, infeasible=0.1, first_fraction=0.9, fraction=0.95, longest=1.0),
    _Settings(200, shift=1.0, infeasible=0.5, first_fraction=0.7, fraction=0.7, longest=0.5),
)


@dataclass
class Solution:
    """Feasible primal and dual points of a stack of b problems, and what they prove. In nats."""

    q: FloatArray
    """(b, n1, n2, n_y), a member of Δ_p."""
    lam: FloatArray
    """(b, n1, n_y)."""
    mu: FloatArray
    """(b, n2, n_y)."""
    primal: FloatArray
    """Σ q ln q(y | x1, x2), shape (b,)."""
    dual: FloatArray
    """Its lower bound, shape (b,)."""
    iterations: NDArray[np.int64]
    """Newton steps, shape (b,)."""

    @property
    def gap(self) -> FloatArray:
        return self.primal - self.dual

    def improve(self, where: NDArray[np.int64], found: Solution) -> None:
        """Keep the better primal and the better dual point of each problem, each for itself: both are feasible."""
        lower = found.primal < self.primal[where]
        self.q[where[lower]], self.primal[where[lower]] = found.q[lower], found.primal[lower]
        higher = found.dual > self.dual[where]
        self.lam[where[higher]], self.mu[where[higher]] = found.lam[higher], found.mu[higher]
        self.dual[where[higher]] = found.dual[higher]


def solve(first: FloatArray, second: FloatArray) -> Solution:
    """The union information of p(x1, y), shape (b, n1, n_y), and p(x2, y), shape (b, n2, n_y), with its certificate.

    What bold steps leave unsolved, about one sparse problem in ten thousand, is started again with more cautious ones.
    A problem that still misses the target keeps the best bounds that were found: look at :attr:`Solution.gap`.
    """
    if first.shape[1] < second.shape[1]:
        swapped = solve(second, first)
        swapped.q = swapped.q.swapaxes(1, 2)
        swapped.lam, swapped.mu = swapped.mu, swapped.lam
        return swapped
    block = max(_BLOCK // (first.shape[1] * first.shape[2] * second.shape[1] * second.shape[2]), 1)
    if len(first) > block:
        starts = range(0, len(first), block)
        parts = [solve(first[start : start + block], second[start : start + block]) for start in starts]
        names = [field.name for field in fields(Solution)]
        return Solution(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    best: Solution | None = None
    for settings in _ATTEMPTS:
        open_ = np.arange(len(first)) if best is None else np.flatnonzero(~(best.gap <= _TARGET))
        if best is not None and not len(open_):
            break
        state = _State(first[open_], second[open_], settings)
        if best is None:
            best = state.certified(np.ones(len(first), dtype=bool))
        with np.errstate(over="ignore", invalid="ignore"):  # a problem that diverges is dropped and started again
            _attempt(state, best, open_)
    assert best is not None
    return best


def _attempt(state: _State, best: Solution, active: NDArray[np.int64]) -> None:
    for _ in range(state.settings.iterations):
        keep = ~(best.gap[active] <= _TARGET) & np.isfinite(state.s).all((1, 2)) & np.isfinite(state.g).all((1, 2))
        if not keep.all():
            active = active[keep]
            state.keep(keep)
        if not len(active):
            return
        state.advance()
        best.iterations[active] += 1
        ready = state.estimate() < 30 * _TARGET
        if ready.any():
            best.improve(active[ready], state.certified(ready))
    if len(active):
        best.improve(active, state.certified(np.ones(len(active), dtype=bool)))


class _State:
    """The iterates of the problems that are not solved yet, by leading axis."""

    def __init__(self, first: FloatArray, second: FloatArray, settings: _Settings) -> None:
        self.settings, self.taken = settings, 0
        self.first, self.second = first, second
        self.has1, self.has2 = first > _NEGLIGIBLE, second > _NEGLIGIBLE
        self.cells = (self.has1.astype(np.float64) @ self.has2.astype(np.float64).swapaxes(1, 2)) > 0
        self.count = np.maximum(self.cells.sum((1, 2)), 1)
        # The start is the product coupling p(x1, y) p(x2, y) / p(y): q(y | x1, x2) ∝ p(y | x1) p(y | x2) / p(y).
        label = np.maximum(second.sum(1, keepdims=True), _NEGLIGIBLE)
        kept1, kept2 = np.where(self.has1, first, 1.0), np.where(self.has2, second, 1.0)
        self.lam = np.log(kept1 / np.maximum(first.sum(2, keepdims=True), _NEGLIGIBLE)) * self.has1
        self.mu = np.log(kept2 / np.maximum(second.sum(2, keepdims=True), _NEGLIGIBLE) / label) * self.has2
        product = (first * self.has1 / label) @ (second * self.has2).swapaxes(1, 2)
        self.s = np.maximum(product, 1e-3 / self.count[:, None, None]) * self.cells
        self._evaluate()
        highest = np.where(self.cells, self.g, -np.inf).max((1, 2))
        self.lam -= (np.where(np.isfinite(highest), highest, 0.0) + settings.shift)[:, None, None] * self.has1
        self._evaluate()
        self.z = np.where(self.cells, -self.g, 1.0)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Drop the problems that are not in ``which``."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value[which])

    def _evaluate(self) -> None:
        """What follows from λ, μ and s: g, π (also as x2 by x1), and the marginals of q = s π."""
        weight1, weight2 = np.exp(self.lam) * self.has1, np.exp(self.mu) * self.has2
        total = np.maximum(weight1 @ weight2.swapaxes(1, 2), _TINY)
        self.g = np.where(self.cells, np.log(total), -1.0)
        self.pi = weight1[:, :, None] * weight2[:, None] / total[..., None]
        self.turned = np.ascontiguousarray(self.pi.swapaxes(1, 2))
        self.sum1, self.sum2 = self.marginals(self.s)

    def marginals(self, mass: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Σ_x2 mass π, shape (b, n1, n_y), and Σ_x1 mass π, shape (b, n2, n_y)."""
        return (mass[:, :, None] @ self.pi)[:, :, 0], (mass.swapaxes(1, 2)[:, :, None] @ self.turned)[:, :, 0]

    def change(self, lam: FloatArray, mu: FloatArray) -> FloatArray:
        """The change of g to first order, shape (b, n1, n2)."""
        value: FloatArray = (self.pi @ lam[..., None])[..., 0] + (self.turned @ mu[..., None])[..., 0].swapaxes(1, 2)
        return value

    def estimate(self) -> FloatArray:
        """The gap as complementarity and infeasibility suggest it, shape (b,)."""
        missing = np.abs(self.first - self.sum1).sum((1, 2)) + np.abs(self.second - self.sum2).sum((1, 2))
        value: FloatArray = (self.s * (self.z + np.abs(self.g + self.z))).sum((1, 2)) + missing
        return value

    def certified(self, which: NDArray[np.bool_]) -> Solution:
        """Feasible points near the iterates of the problems in ``which``."""
        first, second, has1, has2 = self.first[which], self.second[which], self.has1[which], self.has2[which]
        q = self.s[which][..., None] * self.pi[which]
        lam, mu = self.lam[which], self.mu[which]
        if not (has1.all() and has2.all()):
            # Labels that were left out re-enter as the product coupling, which fits their marginals,
            label = np.maximum(second.sum(1), _TINY)[:, None]
            small1, small2 = np.where(has1, 0.0, first), np.where(has2, 0.0, second)
            q = q + (small1 / label)[:, :, None] * second[:, None]
            q = q + (first / label)[:, :, None] * small2[:, None]
            # and with potentials so low that they weigh nothing in any constraint.
            lam = np.where(has1, lam, _ABSENT - np.where(has2, mu, 0.0).max(1, keepdims=True))
            mu = np.where(has2, mu, _ABSENT - np.where(has1, lam, 0.0).max(1, keepdims=True))
        q = feasible_coupling(q, first, second, sweeps=2)
        lam = feasible_potentials(lam, mu)
        dual = dual_value(lam, mu, first, second)
        return Solution(q, lam, mu, primal_value(q), dual, np.zeros(len(q), dtype=np.int64))

    def advance(self) -> None:
        """One predictor-corrector step of every problem."""
        s, z = self.s, self.z
        slack = (self.g + z) * self.cells
        products = s * z
        mean = products.sum((1, 2)) / self.count
        newton = _Newton(self, slack)

        direction = newton.direction(-products)
        primal, dual = self._steps(direction, 1.0)
        after = ((s + primal * direction.s) * (z + dual * direction.z)).sum((1, 2)) / self.count
        sigma = np.minimum(np.maximum(after / mean, 0.0), 1.0) ** 3
        infeasible = np.abs(newton.rest1).sum((1, 2)) + np.abs(newton.rest2).sum((1, 2)) + (s * abs(slack)).sum((1, 2))
        centre = np.minimum(self.settings.infeasible * infeasible / self.count, mean)
        target = np.maximum(sigma * mean, centre)[:, None, None] * self.cells
        second_order = np.minimum(np.maximum(direction.s * direction.z, -target), target)
        direction = newton.direction(target - products - second_order)

        fraction = self.settings.first_fraction if self.taken < 2 else self.settings.fraction
        primal, dual = self._steps(direction, fraction)
        longest = self.settings.longest
        self.s = s + primal * direction.s
        self.z = z + dual * direction.z
        self.lam = self.lam + np.minimum(np.maximum(dual * direction.lam, -longest), longest)
        self.mu = self.mu + np.minimum(np.maximum(dual * direction.mu, -longest), longest)
        self.taken += 1
        self._evaluate()

    def _steps(self, direction: _Direction, fraction: float) -> tuple[FloatArray, FloatArray]:
        """The longest steps for s and for (λ, μ, z) that keep s and z positive, shape (b, 1, 1) each."""
        limits = []
        for value, change in ((self.s + ~self.cells, direction.s), (self.z, direction.z)):
            fastest = np.maximum((-change / value).max((1, 2)), _TINY)
            limits.append(np.minimum(1.0, fraction / fastest)[:, None, None])
        return limits[0], limits[1]


@dataclass
class _Direction:
    lam: FloatArray
    mu: FloatArray
    s: FloatArray
    z: FloatArray


class _Newton:
    """The factored Newton matrix at an iterate and the directions that it gives."""

    def __init__(self, state: _State, slack: FloatArray) -> None:
        self.state, self.slack = state, slack
        self.rest1, self.rest2 = (state.first - state.sum1) * state.has1, (state.second - state.sum2) * state.has2
        pi, s, z = state.pi, state.s, state.z
        b, n1, n2, ny = pi.shape
        self.coefficient = s / z - s
        left = (self.coefficient[..., None] * pi).swapaxes(2, 3)  # (b, n1, ny, n2)
        off = np.empty((b, n1, ny, n2, ny))
        np.multiply(left[..., None], pi[:, :, None, :, :], out=off)
        diagonal = np.einsum("bikjk->bijk", off)
        diagonal += s[..., None] * pi
        first = left @ pi
        np.einsum("bikk->bik", first)[...] += state.sum1 + ~state.has1
        second = (state.turned * self.coefficient.swapaxes(1, 2)[..., None]).swapaxes(2, 3) @ state.turned
        np.einsum("bjkk->bjk", second)[...] += state.sum2 + ~state.has2
        self.inverse = np.linalg.inv(_block_factor(first))
        self.reduced = (self.inverse @ off.reshape(b, n1, ny, n2 * ny)).reshape(b, n1 * ny, n2 * ny)

        # Whatever is added on the gauge directions, one for each label, leaves the solution of the consistent system.
        size = np.einsum("bjkk->bjk", second)
        scale = np.sqrt(size) * state.has2
        schur = np.zeros((b, n2, ny, n2, ny))
        np.einsum("bikjk->bijk", schur)[...] = scale[:, :, None, :] * scale[:, None, :, :]
        np.einsum("bjkjl->bjkl", schur)[...] += second
        self.factors: list[FloatArray] = []
        self.exact = True
        for matrix, half, diagonal in zip(
            schur.reshape(b, n2 * ny, n2 * ny), self.reduced, size.reshape(b, n2 * ny), strict=True
        ):
            # LAPACK's arrays are column-major: the transposes of ours. Only the lower triangle is made and read.
            remainder = dsyrk(-1.0, half.T, beta=1.0, c=matrix.T, lower=1, overwrite_c=1)
            self.factors.append(self._factor(remainder, diagonal))

    def _factor(self, matrix: FloatArray, size: FloatArray) -> FloatArray:
        """The Cholesky factor, with a little more on the diagonal where rounding has made the matrix indefinite."""
        factor, failed = dpotrf(matrix, lower=1, clean=0)
        ridge = 1e-15
        while failed and ridge < 1.0:
            self.exact = False
            ridge *= 10.0
            factor, failed = dpotrf(matrix + np.diag(ridge * size), lower=1, clean=0)
        result: FloatArray = np.full_like(matrix, np.nan) if failed else factor
        return result

    def direction(self, centring: FloatArray) -> _Direction:
        """The direction that makes the products s z change by ``centring``, shape (b, n1, n2)."""
        state = self.state
        pushed1, pushed2 = state.marginals((centring + state.s * self.slack) / state.z)
        right1, right2 = self.rest1 - pushed1 * state.has1, self.rest2 - pushed2 * state.has2
        lam, mu, change = self._solve(right1, right2)
        if not self.exact:
            for _ in range(3):
                moved1, moved2 = self._apply(lam, mu, change)
                extra = self._solve(right1 - moved1, right2 - moved2)
                lam, mu, change = lam + extra[0], mu + extra[1], change + extra[2]
        step_z = (-self.slack - change) * state.cells
        step_s = (centring - state.s * step_z) / state.z
        return _Direction(lam, mu, step_s, step_z)

    def _apply(self, lam: FloatArray, mu: FloatArray, change: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The Newton matrix, without what was added to it, times (λ, μ)."""
        state = self.state
        moved = state.s[..., None] * state.pi * (lam[:, :, None] + mu[:, None])
        moved += (self.coefficient * change)[..., None] * state.pi
        return moved.sum(2), moved.sum(1)

    def _solve(self, right1: FloatArray, right2: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Δλ, Δμ and how they change g, for a right-hand side."""
        state = self.state
        b, n1, n2, ny = state.pi.shape
        half = self.inverse @ right1[..., None]
        right = right2.reshape(b, n2 * ny) - (self.reduced.swapaxes(1, 2) @ half.reshape(b, n1 * ny, 1))[..., 0]
        flat = np.stack([dpotrs(f, side, lower=1)[0] for f, side in zip(self.factors, right, strict=True)])
        lam = self.inverse.swapaxes(2, 3) @ (half - (self.reduced @ flat[..., None]).reshape(b, n1, ny, 1))
        lam, mu = lam[..., 0] * state.has1, flat.reshape(b, n2, ny) * state.has2
        return lam, mu, state.change(lam, mu)


def _block_factor(blocks: FloatArray) -> FloatArray:
    """Cholesky factors of (b, n, ny, ny); a ridge of the size of rounding where that has made a block indefinite."""
    size = np.einsum("bikk->bik", blocks)
    for ridge in (0.0, 1e-15, 1e-13, 1e-11, 1e-9):
        np.einsum("bikk->bik", blocks)[...] += ridge * size
        try:
            return np.linalg.cholesky(blocks).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            continue
    return np.full_like(blocks, np.nan)
