"""The closed form for two labels at sizes where a table of pairs would not fit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from braidbench_interactions import hull
from braidbench_interactions.certificate import log_sum
from braidbench_interactions.join import join


def modalities(n1: int, n2: int, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """p(x1, y) and p(x2, y) of one p(y) each, (count, n, 2), some entries zero."""
    rng = np.random.default_rng(seed)
    label = rng.dirichlet([2, 2], count)
    first, second = (rng.dirichlet(np.full(n, 0.3), (count, 2)).swapaxes(1, 2) for n in (n1, n2))
    return first * label[:, None], second * label[:, None]


@pytest.mark.parametrize("pairs", [1, 7, 40, 1 << 30])
def test_potentials_are_the_same_however_many_pairs_are_measured_at_once(monkeypatch, pairs):
    first, second = modalities(9, 5, 3)
    whole = hull.union(first, second)
    monkeypatch.setattr(hull, "_PAIRS", pairs)
    for one, other in zip(whole, hull.union(first, second), strict=True):
        np.testing.assert_array_equal(one, other)
    assert log_sum(whole.lam, whole.mu).max() <= 1e-12


def test_samples_as_symbols_take_the_memory_of_their_tables():
    """4,000 × 4,000 pairs are 128 MB as one array of doubles; the answer is that of the linear join."""
    first, second = modalities(4000, 4000, 1)
    tracemalloc.start()
    found = hull.union(first, second)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    linear = join(first[0], second[0])
    expected = np.sum(linear * np.log(np.maximum(linear, 1e-300) / np.maximum(linear.sum(1, keepdims=True), 1e-300)))
    assert found.value[0] == pytest.approx(expected, abs=1e-10)
