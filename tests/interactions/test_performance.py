"""Bounds on accuracy from information."""

from __future__ import annotations

import math

import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench_interactions.joint import entropy, mutual_information
from braidbench_interactions.performance import bayes_accuracy, performance_bounds


def tables(count: int, labels: int, seed: int) -> np.ndarray:
    """p(x, y) from nearly deterministic to noise, balanced and not; shape (count, 6, labels)."""
    rng = np.random.default_rng(seed)
    concentration = 10 ** rng.uniform(-2, 0.5, (count, 1, 1))
    p = rng.gamma(concentration, size=(count, 6, labels)) * rng.gamma(0.7, size=(count, 1, labels)) + 1e-300
    return p / p.sum((1, 2), keepdims=True)


@pytest.mark.parametrize("labels", [2, 3, 10])
def test_hold(labels):
    p = tables(5000, labels, labels)
    found = performance_bounds(mutual_information(p), p.sum(1), base=math.e)
    accuracy = bayes_accuracy(p)
    assert (found.lower <= accuracy + 1e-12).all()
    assert (found.upper >= accuracy - 1e-12).all()
    assert (found.lower <= found.upper).all()
    assert (found.lower >= p.sum(1).max(1) - 1e-12).all()
    assert (found.upper <= 1).all()
    # Never looser than theorem 8; and the printed upper bound fails for unbalanced labels.
    assert (found.lower >= found.printed.lower - 1e-12).all()
    assert (found.printed.lower <= accuracy + 1e-12).all()
    if labels == 10:
        assert (found.printed.upper < accuracy).any()
    if labels == 2:
        assert (found.printed.upper >= 1).all()


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_are_attained(labels):
    """Upper: errors spread evenly over the other labels. Lower: posteriors uniform on one label and on two."""
    error = 0.3
    even = np.full(labels, error / (labels - 1))
    even[0] = 1 - error
    circulant = np.stack([np.roll(even, shift) for shift in range(labels)]) / labels
    found = performance_bounds(mutual_information(circulant), circulant.sum(0), base=math.e)
    assert found.upper == pytest.approx(1 - error, abs=1e-9)

    known = np.eye(labels) * 0.6 / labels
    pair = np.stack([np.roll([0.5, 0.5, *[0.0] * (labels - 2)], shift) for shift in range(labels)]) * 0.4 / labels
    mixed = np.concatenate([known, pair])
    found = performance_bounds(mutual_information(mixed), mixed.sum(0), base=math.e)
    assert bayes_accuracy(mixed) == pytest.approx(0.8)
    assert found.lower == pytest.approx(0.8, abs=1e-9)


def test_two_classes_are_hellman_raviv_and_inverse_entropy():
    p = np.array([[0.45, 0.05], [0.1, 0.4]])
    found = performance_bounds(mutual_information(p) / math.log(2), p.sum(0))
    conditional = (entropy(p.sum(0), 1) - mutual_information(p)) / math.log(2)
    assert found.lower == pytest.approx(1 - conditional / 2)
    error = 1 - found.upper
    assert -error * math.log2(error) - (1 - error) * math.log2(1 - error) == pytest.approx(conditional)


def test_labels_without_mass_do_not_count():
    p = tables(50, 3, 0)
    padded = np.concatenate([p, np.zeros((50, 6, 4))], axis=2)
    one, other = (performance_bounds(mutual_information(t), t.sum(1), base=math.e) for t in (p, padded))
    np.testing.assert_allclose(one.upper, other.upper)
    np.testing.assert_allclose(one.lower, other.lower)


def test_interval_of_information_and_floor():
    label = np.array([0.5, 0.5])
    found = performance_bounds(0.2, label, information_upper=0.6, accuracy_floor=0.9)
    assert found.lower == 0.9
    assert found.upper == performance_bounds(0.6, label).upper
    assert found.average == (found.lower + found.upper) / 2


def test_extremes():
    label = np.array([0.7, 0.3])
    nothing = performance_bounds(0.0, label)
    assert nothing.lower == pytest.approx(0.7)
    everything = performance_bounds(entropy(label, 1), label, base=math.e)
    assert (everything.lower, everything.upper) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("information", "label", "message"),
    [
        (0.1, [1.0], "two labels"),
        (0.1, [0.6, 0.6], "not a distribution"),
        (0.1, [-0.1, 1.1], "not a distribution"),
        (0.1, [np.nan, 1.0], "not a distribution"),
        (-0.1, [0.5, 0.5], "between 0 and the entropy"),
        (1.1, [0.5, 0.5], "between 0 and the entropy"),
        (np.inf, [0.5, 0.5], "between 0 and the entropy"),
    ],
)
def test_bad_input(information, label, message):
    with pytest.raises(UsageError, match=message):
        performance_bounds(information, label)


def test_bad_interval():
    with pytest.raises(UsageError, match="below the lower"):
        performance_bounds(0.6, [0.5, 0.5], information_upper=0.2)
