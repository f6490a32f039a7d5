"""What a model learned, and whether it is what the dataset needs (thesis 3.3.3 and 3.3.4).

A model's interactions are those of its predictions: the decomposition of the same rows with the predicted label in
place of the true one. Its agreement with the dataset weighs each by the dataset's share of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from braidbench.errors import UsageError
from braidbench_interactions.joint import FloatArray


@dataclass(frozen=True)
class Agreement:
    """α_I of each interaction, in the unit of the model's terms."""

    redundancy: float
    unique1: float
    unique2: float
    synergy: float

    @property
    def total(self) -> float:
        """α = Σ_I α_I."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy


def agreement(dataset: ArrayLike, model: ArrayLike) -> Agreement:
    """Equation 3.6: α_I = (I_D / Σ_J J_D) · I_f for I ∈ (R, U1, U2, S).

    Args:
        dataset: R, U1, U2 and S of the dataset, in any unit.
        model: those of the model's predictions.

    Raises:
        UsageError: not four finite numbers of zero or more each, or a dataset without information.
    """
    needed, learned = _terms("the dataset", dataset), _terms("the model", model)
    if needed.sum() == 0:
        raise UsageError("the dataset holds no information: it has no shares to agree with")
    return Agreement(*(float(value) for value in needed / needed.sum() * learned))


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's ρ, as in figures 3.4 and 3.5; NaN where one of them does not vary."""
    if len(first) != len(second) or len(first) < 2:
        raise UsageError(f"a correlation is of two values a point, two points or more: {len(first)}, {len(second)}")
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _terms(whose: str, terms: ArrayLike) -> FloatArray:
    values = np.asarray(terms, dtype=np.float64)
    if values.shape != (4,) or not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"R, U1, U2 and S of {whose} are four numbers of zero or more, not {terms!r}")
    return values
