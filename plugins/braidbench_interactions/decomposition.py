"""Partial information decomposition, exact and certified (Bertschinger et al. 2014; thesis 3.1.1 and 3.2.1).

``pid(p)`` splits I(X1, X2; Y) of a joint array p[x1, x2, y] into redundancy R, unique information U1 and U2, and
synergy S. All four follow from the union information I∪, the least I_q(X1, X2; Y) over the q that share p's (x1, y)
and (x2, y) marginals:

    R = I(X1; Y) + I(X2; Y) − I∪,  U1 = I∪ − I(X2; Y),  U2 = I∪ − I(X1; Y),  S = I(X1, X2; Y) − I∪.

(Equation 3.4 of the thesis prints the maximum of a divergence that is to be minimised.) A label of two values has a
closed form, one of more values an interior point; both prove their answer by a lower bound that meets it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench_interactions import hull, interior
from braidbench_interactions.certificate import TOLERANCE, dual_value
from braidbench_interactions.joint import (
    FloatArray,
    check_base,
    check_joint,
    entropy,
    marginal,
    unit,
)
from braidbench_interactions.threads import one_thread

_BLOCK = 1 << 15
"""Cells (x1, x2) that the closed form works on at a time: what stays in the cache."""


class UncertifiedWarning(UserWarning):
    """A result's lower and upper value differ by more than the certified tolerance."""


@dataclass(frozen=True, eq=False)
class PID:
    """The decomposition of one joint distribution. Every information is in units of log ``base`` (:attr:`unit`)."""

    redundancy: float
    """R: what X1 and X2 each say about Y."""
    unique1: float
    """U1: what only X1 says."""
    unique2: float
    """U2: what only X2 says."""
    synergy: float
    """S: what neither says alone and both say together."""
    primal: float
    """The union information of :attr:`q`: the true one is at most this."""
    dual: float
    """The value of :attr:`potentials`: the true union information is at least this."""
    potentials: tuple[FloatArray, FloatArray]
    """λ (n1, n_y) and μ (n2, n_y), in nats, feasible for the dual of :mod:`braidbench_interactions.certificate`."""
    iterations: int
    """Newton steps; 0 for the closed form."""
    base: float
    """The base of the logarithm: 2 is bits."""
    solver: str
    """``"hull"``, ``"interior-point"`` or the name of a conic solver."""
    _marginals: tuple[FloatArray, FloatArray] = field(repr=False)
    _q: FloatArray | None = field(default=None, repr=False)

    @property
    def gap(self) -> float:
        """primal − dual, not below zero: no term is off by more than this."""
        return max(self.primal - self.dual, 0.0)

    @property
    def certified(self) -> bool:
        """Whether the gap is at most 1e-8 nats."""
        return self.gap * check_base(self.base) <= TOLERANCE

    @property
    def total(self) -> float:
        """R + U1 + U2 + S = I(X1, X2; Y)."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy

    @property
    def unit(self) -> str:
        """``"bits"``, ``"nats"``, …"""
        return unit(self.base)

    @cached_property
    def q(self) -> FloatArray:
        """An optimal distribution, shape (n1, n2, n_y): p's (x1, y) and (x2, y) marginals and the least information.

        The closed form does not need it: there it is made, in closed form too, when it is first asked for.
        """
        if self._q is not None:
            return self._q
        with one_thread():
            return hull.coupling(*self._marginals)

    def __str__(self) -> str:
        terms = f"R {self.redundancy:.4f}  U1 {self.unique1:.4f}  U2 {self.unique2:.4f}  S {self.synergy:.4f}"
        proof = f"gap {self.gap:.0e}" + ("" if self.certified else ", NOT certified")
        return f"{terms}  ({self.unit}, {self.solver}, {proof})"


@dataclass(frozen=True, eq=False)
class PIDBatch:
    """The decompositions of b joint distributions of one shape: each field of :class:`PID` as an array of length b."""

    redundancy: FloatArray
    unique1: FloatArray
    unique2: FloatArray
    synergy: FloatArray
    primal: FloatArray
    dual: FloatArray
    potentials: tuple[FloatArray, FloatArray]
    iterations: NDArray[np.int64]
    base: float
    solver: str
    _marginals: tuple[FloatArray, FloatArray] = field(repr=False)
    _q: FloatArray | None = field(default=None, repr=False)

    @property
    def gap(self) -> FloatArray:
        """primal − dual, not below zero."""
        return np.maximum(self.primal - self.dual, 0.0)

    @property
    def certified(self) -> NDArray[np.bool_]:
        """Whether each gap is at most 1e-8 nats."""
        return self.gap * check_base(self.base) <= TOLERANCE

    @property
    def total(self) -> FloatArray:
        """R + U1 + U2 + S = I(X1, X2; Y)."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy

    @property
    def unit(self) -> str:
        """``"bits"``, ``"nats"``, …"""
        return unit(self.base)

    @cached_property
    def q(self) -> FloatArray:
        """Optimal distributions, shape (b, n1, n2, n_y)."""
        if self._q is not None:
            return self._q
        with one_thread():
            return np.stack([hull.coupling(a, b) for a, b in zip(*self._marginals, strict=True)])

    def __len__(self) -> int:
        return len(self.redundancy)

    def __getitem__(self, index: int) -> PID:
        first, second = self.potentials
        return PID(
            redundancy=float(self.redundancy[index]),
            unique1=float(self.unique1[index]),
            unique2=float(self.unique2[index]),
            synergy=float(self.synergy[index]),
            primal=float(self.primal[index]),
            dual=float(self.dual[index]),
            potentials=(first[index], second[index]),
            iterations=int(self.iterations[index]),
            base=self.base,
            solver=self.solver,
            _marginals=(self._marginals[0][index], self._marginals[1][index]),
            _q=None if self._q is None else self._q[index],
        )

    def __iter__(self) -> Iterator[PID]:
        return (self[index] for index in range(len(self)))


def pid(p: ArrayLike, base: float = 2) -> PID:
    """The partial information decomposition of p[x1, x2, y], probabilities or counts.

    Values of X1, X2 or Y without mass change nothing. If only one label has mass, all terms are zero.

    Args:
        p: shape (n1, n2, n_y), non-negative; divided by its sum.
        base: of the logarithm; 2 gives bits, ``math.e`` nats.

    Raises:
        UsageError: ``p`` is not such an array (:func:`braidbench_interactions.joint.check_joint`).

    Warns:
        UncertifiedWarning: the gap is above 1e-8 nats; the result says so as well.
    """
    return _decompose(check_joint(p)[None], base)[0]


def pid_batch(ps: ArrayLike, base: float = 2) -> PIDBatch:
    """The decompositions of a stack ps[joint, x1, x2, y], solved together.

    Joints of different sizes can be stacked when padded with zeros. Arguments, errors and warnings as of :func:`pid`.
    """
    return _decompose(check_joint(ps, stack=True), base)


def _decompose(p: FloatArray, base: float) -> PIDBatch:
    check_base(base)
    block = max(_BLOCK // (p.shape[1] * p.shape[2]), 1)
    if p.shape[-1] == 2 and len(p) > block:
        return _joined([_decompose(p[start : start + block], base) for start in range(0, len(p), block)])
    first, second = marginal(p, 2), marginal(p, 1)
    if p.shape[-1] == 2:
        join = hull.union(first, second)
        dual = dual_value(join.lam, join.mu, first, second)
        steps = np.zeros(len(p), dtype=np.int64)
        return assemble(p, (first, second), join.value, dual, (join.lam, join.mu), steps, base, "hull", None)
    with one_thread():
        solution = interior.solve(first, second)
    return assemble(
        p,
        (first, second),
        solution.primal,
        solution.dual,
        (solution.lam, solution.mu),
        solution.iterations,
        base,
        "interior-point",
        solution.q,
    )


def _joined(parts: list[PIDBatch]) -> PIDBatch:
    """One batch of several by the closed form."""

    def all_of(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name) for part in parts])

    def both_of(name: str) -> tuple[FloatArray, FloatArray]:
        first, second = (np.concatenate([getattr(part, name)[index] for part in parts]) for index in (0, 1))
        return first, second

    return PIDBatch(
        redundancy=all_of("redundancy"),
        unique1=all_of("unique1"),
        unique2=all_of("unique2"),
        synergy=all_of("synergy"),
        primal=all_of("primal"),
        dual=all_of("dual"),
        potentials=both_of("potentials"),
        iterations=np.concatenate([part.iterations for part in parts]),
        base=parts[0].base,
        solver=parts[0].solver,
        _marginals=both_of("_marginals"),
    )


def assemble(
    p: FloatArray,
    marginals: tuple[FloatArray, FloatArray],
    primal: FloatArray,
    dual: FloatArray,
    potentials: tuple[FloatArray, FloatArray],
    iterations: NDArray[np.int64],
    base: float,
    solver: str,
    q: FloatArray | None,
) -> PIDBatch:
    """The four terms of a checked stack ``p``, with p(x1, y) and p(x2, y).

    ``primal`` and ``dual`` enclose the optimal −H_q(Y | X1, X2), in nats.
    """
    scale = check_base(base)
    first, second = marginals
    label = entropy(marginal(first, 1), 1)
    # I(X; Y) = H(X) + H(Y) − H(X, Y)
    info1 = np.maximum(entropy(marginal(first, 2), 1) + label - entropy(first, 2), 0.0)
    info2 = np.maximum(entropy(marginal(second, 2), 1) + label - entropy(second, 2), 0.0)
    info12 = np.maximum(entropy(marginal(p, 3), 2) + label - entropy(p, 3), 0.0)
    upper, lower = label + primal, label + dual
    # I1, I2 ≤ I∪ ≤ I12, I1 + I2 hold for the true value; within the gap they need not for the computed one.
    union = np.maximum(np.minimum(np.minimum(upper, info12), info1 + info2), np.maximum(info1, info2))
    info12 = np.maximum(info12, union)  # rounding alone can separate them here
    result = PIDBatch(
        redundancy=np.maximum(info1 + info2 - union, 0.0) / scale,
        unique1=(union - info2) / scale,
        unique2=(union - info1) / scale,
        synergy=(info12 - union) / scale,
        primal=upper / scale,
        dual=lower / scale,
        potentials=potentials,
        iterations=iterations,
        base=base,
        solver=solver,
        _marginals=marginals,
        _q=q,
    )
    loose = ~result.certified
    if loose.any():
        warnings.warn(
            f"{solver}: {int(loose.sum())} of {len(p)} decompositions are not certified, the worst gap is"
            f" {result.gap.max():.1e} {result.unit}",
            UncertifiedWarning,
            stacklevel=4,
        )
    return result
