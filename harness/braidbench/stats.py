"""Intervals over seeds, paired tests on samples, ranks with their uncertainty. numpy; scipy inside functions.

Everything here is deterministic: what resamples draws from a generator with a fixed seed. Sources: Davison & Hinkley,
*Bootstrap Methods and their Application* (1997); Owen, *The pigeonhole bootstrap* (2007); Phipson & Smyth,
*Permutation p-values should never be zero* (2010); Holm, *A simple sequentially rejective multiple test procedure*
(1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
RANK_RESAMPLES = 1_000

TIE = 1e-12
"""Relative difference up to which two means are equal: what the order of a sum can change, and no more."""


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
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def paired_interval(differences: Floats, level: float = LEVEL, seed: int = 0) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of ``differences`` (seeds, samples).

    Both axes are resampled, each on its own (Owen's pigeonhole bootstrap), because a difference has to hold for other
    seeds and for other samples. Of n seeds n − 1 are drawn: seeds are few, and drawing n would understate their
    variance by the factor (n − 1) / n (Davison & Hinkley, 2.3 and 3.7). One seed alone says nothing about others.
    """
    generator = np.random.default_rng(seed)
    seeds, samples = differences.shape
    drawn_seeds = max(1, seeds - 1)
    means = np.empty(2_000)
    for draw in range(len(means)):
        of_seeds = np.bincount(generator.integers(0, seeds, drawn_seeds), minlength=seeds)
        of_samples = np.bincount(generator.integers(0, samples, samples), minlength=samples)
        means[draw] = of_seeds @ differences @ of_samples
    low, high = np.quantile(means / (drawn_seeds * samples), [0.5 - level / 2, 0.5 + level / 2])
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
    """Ranks along the last axis of higher-is-better scores: 1 is best, equal ones share the better rank (1, 2, 2, 4).

    NaN is missing: it has no rank, and nobody is compared with it. Scores are equal when they differ by no more than
    rounding (``TIE``). Overlapping intervals do not make a tie: overlap is not transitive, so it defines no ranking;
    how far noise decides a rank is what :func:`rank_intervals` says.
    """
    order = np.argsort(-scores, axis=-1, kind="stable")  # NaN goes last
    ordered = np.take_along_axis(scores, order, axis=-1)
    better, worse = ordered[..., :-1], ordered[..., 1:]
    places = np.zeros(scores.shape, np.int64)
    with np.errstate(invalid="ignore"):
        apart = better - worse > TIE * np.maximum(np.abs(better), np.abs(worse))
    places[..., 1:] = np.where(apart, np.arange(1, scores.shape[-1]), 0)
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, np.maximum.accumulate(places, axis=-1) + 1.0, axis=-1)
    return np.where(np.isnan(scores), np.nan, found)


def rank_intervals(
    rows: Sequence[Sequence[float]], level: float = LEVEL, seed: int = 0
) -> list[tuple[int, int] | None]:
    """Bootstrap interval of each row's rank by mean score, from every row's scores over seeds, higher being better.

    Each row's seeds are resampled on their own, n − 1 of n (see :func:`paired_interval`). A row with one seed has no
    interval, for nothing is known of its noise; in the ranking of the others it stays where it is.
    """
    drawn = ranks(_resampled_means(rows, np.random.default_rng(seed)))
    intervals = _rank_quantiles(drawn, level)
    return [interval if len(row) > 1 else None for row, interval in zip(rows, intervals, strict=True)]


def overall_rank_intervals(
    tasks: Sequence[Sequence[Sequence[float]]], level: float = LEVEL, seed: int = 0
) -> list[tuple[int, int] | None]:
    """Bootstrap interval of each method's rank by mean rank, over tasks and seeds.

    ``tasks[t][m]`` are method m's scores over seeds on task t; every method has some on every task. Tasks are drawn
    with replacement, as many as there are, and each one drawn takes a resampling of its seeds of its own. With one task
    this is :func:`rank_intervals`.
    """
    if len(tasks) == 1:
        return rank_intervals(tasks[0], level, seed)
    generator = np.random.default_rng(seed)
    by_task = np.stack([ranks(_resampled_means(task, generator)) for task in tasks])
    total = np.zeros(by_task.shape[1:])
    for _ in tasks:
        task, draw = generator.integers([[len(tasks)], [RANK_RESAMPLES]], size=(2, RANK_RESAMPLES))
        total += by_task[task, draw]
    return [*_rank_quantiles(ranks(-total / len(tasks)), level)]


def _resampled_means(rows: Sequence[Sequence[float]], generator: np.random.Generator) -> Floats:
    """(resamples, rows): means of n − 1 of each row's n scores, drawn with replacement."""
    means = np.empty((RANK_RESAMPLES, len(rows)))
    for place, row in enumerate(rows):
        scores = np.asarray(row, np.float64)
        drawn = generator.integers(scores.size, size=(RANK_RESAMPLES, max(1, scores.size - 1)))
        means[:, place] = scores[drawn].mean(axis=1)
    return means


def _rank_quantiles(drawn: Floats, level: float) -> list[tuple[int, int]]:
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0, method="inverted_cdf")
    return [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
