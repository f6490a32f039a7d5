"""The other information measures, on joints where their values and their faults are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench_interactions.measures import (
    co_training,
    correlational_importance,
    i_min,
    informations,
    whole_minus_sum,
)

ALL = (i_min, whole_minus_sum, correlational_importance, co_training)


def truth_table(function, labels=2) -> np.ndarray:
    p = np.zeros((2, 2, labels))
    for x1 in (0, 1):
        for x2 in (0, 1):
            p[x1, x2, function(x1, x2)] = 0.25
    return p


XOR, AND, PAIR = (
    truth_table(lambda a, b: a ^ b),
    truth_table(lambda a, b: a & b),
    truth_table(lambda a, b: 2 * a + b, 4),
)
COPY = np.eye(2)[:, :, None] * np.eye(2)[:, None, :] / 2


@pytest.mark.parametrize(
    ("measure", "p", "expected"),
    [
        (i_min, XOR, (0, 0, 0, 1)),
        (i_min, AND, (0.3113, 0, 0, 0.5)),
        (i_min, PAIR, (1, 0, 0, 1)),  # its known fault: no bit of X1 is in X2
        (i_min, COPY, (1, 0, 0, 0)),
        (whole_minus_sum, XOR, (0, 0, 0, 1)),
        (whole_minus_sum, AND, (0, 0.3113, 0.3113, 0.1887)),
        (whole_minus_sum, COPY, (0, 1, 1, -1)),  # redundancy counted as negative synergy
        (co_training, XOR, (-1, 1, 1, 0)),  # synergy counted as negative redundancy
        (co_training, COPY, (1, 0, 0, 0)),
        (correlational_importance, XOR, (0, 0, 0, 1)),
        (correlational_importance, PAIR, (0, 1, 1, 0)),
        (correlational_importance, COPY, (1, 0, 0, 0)),
    ],
)
def test_known_values(measure, p, expected):
    assert tuple(measure(p)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", ALL)
def test_identities_and_stacks(measure):
    p = np.random.default_rng(0).dirichlet(np.full(24, 0.3), 10).reshape(2, 5, 3, 4, 2)
    redundancy, unique1, unique2, synergy = measure(p, base=math.e)
    every = informations(p, base=math.e)
    assert redundancy.shape == (2, 5)
    np.testing.assert_allclose(redundancy + unique1, every.x1_y, atol=1e-12)
    np.testing.assert_allclose(redundancy + unique2, every.x2_y, atol=1e-12)
    np.testing.assert_allclose(redundancy + unique1 + unique2 + synergy, every.x1x2_y, atol=1e-12)
    np.testing.assert_allclose(redundancy - synergy, every.coinformation, atol=1e-12)
    np.testing.assert_allclose(measure(p[1, 2]).synergy * math.log(2), synergy[1, 2], atol=1e-12)
    swapped = measure(p.swapaxes(2, 3), base=math.e)
    np.testing.assert_allclose(swapped.unique1, unique2, atol=1e-12)


def test_informations_by_definition():
    p = np.random.default_rng(1).dirichlet(np.full(24, 0.5)).reshape(3, 4, 2)

    def information(table):
        ratio = table / (table.sum(0, keepdims=True) * table.sum(1, keepdims=True))
        return float((table * np.log2(ratio)).sum())

    every = informations(p)
    assert every.x1_y == pytest.approx(information(p.sum(1)))
    assert every.x2_y == pytest.approx(information(p.sum(0)))
    assert every.x1_x2 == pytest.approx(information(p.sum(2)))
    assert every.x1x2_y == pytest.approx(information(p.reshape(12, 2)))
    mass = p.sum((0, 1))
    given = sum(m * information(p[..., y] / m) for y, m in enumerate(mass))
    assert every.x1_x2_given_y == pytest.approx(given)
    mass = p.sum((0, 2))
    assert every.x1_y_given_x2 == pytest.approx(sum(m * information(p[:, j] / m) for j, m in enumerate(mass)))
    mass = p.sum((1, 2))
    assert every.x2_y_given_x1 == pytest.approx(sum(m * information(p[i] / m) for i, m in enumerate(mass)))


@pytest.mark.parametrize("measure", [*ALL, informations])
def test_bad_input(measure):
    with pytest.raises(UsageError, match="below zero"):
        measure(-np.ones((2, 2, 2)))
    with pytest.raises(UsageError, match="axes"):
        measure(np.ones((2, 2)))
    with pytest.raises(UsageError, match="base"):
        measure(np.ones((2, 2, 2)), base=1)
