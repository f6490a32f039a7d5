"""Joint distributions p[x1, x2, y]: what is accepted, and their marginals and informations.

Shapes carry leading stack axes ``…``; everything here is in nats.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench.errors import UsageError

FloatArray = NDArray[np.float64]

_TINY = float(np.finfo(np.float64).tiny)
_SHORT = 8


def check_joint(p: ArrayLike, stack: bool = False) -> FloatArray:
    """``p`` as float64 of shape (n1, n2, n_y), or (b, n1, n2, n_y) for a ``stack``, each joint divided by its sum.

    Counts are welcome. Values of a variable that have no mass are kept and contribute nothing.

    Raises:
        UsageError: wrong rank, an empty axis, fewer than two labels, a negative or non-finite entry, or a joint whose
            sum is zero or overflows.
    """
    try:
        if np.iscomplexobj(p):
            raise TypeError("it is complex")
        array = np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the joint distribution is not an array of real numbers: {error}") from None
    shape = "p[joint, x1, x2, y]" if stack else "p[x1, x2, y]"
    if array.ndim != 3 + stack:
        raise UsageError(f"a joint distribution is {shape}; this array has {array.ndim} axes, shape {array.shape}")
    if 0 in array.shape[-3:]:
        raise UsageError(f"a joint distribution {shape} needs a value on every axis; shape {array.shape}")
    if array.shape[-1] < 2:
        raise UsageError(f"the label, the last axis of {shape}, has one value: nothing to tell apart; {array.shape}")
    if not array.min(initial=0.0) >= 0 or not array.max(initial=0.0) < np.inf:  # NaN fails both
        if not np.isfinite(array).all():
            raise UsageError(f"the joint distribution holds {_count(~np.isfinite(array))} that are NaN or infinite")
        raise UsageError(f"the joint distribution holds {_count(array < 0)} below zero; the least is {array.min():g}")
    with np.errstate(over="ignore"):
        total = np.einsum("...ijk->...", array)[..., None, None, None]
    bad = ~((total >= _TINY) & np.isfinite(total))
    if bad.any():
        where = f" (joint {int(np.flatnonzero(bad)[0])} of the stack)" if stack else ""
        raise UsageError(f"the joint distribution cannot be normalised: its entries sum to {total[bad][0]:g}{where}")
    normalised: FloatArray = array / total
    return normalised


def check_base(base: float) -> float:
    """ln ``base``: what an information in nats is divided by. 2 gives bits, e nats, 10 hartleys."""
    if not (isinstance(base, int | float) and math.isfinite(base) and base > 1):
        raise UsageError(f"the base of the logarithm is a number above 1 (2: bits, math.e: nats); got {base!r}")
    return math.log(base)


def unit(base: float) -> str:
    """The name of the unit of information for logarithms to ``base``."""
    return {2.0: "bits", math.e: "nats", 10.0: "hartleys"}.get(float(base), f"base-{base:g} units")


def _count(mask: NDArray[Any]) -> str:
    number = int(mask.sum())
    return f"{number} {'entry' if number == 1 else 'entries'}"


def entropy(p: FloatArray, axes: int) -> FloatArray:
    """-Σ p ln p over the last ``axes`` axes, in nats; 0 ln 0 = 0. ``p`` need not be normalised."""
    flat = p.reshape(*p.shape[: p.ndim - axes], math.prod(p.shape[p.ndim - axes :]))
    logarithm = np.maximum(flat, _TINY)  # a product with a finite logarithm is exactly 0 where p is
    np.log(logarithm, out=logarithm)
    value: FloatArray = -np.einsum("...i,...i->...", flat, logarithm)
    return value


def fold(operation: np.ufunc, array: FloatArray, axis: int) -> FloatArray:
    """``operation.reduce(array, axis)``, slice by slice where the axis is short: numpy is slow on stacks of those."""
    if array.shape[axis] <= _SHORT:
        return reduce(operation, np.moveaxis(array, axis, 0))
    value: FloatArray = operation.reduce(array, axis=axis)
    return value


def marginal(p: FloatArray, axis: int) -> FloatArray:
    """Σ over one axis."""
    return fold(np.add, p, axis)


def mutual_information(p: FloatArray) -> FloatArray:
    """I(U; V) of p[…, u, v], in nats."""
    value: FloatArray = entropy(marginal(p, -1), 1) + entropy(marginal(p, -2), 1) - entropy(p, 2)
    return np.maximum(value, 0.0)
