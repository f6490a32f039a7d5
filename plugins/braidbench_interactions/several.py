"""More than two modalities: the decomposition of every pair, and for two classes the union information of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from braidbench.errors import UsageError
from braidbench_interactions.estimation import Estimate, estimate_samples
from braidbench_interactions.evidence import Estimator, Options
from braidbench_interactions.join import union_information
from braidbench_interactions.joint import FloatArray, check_base, mutual_information
from braidbench_interactions.posterior import calibrate, fit_posterior, fit_posteriors, match_marginals
from braidbench_interactions.samples import Samples, check_samples


def estimate_pairs(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    estimator: Estimator = "auto",
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    **options: Any,
) -> dict[tuple[str, str], Estimate]:
    """:func:`braidbench_interactions.estimation.estimate` of every pair of modalities, or of ``pairs``."""
    chosen = list(combinations(_names(features, 2), 2)) if pairs is None else list(pairs)
    split = options.pop("split", None)
    checked = Options(estimator, **options)
    posteriors: dict[str, tuple[str, FloatArray]] = {}
    found = {}
    for a, b in chosen:
        samples = check_samples(features[a], features[b], labels, split, checked.seed)
        fitted = None
        if checked.estimator != "cvx":
            for name, values in ((a, samples.first), (b, samples.second)):
                if name not in posteriors:
                    posteriors[name] = fit_posterior(values, samples, checked.seed)
            fitted = fit_posteriors(samples, checked.seed, unimodal=(posteriors[a], posteriors[b]))
        found[a, b] = estimate_samples(samples, checked, fitted)
    return found


@dataclass(frozen=True)
class Union:
    """What several modalities tell about a label of two values: each alone, at least, and together."""

    each: Mapping[str, float]
    """I(X_i; Y)."""
    union: float
    """I∪(X_1, …, X_m; Y) = min I_q over all q with the marginals p(x_i, y)."""
    total: float
    """I(X_1, …, X_m; Y); what exceeds the union information is synergy of all orders."""
    base: float

    @property
    def synergy(self) -> float:
        """I(X_1, …, X_m; Y) − I∪."""
        return self.total - self.union


def estimate_union(
    features: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    split: ArrayLike | None = None,
    base: float = 2,
    seed: int = 0,
) -> Union:
    """The union information of two modalities or more about a label of two values, by the ``posterior`` estimator.

    Raises:
        UsageError: a label of more values; there the pairs are what can be computed (:func:`estimate_pairs`).
    """
    names = _names(features, 2)
    flat = {name: np.asarray(features[name], dtype=np.float64).reshape(len(np.asarray(labels)), -1) for name in names}
    scale = check_base(base)
    tables = []
    everything = np.hstack(list(flat.values()))
    for position, name in enumerate([*names, None]):
        values = everything if name is None else flat[name]
        samples = check_samples(values, everything, labels, split, seed)
        if samples.classes != 2:
            raise UsageError(f"union information has a closed form for two classes, not {samples.classes}: take pairs")
        tables.append(_table(samples, seed + position))
    each = {name: float(mutual_information(table)) / scale for name, table in zip(names, tables, strict=False)}
    union = union_information(tables[:-1])
    return Union(each, union / scale, max(float(mutual_information(tables[-1])), union) / scale, base)


def _table(samples: Samples, seed: int) -> FloatArray:
    labels = samples.labels[samples.held_out]
    posterior = fit_posterior(samples.first, samples, seed)[1][samples.held_out]
    weights = np.full(len(labels), 1.0 / len(labels))
    frequency = np.bincount(labels, minlength=samples.classes) / len(labels)
    return match_marginals(calibrate(posterior, labels, weights), weights, frequency)


def _names(features: Mapping[str, ArrayLike], least: int) -> Sequence[str]:
    if len(features) < least:
        raise UsageError(f"interactions are between {least} modalities or more; there are {len(features)}")
    return list(features)
