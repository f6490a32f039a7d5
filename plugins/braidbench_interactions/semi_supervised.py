"""What labelled unimodal and unlabelled paired rows of a dataset say, beside what paired labels would (thesis 6.4).

The bounds need small alphabets, so features become clusters (thesis 6.3.2, remark). They hold without exception for
the counted distribution of the clusters. Of the features themselves only the lower bound on the information holds:
clusters know at most what features know, and a model of the features may do better than any model of the clusters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from braidbench_interactions.bounds import SynergyBounds, synergy_bounds
from braidbench_interactions.decomposition import pid
from braidbench_interactions.discretise import clustered_joint
from braidbench_interactions.estimation import Estimate, estimate_samples
from braidbench_interactions.evidence import Options
from braidbench_interactions.joint import FloatArray, entropy
from braidbench_interactions.performance import PerformanceBounds, bayes_accuracy, performance_bounds
from braidbench_interactions.posterior import fit_posteriors
from braidbench_interactions.samples import TEST, Samples


def bound_clusters(samples: Samples, clusters: int = 20, seed: int = 0) -> tuple[FloatArray, SynergyBounds]:
    """The counted p[x1, x2, y] of all rows' clusters, and the bounds in bits that its three pairwise marginals give."""
    joint = clustered_joint(samples, clusters, seed)
    # From here on nothing knows which label a pair has: three pairwise tables are all there is.
    return joint, synergy_bounds(joint.sum(axis=1), joint.sum(axis=0), joint.sum(axis=2))


@dataclass(frozen=True)
class Synergy:
    """A row of table 6.1 for one pair of modalities, in bits."""

    bounds: SynergyBounds
    """Of the clusters."""
    clusters: float
    """S of the clusters' counted distribution, labels of pairs known: what the bounds are about."""
    estimate: Estimate
    """S of the features, corrected for bias."""
    rows: int
    """That were counted."""
    cells: int
    """Of the counted distribution: with more cells than rows its S is mostly bias, which the bounds do not know."""


def synergy(samples: Samples, clusters: int = 20, seed: int = 0) -> Synergy:
    """Bounds on S beside S, as in table 6.1."""
    joint, bounds = bound_clusters(samples, clusters, seed)
    estimate = estimate_samples(samples, Options("auto", clusters=clusters, bootstrap=0, seed=seed))
    return Synergy(bounds, pid(joint).synergy, estimate, len(samples), joint.size)


@dataclass(frozen=True)
class Performance:
    """Bounds on the best accuracy of one pair of modalities, for table 6.3."""

    clusters: PerformanceBounds
    """For models of the clusters, from three pairwise tables."""
    clusters_accuracy: float
    """Of the best model of the clusters, which the bounds of the clusters enclose; needs paired labels."""
    union: float
    """For models of the features, from labelled unimodal rows alone: at least this. I(X1, X2; Y) is at least the union
    information of both posteriors, and no model of both need be worse than the better one of one."""
    posterior: PerformanceBounds
    """For models of the features, from the estimate of I(X1, X2; Y), which needs paired labels; as good as it is."""
    information: float
    """That estimate, in bits."""
    test_rows: int


def performance(samples: Samples, clusters: int = 20, seed: int = 0) -> Performance:
    """Bounds on accuracy from clusters and from posteriors."""
    joint, bounds = bound_clusters(samples, clusters, seed)
    fitted = fit_posteriors(samples, seed)
    found = estimate_samples(samples, Options("posterior", bootstrap=0, base=math.e, seed=seed), fitted)
    unimodal = fitted.tables(np.ones(len(fitted.labels)))[:2]
    label = unimodal[0].sum(axis=0)
    most = float(entropy(label, 1))
    at_least = min(float(found.values[:3].sum()), most)
    floor = max(float(bayes_accuracy(table)) for table in unimodal)
    return Performance(
        clusters=bounds.performance(),
        clusters_accuracy=float(bayes_accuracy(joint.reshape(-1, samples.classes))),
        union=float(performance_bounds(at_least, label, base=math.e, accuracy_floor=floor).lower),
        posterior=performance_bounds(min(found.total, most), label, base=math.e, accuracy_floor=floor),
        information=found.total / math.log(2),
        test_rows=int((samples.split == TEST).sum()),
    )
