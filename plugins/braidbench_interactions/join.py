"""The least informative experiment that tells at least what each of several modalities tells, for two classes.

A modality about a label of two values is an experiment, given by the joint table p(x, y), (n, 2). Experiments are
ordered by their potentials V(t) = E[(t − π)⁺], π = p(y = 1 | x); the join has the largest of the potentials (proof in
:mod:`braidbench_interactions.hull`), and its information is the union information of the modalities, however many:
any q with the marginals p(x_i, y) dominates each X_i, hence the join, and the garblings from the join to each X_i,
drawn independently, attain it. Time and memory grow as n log n and n, so samples of posteriors may be used as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from braidbench_interactions.joint import FloatArray, mutual_information


def join(first: FloatArray, second: FloatArray) -> FloatArray:
    """The table p(j, y) of the join of p(x1, y), (n1, 2), and p(x2, y), (n2, 2): at most 2 (n1 + n2) rows."""
    mass = np.concatenate([first, second]).sum(axis=1)
    posterior = np.concatenate([first, second])[:, 1] / np.where(mass > 0, mass, 1.0)
    of_first = np.arange(len(mass)) < len(first)
    order = np.argsort(posterior, kind="stable")
    order = order[mass[order] > 0]
    kinks, mass, of_first = posterior[order], mass[order], of_first[order]

    slope1 = np.cumsum(np.where(of_first, mass, 0.0))
    slope2 = np.cumsum(np.where(of_first, 0.0, mass))
    gap = np.diff(kinks)
    ahead = np.concatenate([[0.0], np.cumsum((slope1 - slope2)[:-1] * gap)])  # V1 − V2 at each kink
    left, right = ahead[:-1], ahead[1:]
    one_left = (left > 0) | ((left == 0) & (right >= 0))
    one_right = (right > 0) | ((right == 0) & (left >= 0))
    crosses = one_left != one_right
    share = np.divide(left, left - right, out=np.ones_like(left), where=crosses)

    # Two pieces an interval, before and after the crossing; the jumps of the slope between pieces are the masses.
    points = np.empty(2 * len(kinks) - 1)
    points[::2], points[1::2] = kinks, kinks[:-1] + share * gap
    slopes = np.empty(2 * len(kinks))
    slopes[0], slopes[-1] = 0.0, 1.0
    slopes[1:-1:2] = np.where(one_left, slope1[:-1], slope2[:-1])
    slopes[2:-1:2] = np.where(one_right, slope1[:-1], slope2[:-1])
    masses = np.maximum(np.diff(slopes), 0.0)
    return np.stack([masses * (1.0 - points), masses * points], axis=1)


def union_information(tables: Sequence[FloatArray]) -> float:
    """I∪ of two or more modalities about a label of two values, in nats.

    Args:
        tables: p(x_i, y) of each modality, (n_i, 2), with one and the same p(y); each sums to one.
    """
    return float(mutual_information(reduce(join, tables)))
