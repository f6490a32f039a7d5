"""R, U1, U2 and S of real features, by one function for every estimator, with their bias and their uncertainty.

- ``cvx``: features become symbols (:mod:`braidbench_interactions.discretise`), the joint distribution is counted over
  all rows and decomposed exactly (thesis 3.2.1).
- ``posterior``: calibrated posteriors of held-out rows, which are sufficient
  (:mod:`braidbench_interactions.posterior`).
- ``batch``: the same posteriors, their coupling found by an alignment network (thesis 3.2.2,
  :mod:`braidbench_interactions.alignment`).
- ``auto``: ``posterior`` if its classifiers predict the validation rows' labels better from each modality and from both
  than the symbols of ``cvx`` do, else ``cvx``.

Bias. Whatever an estimator finds when the labels are permuted is not information: the mean over permutations of the
whole procedure, with its choices kept, is subtracted and a term that becomes negative is zero. For ``cvx`` this is the
bias of plug-in estimates, which grows with cells over samples; where labels are almost determined by the symbols the
bias is smaller than under permutation, and the correction errs towards zero.

Uncertainty. Rows are drawn anew with replacement; the interval is the estimate plus the quantiles of how such draws
scatter about their own mean, which does not count the bias of resampling twice. Posteriors are calibrated anew on each
draw, classifiers, clusters and the network are not fitted anew: the interval is that of the evaluation, given what was
trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from braidbench_interactions.evidence import (
    BatchEvidence,
    CvxEvidence,
    Estimator,
    Evidence,
    Options,
    PosteriorEvidence,
)
from braidbench_interactions.joint import FloatArray, check_base, entropy, unit
from braidbench_interactions.posterior import Posteriors, fit_posteriors
from braidbench_interactions.samples import Samples, check_samples
from braidbench_interactions.threads import on_one_thread

TERMS = ("redundancy", "unique1", "unique2", "synergy")

PERMUTATIONS = {"cvx": 20, "posterior": 3, "batch": 1}
"""Permutations of the labels by estimator, where none are asked for: those that train anew get few."""


class SparseWarning(UserWarning):
    """Fewer samples than cells: the estimate before correction is mostly bias."""


@dataclass(frozen=True)
class Term:
    """One interaction, in the unit of its estimate."""

    value: float
    """Corrected for bias, not below zero."""
    low: float
    high: float
    """The interval's ends."""
    raw: float
    """Before correction; a synergy below zero says that the classifier of both modalities lost what one alone has."""
    bias: float
    """The mean under permuted labels, which was subtracted."""


@dataclass(frozen=True)
class Estimate:
    """The decomposition of a dataset's information about its label, estimated from samples."""

    redundancy: Term
    unique1: Term
    unique2: Term
    synergy: Term
    estimator: str
    """``"cvx"``, ``"posterior"`` or ``"batch"``."""
    base: float
    confidence: float
    gap: float
    """Upper minus lower bound of the union information that the estimator solved for: its certificate."""
    rows: int
    """Rows that the information was measured on."""
    cells: int
    """Cells of the joint distribution of symbols and labels; 0 where posteriors are used as they are."""
    classes: int
    label_entropy: float
    """H(Y), which no sum of terms can exceed."""
    notes: tuple[str, ...] = ()
    """What to keep in mind, one sentence each."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the estimator chose and what it lost: classifiers, validation losses, sizes."""

    @property
    def unit(self) -> str:
        return unit(self.base)

    @property
    def terms(self) -> dict[str, Term]:
        """The four terms by name."""
        return {name: getattr(self, name) for name in TERMS}

    @property
    def values(self) -> FloatArray:
        """(R, U1, U2, S)."""
        return np.array([term.value for term in self.terms.values()])

    @property
    def total(self) -> float:
        """R + U1 + U2 + S, the estimate of I(X1, X2; Y)."""
        return float(self.values.sum())

    @property
    def dominant(self) -> str:
        """The name of the largest term."""
        return TERMS[int(np.argmax(self.values))]

    def as_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "details": dict(self.details), "unit": self.unit, "total": self.total}


def estimate(
    features1: ArrayLike,
    features2: ArrayLike,
    labels: ArrayLike,
    estimator: Estimator = "auto",
    *,
    split: ArrayLike | None = None,
    base: float = 2,
    bins: int | None = None,
    clusters: int = 20,
    components: int = 5,
    permutations: int | None = None,
    bootstrap: int = 100,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """How much redundant, unique and synergistic information two modalities hold about a label.

    Args:
        features1, features2: (N, …) numbers, flattened a row.
        labels: (N,), two values or more.
        estimator: ``auto``, ``cvx``, ``batch`` or ``posterior``.
        split: (N,) ``"train"``, ``"valid"`` or ``"test"``; at random, 60/20/20 of each class, unless given.
        base: of the logarithm; 2 gives bits.
        bins: of the histogram of a single feature (``cvx``); the cube root of the training rows unless given.
        clusters: symbols a modality for features of several dimensions (``cvx``).
        components: principal components that are clustered (``cvx``).
        permutations: of the labels for the bias; 0 corrects nothing. :data:`PERMUTATIONS` unless given.
        bootstrap: draws for the intervals; 0 gives the value itself for both ends.
        confidence: of the intervals.
        seed: of everything that is drawn.

    Raises:
        DataError, UsageError: see :func:`braidbench_interactions.samples.check_samples`.

    Warns:
        SparseWarning: fewer samples than cells.
    """
    samples = check_samples(features1, features2, labels, split, seed)
    options = Options(
        estimator, base, bins, clusters, components, permutations, bootstrap, confidence, seed
    )  # fmt: skip
    return estimate_samples(samples, options)


@on_one_thread
def estimate_samples(samples: Samples, options: Options, posteriors: Posteriors | None = None) -> Estimate:
    """:func:`estimate` of checked samples; ``posteriors`` if they are fitted already."""
    name, evidence, losses = _choose(samples, options, posteriors)
    scale = check_base(options.base)
    rng = np.random.default_rng([options.seed, 1])

    values, gap = evidence.terms(np.ones((1, evidence.rows)))
    raw = values[0]
    repeats = PERMUTATIONS[name] if options.permutations is None else options.permutations
    null = np.zeros(4)
    for _ in range(repeats):
        again = _refit(evidence, samples.relabelled(rng), options)
        null += np.maximum(again.terms(np.ones((1, again.rows)))[0][0], 0.0) / repeats
    corrected = np.maximum(raw - null, 0.0)
    low, high = _interval(evidence, corrected, options, rng)

    notes = []
    if evidence.cells > evidence.rows:
        notes.append(
            f"{evidence.rows:,} samples for {evidence.cells:,} cells: the estimate before correction is biased, by "
            f"{null.sum() / scale:.3f} {unit(options.base)} in all (synergy {null[3] / scale:.3f})"
            if repeats
            else f"{evidence.rows:,} samples for {evidence.cells:,} cells: the estimate is biased, and not corrected"
        )
        warnings.warn(notes[-1], SparseWarning, stacklevel=4)
    redundancy, unique1, unique2, synergy = (
        Term(float(value), float(lower), float(upper), float(before), float(bias))
        for value, lower, upper, before, bias in zip(
            corrected / scale, low / scale, high / scale, raw / scale, null / scale, strict=True
        )
    )
    frequency = np.bincount(samples.labels) / len(samples)
    return Estimate(
        redundancy,
        unique1,
        unique2,
        synergy,
        estimator=name,
        base=options.base,
        confidence=options.confidence,
        gap=gap / scale,
        rows=evidence.rows,
        cells=evidence.cells,
        classes=samples.classes,
        label_entropy=float(entropy(frequency, 1)) / scale,
        notes=tuple(notes),
        details={**evidence.details, **losses, "permutations": repeats},
    )


def _interval(
    evidence: Evidence, value: FloatArray, options: Options, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    if not options.bootstrap:
        return value, value
    evidence = evidence.quicker()
    equal = np.full(evidence.rows, 1.0 / evidence.rows)
    weights = rng.multinomial(evidence.rows, equal, options.bootstrap).astype(np.float64)
    drawn = evidence.terms(weights)[0]
    scatter = drawn - drawn.mean(axis=0)
    tail = (1.0 - options.confidence) / 2
    low, high = np.quantile(scatter, [tail, 1.0 - tail], axis=0)
    return np.maximum(value + low, 0.0), np.maximum(value + high, 0.0)


def _choose(
    samples: Samples, options: Options, posteriors: Posteriors | None
) -> tuple[str, Evidence, dict[str, Any]]:  # fmt: skip
    """The estimator's name, the estimator, and for ``auto`` the validation losses that decided."""
    if options.estimator == "cvx":
        return "cvx", CvxEvidence.fit(samples, options), {}
    fitted = posteriors if posteriors is not None else fit_posteriors(samples, options.seed)
    if options.estimator == "batch":
        return "batch", BatchEvidence.fit(fitted, options), {}
    if options.estimator == "posterior":
        return "posterior", PosteriorEvidence.fit(fitted, options), {}
    symbols = CvxEvidence.fit(samples, options)
    unit_loss = 1.0 / check_base(options.base)
    losses = {"posterior": sum(fitted.losses) * unit_loss, "cvx": sum(symbols.validation_losses(samples)) * unit_loss}
    decided = {"validation_loss": losses}
    if losses["posterior"] <= losses["cvx"]:
        return "posterior", PosteriorEvidence.fit(fitted, options), decided
    return "cvx", symbols, decided


def _refit(evidence: Evidence, samples: Samples, options: Options) -> Evidence:
    """The same procedure on other labels, with what it chose before: symbols, or families of classifiers."""
    if isinstance(evidence, CvxEvidence):
        return evidence.with_labels(samples.labels)
    assert isinstance(evidence, PosteriorEvidence | BatchEvidence)
    posteriors = fit_posteriors(samples, options.seed, evidence.posteriors.classifiers)
    return type(evidence).fit(posteriors, options)
