"""Intervals over seeds, paired tests on samples, ranks with their uncertainty. numpy; scipy inside functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds. ``sd`` (n − 1) and the interval are None for one seed: one run says nothing of its spread."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate | None:
    """Mean, standard deviation and Student's t interval of the mean; None without values."""
    array = np.asarray(values, np.float64)
    if array.size == 0:
        return None
    mean = float(array.mean())
    if array.size == 1:
        return Estimate(mean, None, None, None, 1)
    sd = float(array.std(ddof=1))
    half = t_quantile(array.size - 1, level) * sd / math.sqrt(array.size)
    return Estimate(mean, sd, mean - half, mean + half, int(array.size))


def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The two-sided quantile of Student's t: 4.303 for two degrees of freedom at 95 %."""
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, freedom))


def paired_interval(differences: Floats, level: float = LEVEL, seed: int = 0) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of ``differences`` (seeds, samples).

    Both axes are resampled, because a difference has to hold for other seeds and for other samples.
    """
    generator = np.random.default_rng(seed)
    seeds, samples = differences.shape
    means = np.empty(2_000)
    for draw in range(len(means)):
        of_seeds = np.bincount(generator.integers(0, seeds, seeds), minlength=seeds)
        of_samples = np.bincount(generator.integers(0, samples, samples), minlength=samples)
        means[draw] = of_seeds @ differences @ of_samples
    low, high = np.quantile(means / (seeds * samples), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def sign_flip_p(differences: Floats, seed: int = 0) -> float:
    """Two-sided p of the paired permutation test that the differences (n,) are symmetric around zero.

    Exact for up to 16 that are not zero; otherwise from 10,000 random sign patterns, counting the observed one, so that
    p is never 0.
    """
    differences = differences[differences != 0]
    n = len(differences)
    if n == 0:
        return 1.0
    observed = abs(float(differences.sum())) * (1 - 1e-12)
    if n <= 16:
        patterns = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((2 * patterns - 1) @ differences) >= observed).mean())
    generator = np.random.default_rng(seed)
    hits = 1
    for _ in range(10):
        signs = generator.integers(0, 2, (RESAMPLES // 10, n), dtype=np.int8).astype(np.float64) * 2 - 1
        hits += int((np.abs(signs @ differences) >= observed).sum())
    return hits / (RESAMPLES + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. Source: Holm, Scand. J. Statist. 6 (1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return [float(value) for value in adjusted]


def ranks(scores: Floats) -> Floats:
    """Ranks along axis 0 of higher-is-better scores: 1 is best, ties share the better rank, NaN stays NaN."""
    better = (scores[None, ...] > scores[:, None, ...]).sum(axis=1)
    return np.where(np.isnan(scores), np.nan, 1.0 + better)


def rank_intervals(
    scores: Floats, level: float = LEVEL, resamples: int = 1_000, seed: int = 0
) -> list[tuple[int, int]]:
    """Bootstrap intervals of each method's rank by mean over tasks and seeds.

    ``scores`` is (methods, tasks, seeds), higher is better, NaN where a cell is missing. Tasks (where there are some)
    and each task's seeds are resampled together for all methods. Within a task a method is ranked by its mean over the
    drawn seeds it has; over tasks by its mean rank. Nothing is imputed: a method is ranked over the tasks it has.
    """
    generator = np.random.default_rng(seed)
    methods, tasks, seeds = scores.shape
    drawn = np.empty((resamples, methods))
    for draw in range(resamples):
        chosen = generator.integers(0, tasks, tasks) if tasks > 1 else np.zeros(1, int)
        columns = generator.integers(0, seeds, (len(chosen), seeds))
        sample = scores[:, chosen[:, None], columns]
        count = (~np.isnan(sample)).sum(axis=2)
        means = np.where(count > 0, np.nansum(sample, axis=2) / np.maximum(count, 1), np.nan)
        by_task = ranks(means)
        seen = ~np.isnan(by_task)
        mean_rank = np.where(seen.any(axis=1), np.nansum(by_task, axis=1) / np.maximum(seen.sum(axis=1), 1), np.nan)
        drawn[draw] = ranks(-mean_rank)
    intervals = []
    for method in range(methods):
        values = drawn[:, method][~np.isnan(drawn[:, method])]
        if not len(values):
            intervals.append((methods, methods))
            continue
        low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2], method="nearest")
        intervals.append((int(low), int(high)))
    return intervals
