"""The three estimators, fitted: the terms as a function of how often each row counts.

What :mod:`braidbench_interactions.estimation` needs of each of them for bias and uncertainty is the same: fit on
samples, measure with weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import UsageError
from braidbench_interactions.decomposition import pid_batch
from braidbench_interactions.discretise import Codes, count, fit_codes
from braidbench_interactions.join import union_information
from braidbench_interactions.joint import FloatArray, check_base, mutual_information
from braidbench_interactions.posterior import Posteriors, cluster_posteriors, merge
from braidbench_interactions.samples import IntArray, Samples

Estimator = Literal["auto", "cvx", "batch", "posterior"]

_STACK = 1 << 22  # cells of joint distributions decomposed at once

_SYMBOLS, _FEW_SYMBOLS = 60, 20
"""That posteriors of more than two classes are clustered into: for the estimate, and for its scatter."""

_PRODUCT = 1200  # symbols times classes, at most: the interior point's memory grows with its square


@dataclass(frozen=True)
class Options:
    """The arguments of :func:`estimate`, checked."""

    estimator: Estimator = "auto"
    base: float = 2
    bins: int | None = None
    clusters: int = 20
    components: int = 5
    permutations: int | None = None
    bootstrap: int = 100
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        check_base(self.base)
        if self.estimator not in get_args(Estimator):
            raise UsageError(f"no estimator {self.estimator!r}; there are {', '.join(get_args(Estimator))}")
        for name, least in (("bins", 2), ("clusters", 2), ("components", 1), ("permutations", 0), ("bootstrap", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is {least} or more, not {value}")
        if not 0.0 < self.confidence < 1.0:
            raise UsageError(f"confidence lies between 0 and 1, not {self.confidence}")


class Evidence(Protocol):
    """An estimator, fitted: the terms as a function of how often each evaluation row counts."""

    @property
    def rows(self) -> int: ...

    @property
    def cells(self) -> int: ...

    @property
    def details(self) -> dict[str, Any]: ...

    def terms(self, weights: FloatArray) -> tuple[FloatArray, float]:
        """Weights (b, rows) → R, U1, U2, S in nats, (b, 4), and the largest gap."""
        ...

    def quicker(self) -> Evidence:
        """Evidence on the same rows that scatters as this does over draws of them and costs less."""
        ...


# --- cvx --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CvxEvidence:
    """Symbols of all rows; the codes are fitted on the training rows without their labels."""

    first: IntArray
    second: IntArray
    labels: IntArray
    shape: tuple[int, int, int]

    @classmethod
    def fit(cls, samples: Samples, options: Options) -> CvxEvidence:
        codes: list[Codes] = [
            fit_codes(features[samples.train], options.bins, options.clusters, options.components, options.seed)
            for features in (samples.first, samples.second)
        ]
        shape = (codes[0].size, codes[1].size, samples.classes)
        return cls(codes[0](samples.first), codes[1](samples.second), samples.labels, shape)

    def with_labels(self, labels: IntArray) -> CvxEvidence:
        return CvxEvidence(self.first, self.second, labels, self.shape)

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def details(self) -> dict[str, Any]:
        return {"symbols": list(self.shape[:2])}

    def terms(self, weights: FloatArray) -> tuple[FloatArray, float]:
        flat = np.ravel_multi_index((self.first, self.second, self.labels), self.shape)
        stack = np.stack([np.bincount(flat, weights=w, minlength=self.cells) for w in weights])
        return _decompose(stack.reshape(len(weights), *self.shape).astype(np.float64))

    def quicker(self) -> CvxEvidence:
        return self

    def validation_losses(self, samples: Samples) -> tuple[float, float, float]:
        """Cross-entropy in nats of the label on validation rows given symbol 1, symbol 2 and both, counted on training
        rows with one pseudo-count a symbol, spread as p(y)."""
        train, valid = samples.train, samples.valid
        counts = count(self.first[train], self.second[train], self.labels[train], self.shape)
        frequency = counts.sum(axis=(0, 1)) / counts.sum()
        tables = (
            counts.sum(axis=1)[self.first[valid]],
            counts.sum(axis=0)[self.second[valid]],
            counts[self.first[valid], self.second[valid]],
        )
        chosen = self.labels[valid]
        posteriors = [(table + frequency) / (table.sum(axis=1, keepdims=True) + 1.0) for table in tables]
        losses = [float(-np.log(p[np.arange(len(chosen)), chosen]).mean()) for p in posteriors]
        return losses[0], losses[1], losses[2]


def _decompose(stack: FloatArray) -> tuple[FloatArray, float]:
    """R, U1, U2, S in nats, (b, 4), of joints (b, n1, n2, C), and the largest gap."""
    block = max(_STACK // math.prod(stack.shape[1:]), 1)
    parts, gap = [], 0.0
    for start in range(0, len(stack), block):
        found = pid_batch(stack[start : start + block], base=math.e)
        parts.append(np.stack([found.redundancy, found.unique1, found.unique2, found.synergy], axis=1))
        gap = max(gap, float(found.gap.max()))
    return np.concatenate(parts), gap


# --- posterior --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PosteriorEvidence:
    """Posteriors of the held-out rows; for more than two classes with symbols of each modality's."""

    posteriors: Posteriors
    symbols: tuple[IntArray, IntArray] | None
    lost: tuple[float, float]
    """I(X_i; Y) that the symbols lose, in nats; 0 for two classes."""

    seed: int

    @classmethod
    def fit(cls, posteriors: Posteriors, options: Options, clusters: int = _SYMBOLS) -> PosteriorEvidence:
        return cls.of(posteriors, options.seed, clusters)

    @classmethod
    def of(cls, posteriors: Posteriors, seed: int, clusters: int) -> PosteriorEvidence:
        if posteriors.first.shape[1] == 2:
            return cls(posteriors, None, (0.0, 0.0), seed)
        weights = np.ones(len(posteriors.labels))
        clusters = max(min(clusters, _PRODUCT // posteriors.first.shape[1]), 2)
        symbols, lost = [], []
        for table in posteriors.tables(weights)[:2]:
            rows = table / table.sum(axis=1, keepdims=True)
            found = cluster_posteriors(rows, weights, clusters, seed)
            symbols.append(found)
            lost.append(float(mutual_information(table) - mutual_information(merge(table, found))))
        return cls(posteriors, (symbols[0], symbols[1]), (lost[0], lost[1]), seed)

    def quicker(self) -> PosteriorEvidence:
        return self if self.symbols is None else PosteriorEvidence.of(self.posteriors, self.seed, _FEW_SYMBOLS)

    @property
    def rows(self) -> int:
        return len(self.posteriors.labels)

    @property
    def cells(self) -> int:
        return 0

    @property
    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = {"classifiers": list(self.posteriors.classifiers)}
        if self.symbols is not None:
            found["symbols"] = [int(symbols.max()) + 1 for symbols in self.symbols]
            found["lost_nats"] = list(self.lost)
        return found

    def terms(self, weights: FloatArray) -> tuple[FloatArray, float]:
        tables = [self.posteriors.tables(w) for w in weights]
        if self.symbols is None:
            unions = np.array([union_information([first, second]) for first, second, _ in tables])
            values = [
                _from_union(float(mutual_information(a)), float(mutual_information(b)), float(u), both)
                for (a, b, both), u in zip(tables, unions, strict=True)
            ]
            return np.stack(values), 0.0
        first, second = (
            np.stack([merge(table[position], self.symbols[position]) for table in tables]) for position in (0, 1)
        )
        label = first.sum(axis=1)
        # Only the marginals matter for R, U1 and U2: any joint that has them will do, such as X1 ⊥ X2 given Y.
        joint = first[:, :, None, :] * (second / np.where(label > 0, label, 1.0)[:, None, :])[:, None, :, :]
        found, gap = _decompose(joint)
        values = []
        for terms, (one, other, both) in zip(found, tables, strict=True):
            kept1, kept2 = terms[0] + terms[1], terms[0] + terms[2]
            whole = float(mutual_information(one) + mutual_information(other))
            # What the symbols lose of both modalities is given back in proportion, or it would count as synergy.
            scale = whole / (kept1 + kept2) if kept1 + kept2 > 0 else 1.0
            values.append(_from_union(scale * kept1, scale * kept2, scale * float(terms[:3].sum()), both))
        return np.stack(values), gap


def _from_union(info1: float, info2: float, union: float, both: FloatArray) -> FloatArray:
    """R, U1, U2, S from I(X1; Y), I(X2; Y), I∪ and the table p(row, y) of both modalities, in nats.

    I(X1, X2; Y) is I∪ or more; a classifier of both that shows less has lost what those of one have, and S is below
    zero here. What an estimate says is then zero; its scatter is not.
    """
    total = float(mutual_information(both))
    return np.array([max(info1 + info2 - union, 0.0), union - info2, union - info1, total - union])


# --- batch ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchEvidence:
    """The alignment network with the calibrated tables p(row, y) of the held-out rows."""

    posteriors: Posteriors
    tables: list[FloatArray]
    network: Any
    size: int
    """Rows of an evaluation batch."""
    seed: int

    @classmethod
    def fit(cls, posteriors: Posteriors, options: Options) -> BatchEvidence:
        from braidbench_interactions.alignment import train_alignment

        tables = posteriors.tables(np.ones(len(posteriors.labels)))
        classes = tables[0].shape[1]
        network = train_alignment(tables[0], tables[1], batch=128 if classes == 2 else 64, seed=options.seed)
        return cls(posteriors, tables, network, 512 if classes == 2 else 128, options.seed)

    @property
    def rows(self) -> int:
        return len(self.posteriors.labels)

    @property
    def cells(self) -> int:
        return 0

    @property
    def details(self) -> dict[str, Any]:
        return {"classifiers": list(self.posteriors.classifiers), "batch": min(self.size, self.rows)}

    def terms(self, weights: FloatArray) -> tuple[FloatArray, float]:
        """The mean over batches that partition the rows; ``weights`` are ones."""
        assert weights.shape == (1, self.rows)
        order = np.random.default_rng(self.seed).permutation(self.rows)
        batches = np.array_split(order, max(self.rows // self.size, 1))
        found = [self._batch(rows) for rows in batches]
        shares = np.array([len(rows) for rows in batches]) / self.rows
        union, info1, info2, gap = (shares @ np.array(found)).tolist()
        return _from_union(info1, info2, union, self.tables[2])[None], gap

    def quicker(self) -> PosteriorEvidence:
        """The posteriors without the network, which adds its gap to what they say and no scatter."""
        return PosteriorEvidence.of(self.posteriors, self.seed, _FEW_SYMBOLS)

    def _batch(self, rows: NDArray[np.intp]) -> tuple[float, float, float, float]:
        from braidbench_interactions.alignment import batch_tables, batch_union

        info1, info2, primal, dual = batch_union(self.network, *batch_tables(self.tables[0], self.tables[1], rows))
        return primal, info1, info2, max(primal - dual, 0.0)
