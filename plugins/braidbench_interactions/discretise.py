"""Continuous features as discrete symbols, for the ``cvx`` estimator (thesis 3.2.1, pre-processing).

One feature is cut into bins of fixed width, as many as the cube root of the number of samples; several are projected on
their leading principal components and clustered. Both are fitted on the training rows and then applied to all rows:
the released code clusters each split anew, so that one symbol means different things in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from braidbench.errors import UsageError
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.samples import IntArray, Samples
from braidbench_interactions.threads import on_one_thread


class Codes(Protocol):
    """A fitted discretisation: features (N, D) → symbols (N,), 0 … ``size`` − 1."""

    @property
    def size(self) -> int: ...

    def __call__(self, features: FloatArray) -> IntArray: ...


def cube_root_bins(samples: int) -> int:
    """⌈n^⅓⌉: grows more slowly than n, as a consistent histogram estimate has to (Rice's rule without its factor 2)."""
    return max(math.ceil(round(float(np.cbrt(samples)), 9)), 2)


@dataclass(frozen=True)
class Histogram:
    """Bins of one width over the range of the training rows; the first and the last are open."""

    edges: FloatArray
    """The (size − 1) inner edges, ascending."""

    @property
    def size(self) -> int:
        return len(self.edges) + 1

    @classmethod
    def fit(cls, features: FloatArray, bins: int | None = None) -> Histogram:
        """``features`` (N, 1) of the training rows; ``bins`` is ⌈N^⅓⌉ unless given."""
        if features.ndim != 2 or features.shape[1] != 1:
            raise UsageError(f"a histogram has one feature, (N, 1); these have shape {features.shape}: cluster them")
        low, high = float(features.min()), float(features.max())
        inner = np.linspace(low, high, (bins or cube_root_bins(len(features))) + 1)[1:-1]
        return cls(inner if high > low else inner[:0])

    def __call__(self, features: FloatArray) -> IntArray:
        return np.searchsorted(self.edges, features[:, 0], side="right").astype(np.int64)


@dataclass(frozen=True)
class Clusters:
    """Nearest of k centres in the space of the leading principal components of the standardised features."""

    pipeline: Any
    """Scaler, PCA and k-means of scikit-learn, fitted."""
    size: int

    @classmethod
    def fit(cls, features: FloatArray, clusters: int = 20, components: int = 5, seed: int = 0) -> Clusters:
        """``features`` (N, D) of the training rows; at most as many clusters as distinct rows."""
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        size = min(clusters, len(np.unique(features, axis=0)))
        kept = min(components, *features.shape)
        pipeline = make_pipeline(
            StandardScaler(),
            PCA(kept, svd_solver="full" if features.shape[1] <= 500 else "randomized", random_state=seed),
            KMeans(size, n_init=4, random_state=seed),
        )
        pipeline.fit(features)
        return cls(pipeline, size)

    def __call__(self, features: FloatArray) -> IntArray:
        return np.asarray(self.pipeline.predict(features), dtype=np.int64)


@on_one_thread
def fit_codes(
    features: FloatArray, bins: int | None = None, clusters: int = 20, components: int = 5, seed: int = 0
) -> Codes:
    """A histogram for one feature, clusters for several; ``features`` (N, D) are training rows."""
    if features.shape[1] == 1:
        return Histogram.fit(features, bins)
    return Clusters.fit(features, clusters, components, seed)


def count(first: IntArray, second: IntArray, labels: IntArray, shape: tuple[int, int, int]) -> FloatArray:
    """Counts n[x1, x2, y] of rows of symbols and labels, each (N,)."""
    flat = np.ravel_multi_index((first, second, labels), shape)
    return np.bincount(flat, minlength=math.prod(shape)).reshape(shape).astype(np.float64)


@on_one_thread
def clustered_joint(samples: Samples, clusters: int = 20, seed: int = 0) -> FloatArray:
    """p[x1, x2, y] of the modalities' symbols, fitted on the training rows and counted over all."""
    first, second = (fit_codes(x[samples.train], clusters=clusters, seed=seed) for x in (samples.first, samples.second))
    shape = (first.size, second.size, samples.classes)
    return count(first(samples.first), second(samples.second), samples.labels, shape) / len(samples)
