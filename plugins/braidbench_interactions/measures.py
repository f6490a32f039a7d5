"""Other measures of interaction that chapter 3 compares with: what information theory offers without a coupling.

Each takes p[x1, x2, y], or a stack of them with leading axes, and gives arrays of the stack's shape in units of log
``base``. Those that define a decomposition give its four terms under the two identities that any one has,
R + U_i = I(X_i; Y) and R + U1 + U2 + S = I(X1, X2; Y); all but I-min's redundancy and the whole CI synergy can be
negative, which is why the thesis prefers the decomposition of :mod:`braidbench_interactions.decomposition`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from braidbench.errors import UsageError
from braidbench_interactions.joint import FloatArray, check_base, check_joint, entropy, marginal, mutual_information

_TINY = float(np.finfo(np.float64).tiny)


class Informations(NamedTuple):
    """Every mutual information of X1, X2 and Y."""

    x1_y: FloatArray
    """I(X1; Y)"""
    x2_y: FloatArray
    """I(X2; Y)"""
    x1x2_y: FloatArray
    """I(X1, X2; Y)"""
    x1_x2: FloatArray
    """I(X1; X2)"""
    x1_y_given_x2: FloatArray
    """I(X1; Y | X2)"""
    x2_y_given_x1: FloatArray
    """I(X2; Y | X1)"""
    x1_x2_given_y: FloatArray
    """I(X1; X2 | Y)"""
    y: FloatArray
    """H(Y)"""

    @property
    def coinformation(self) -> FloatArray:
        """I(X1; X2; Y) = I(X1; X2) − I(X1; X2 | Y) = R − S (equation 6.3)."""
        return self.x1_x2 - self.x1_x2_given_y


class Decomposition(NamedTuple):
    """Redundancy, unique information and synergy by some other measure; terms may be negative."""

    redundancy: FloatArray
    unique1: FloatArray
    unique2: FloatArray
    synergy: FloatArray


def informations(p: ArrayLike, base: float = 2) -> Informations:
    """Every mutual information of the joint distribution(s) ``p``."""
    joint, scale = _checked(p), check_base(base)
    table12, table1, table2 = marginal(joint, -1), joint.sum(-2), joint.sum(-3)
    h1, h2, hy = entropy(table12.sum(-1), 1), entropy(table12.sum(-2), 1), entropy(table1.sum(-2), 1)
    h12, h1y, h2y, h12y = entropy(table12, 2), entropy(table1, 2), entropy(table2, 2), entropy(joint, 3)
    values = (
        h1 + hy - h1y,
        h2 + hy - h2y,
        h12 + hy - h12y,
        h1 + h2 - h12,
        h12 + h2y - h12y - h2,
        h12 + h1y - h12y - h1,
        h1y + h2y - h12y - hy,
        hy,
    )
    return Informations(*(np.maximum(value, 0.0) / scale for value in values))


def i_min(p: ArrayLike, base: float = 2) -> Decomposition:
    """Williams & Beer (2010): R = Σ_y p(y) min_i I(Y = y; X_i), the specific information that either gives at least.

    Never negative, but it takes equal amounts of information for the same information: for two independent fair bits
    X1, X2 and Y = (X1, X2) it says R = 1 bit.
    """
    joint, scale = _checked(p), check_base(base)
    label = joint.sum((-3, -2))
    # p(y) I(Y = y; X_i) = Σ_x p(x, y) ln (p(x, y) / (p(x) p(y)))
    redundancy = np.minimum(*(_specific(joint.sum(axis), label) for axis in (-2, -3))).sum(-1) / scale
    return _complete(joint, base, redundancy=redundancy)


def whole_minus_sum(p: ArrayLike, base: float = 2) -> Decomposition:
    """WMS: S = I(X1, X2; Y) − I(X1; Y) − I(X2; Y), which is synergy minus redundancy; R is 0 by definition."""
    joint = _checked(p)
    check_base(base)
    return _complete(joint, base, redundancy=np.zeros(joint.shape[:-3]))


def correlational_importance(p: ArrayLike, base: float = 2) -> Decomposition:
    """CI, ΔI of Nirenberg & Latham (PNAS 2003): S = KL(p(y | x1, x2) ‖ p_ind(y | x1, x2)).

    p_ind ∝ p(y) p(x1 | y) p(x2 | y) is what a reader believes who takes the modalities as independent given the label.
    Its synergy is never negative, and can exceed I(X1, X2; Y).
    """
    joint, scale = _checked(p), check_base(base)
    table1, table2 = joint.sum(-2), joint.sum(-3)
    label = np.maximum(table1.sum(-2), _TINY)
    independent = (table1 / label[..., None, :])[..., :, None, :] * table2[..., None, :, :]
    believed = independent / np.maximum(marginal(independent, -1), _TINY)[..., None]
    true = joint / np.maximum(marginal(joint, -1), _TINY)[..., None]
    # Where p has mass so has p_ind.
    ratio = np.log(np.maximum(true, _TINY)) - np.log(np.maximum(believed, _TINY))
    synergy = np.maximum(np.einsum("...ijk,...ijk->...", joint, ratio), 0.0) / scale
    first, second, both = _three(joint, scale)
    redundancy = first + second - both + synergy
    return Decomposition(redundancy, first - redundancy, second - redundancy, synergy)


def co_training(p: ArrayLike, base: float = 2) -> Decomposition:
    """R = I(X1; X2; Y), U_i = I(X_i; Y | X_j): the definitions of co-training and multi-view learning (thesis 3.1.2).

    R is redundancy minus synergy and S is 0 by definition.
    """
    every = informations(p, base)
    return Decomposition(
        every.coinformation, every.x1_y_given_x2, every.x2_y_given_x1, np.zeros_like(every.coinformation)
    )


def every_decomposition(p: ArrayLike, base: float = 2) -> dict[str, tuple[float, float, float, float]]:
    """R, U1, U2 and S of one joint distribution by each measure, the one of the thesis first."""
    from braidbench_interactions.decomposition import pid

    own = pid(p, base)
    found = {"PID": (own.redundancy, own.unique1, own.unique2, own.synergy)}
    others = {"I-min": i_min, "WMS": whole_minus_sum, "CI": correlational_importance, "co-training": co_training}
    for name, measure in others.items():
        r, u1, u2, s = (float(value) for value in measure(p, base))
        found[name] = (r, u1, u2, s)
    return found


def _checked(p: ArrayLike) -> FloatArray:
    try:
        array = np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the joint distribution is not an array of real numbers: {error}") from None
    if array.ndim <= 3:
        return check_joint(array)
    return check_joint(array.reshape(-1, *array.shape[-3:]), stack=True).reshape(array.shape)


def _specific(table: FloatArray, label: FloatArray) -> FloatArray:
    """p(y) I(Y = y; X) of p(x, y), in nats, shape (…, n_y)."""
    expected = table.sum(-1, keepdims=True) * label[..., None, :]
    ratio = np.log(np.maximum(table, _TINY)) - np.log(np.maximum(expected, _TINY))
    value: FloatArray = np.maximum(np.einsum("...xy,...xy->...y", table, ratio), 0.0)
    return value


def _three(joint: FloatArray, scale: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """I(X1; Y), I(X2; Y) and I(X1, X2; Y)."""
    flat = joint.reshape(*joint.shape[:-3], joint.shape[-3] * joint.shape[-2], joint.shape[-1])
    tables = (joint.sum(-2), joint.sum(-3), flat)
    first, second, both = (mutual_information(table) / scale for table in tables)
    return first, second, both


def _complete(joint: FloatArray, base: float, redundancy: FloatArray) -> Decomposition:
    """The decomposition with this redundancy."""
    first, second, both = _three(joint, check_base(base))
    return Decomposition(redundancy, first - redundancy, second - redundancy, both - first - second + redundancy)
