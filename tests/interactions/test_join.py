"""The join of experiments, and union information, against the exact solver and a conic one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from braidbench_interactions import pid
from braidbench_interactions.join import join, union_information
from braidbench_interactions.joint import mutual_information


def _modalities(rng, number, sizes=(2, 9)):
    """Tables p(x_i, y) of one p(y), some with zeros."""
    label = rng.dirichlet([2, 2])
    tables = []
    for _ in range(number):
        given = rng.dirichlet(np.full(rng.integers(*sizes), 0.5), size=2).T
        tables.append(given * label)
    return tables


def test_two_modalities_are_the_union_of_the_decomposition():
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second = _modalities(rng, 2)
        joint = first[:, None] * (second / second.sum(axis=0))[None]
        found = pid(joint, base=math.e)
        expected = found.redundancy + found.unique1 + found.unique2
        assert union_information([first, second]) == pytest.approx(expected, abs=1e-12)


def test_three_modalities_are_the_least_information_of_any_coupling():
    """Against the definition, min I_q(X1, X2, X3; Y) with fixed (x_i, y) marginals, by a conic solver."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(1)
    for _ in range(3):
        tables = _modalities(rng, 3, (2, 4))
        shape = tuple(len(table) for table in tables)
        q = [cp.Variable(math.prod(shape), nonneg=True) for _ in range(2)]
        index = np.indices(shape).reshape(3, -1)
        constraints = [
            cp.sum(q[y][np.flatnonzero(index[axis] == x)]) == tables[axis][x, y]
            for axis in range(3)
            for x in range(shape[axis])
            for y in range(2)
        ]
        both = q[0] + q[1]
        objective = sum(cp.sum(cp.rel_entr(part, both)) for part in q)
        problem = cp.Problem(cp.Minimize(objective), constraints)
        problem.solve(solver="CLARABEL")
        label = tables[0].sum(axis=0)
        expected = problem.value - (label * np.log(label)).sum()
        assert union_information(tables) == pytest.approx(expected, abs=1e-6)


def test_the_join_tells_at_least_what_each_tells_and_no_more_than_is_needed():
    rng = np.random.default_rng(2)
    for _ in range(100):
        first, second = _modalities(rng, 2)
        joined = join(first, second)
        assert joined.sum(axis=0) == pytest.approx(first.sum(axis=0), abs=1e-12)
        for table in (first, second):
            assert mutual_information(joined) >= mutual_information(table) - 1e-12
            assert mutual_information(join(joined, table)) == pytest.approx(mutual_information(joined), abs=1e-12)


def test_a_modality_that_says_nothing_and_one_that_says_all():
    nothing, everything = np.array([[0.4, 0.6]]), np.array([[0.4, 0.0], [0.0, 0.6]])
    some = np.array([[0.3, 0.1], [0.1, 0.5]])
    assert union_information([nothing, nothing]) == pytest.approx(0, abs=1e-15)
    assert union_information([nothing, some]) == pytest.approx(float(mutual_information(some)), abs=1e-14)
    entropy = -0.4 * math.log(0.4) - 0.6 * math.log(0.6)
    assert union_information([some, everything, nothing]) == pytest.approx(entropy, abs=1e-14)


def test_many_samples_take_little_memory():
    """A posterior a sample is an alphabet of as many symbols: nothing may be made of pairs of them."""
    rng = np.random.default_rng(3)
    p = rng.uniform(size=(2, 200_000))
    tables = [np.stack([1 - values, values], axis=1) / len(values) for values in np.hstack([p, 1 - p])]
    # E[h] of a uniform posterior is 1 / (2 ln 2) bits.
    assert union_information(tables) / math.log(2) == pytest.approx(1 - 1 / (2 * math.log(2)), abs=3e-3)
