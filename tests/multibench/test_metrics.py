"""Scores against scikit-learn, scipy and cases worked by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sk

from braidbench.errors import DataError
from braidbench_multibench import metrics


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def probabilities(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    raw = rng.random((rows, classes))
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_classification_against_scikit_learn(rng: np.random.Generator, classes: int) -> None:
    p, y = probabilities(rng, 200, classes), rng.integers(0, classes, 200)
    decided = p.argmax(axis=1)
    assert metrics.accuracy(p, y) == pytest.approx(sk.accuracy_score(y, decided))
    assert metrics.macro_f1(p, y) == pytest.approx(sk.f1_score(y, decided, average="macro"))
    assert metrics.micro_f1(p, y) == pytest.approx(metrics.accuracy(p, y))
    if classes == 2:
        assert metrics.auroc(p, y) == pytest.approx(sk.roc_auc_score(y, p[:, 1]))
        assert metrics.auprc(p, y) == pytest.approx(sk.average_precision_score(y, p[:, 1]))
    else:
        assert metrics.auroc(p, y) == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr", average="macro"))
        one_hot = np.eye(classes)[y]
        assert metrics.auprc(p, y) == pytest.approx(sk.average_precision_score(one_hot, p, average="macro"))


def test_multilabel_against_scikit_learn(rng: np.random.Generator) -> None:
    p, y = rng.random((100, 4)), rng.integers(0, 2, (100, 4))
    decided = (p >= 0.5).astype(int)
    assert metrics.macro_f1(p, y) == pytest.approx(sk.f1_score(y, decided, average="macro"))
    assert metrics.micro_f1(p, y) == pytest.approx(sk.f1_score(y, decided, average="micro"))
    assert metrics.auroc(p, y) == pytest.approx(sk.roc_auc_score(y, p, average="macro"))
    assert metrics.auprc(p, y) == pytest.approx(sk.average_precision_score(y, p, average="macro"))
    # Targets come back from the cache as floats.
    assert metrics.micro_f1(p.astype(np.float32), y.astype(np.float32)) == metrics.micro_f1(p, y)


def test_worked_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])
    y = np.array([0, 0, 1, 1])
    # Three of four right; class 0: P 2/3, R 1, F1 .8; class 1: P 1, R 1/2, F1 2/3.
    assert metrics.accuracy(p, y) == 0.75
    assert metrics.macro_f1(p, y) == pytest.approx((0.8 + 2 / 3) / 2)
    # Of the four pairs (positive, negative) only (.35, .4) is out of order.
    assert metrics.auroc(p, y) == 0.75
    # Positives stand first and third by score: (1/1 + 2/3) / 2.
    assert metrics.auprc(p, y) == pytest.approx((1 + 2 / 3) / 2)


def test_regression(rng: np.random.Generator) -> None:
    p, y = rng.normal(size=(50, 1)), rng.normal(size=(50, 1))
    assert metrics.mse(p, y) == pytest.approx(sk.mean_squared_error(y, p))
    assert metrics.mae(p, y) == pytest.approx(sk.mean_absolute_error(y, p))
    assert metrics.pearson(p, y) == pytest.approx(scipy.stats.pearsonr(p[:, 0], y[:, 0]).statistic)
    assert metrics.pearson(p, 3 - 2 * p) == pytest.approx(-1)
    # A target without its trailing axis is the same target, not a broadcast against it.
    assert metrics.mse(p, y[:, 0]) == metrics.mse(p, y)
    two = np.hstack([p, y])
    expected = np.mean([scipy.stats.pearsonr(two[:, k], two[::-1][:, k]).statistic for k in (0, 1)])
    assert metrics.pearson(two, two[::-1]) == pytest.approx(expected)


def test_pearson_of_large_and_small_numbers(rng: np.random.Generator) -> None:
    p, y = rng.normal(size=(50, 1)), rng.normal(size=(50, 1))
    expected = metrics.pearson(p, y)
    assert metrics.pearson(1e200 * p, y) == pytest.approx(expected)
    assert metrics.pearson(1e-200 * p, y) == pytest.approx(expected)


def test_undefined_is_nan_without_a_warning() -> None:
    p = np.array([[0.2, 0.8], [0.6, 0.4]])
    three = np.full((3, 3), 1 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for score in (metrics.auroc, metrics.auprc):
            assert math.isnan(score(p, np.array([1, 1])))
            assert math.isnan(score(three, np.array([0, 1, 1])))
            assert math.isnan(score(p, np.array([[0, 1], [0, 0]])))
        assert math.isnan(metrics.macro_f1(np.zeros((2, 2)), np.zeros((2, 2))))
        assert math.isnan(metrics.micro_f1(np.zeros((2, 2)), np.zeros((2, 2))))
        assert math.isnan(metrics.pearson(np.full((5, 1), 0.1), np.arange(5.0)[:, None]))
        assert math.isnan(metrics.pearson(np.arange(5.0)[:, None], np.full((5, 1), 0.1)))
        # A class that is neither there nor predicted does not count; one that is missed counts as zero.
        assert metrics.macro_f1(np.eye(3)[[0, 1]], np.array([0, 1])) == 1.0
        assert metrics.macro_f1(np.eye(3)[[0, 0]], np.array([0, 1])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "micro_f1", "auroc", "auprc", "mse", "mae", "pearson"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_is_an_error(name: str, bad: float) -> None:
    regression = name in ("mse", "mae", "pearson")
    p = np.array([[0.1], [bad]]) if regression else np.array([[0.1, 0.9], [bad, 0.5]])
    y = np.array([[0.0], [1.0]]) if regression else np.array([0, 1])
    with pytest.raises(DataError, match="row 1 is not finite"):
        getattr(metrics, name)(p, y)


def test_shapes_that_do_not_fit_are_errors() -> None:
    with pytest.raises(DataError, match="as many targets"):
        metrics.accuracy(np.eye(2), np.array([0]))
    with pytest.raises(DataError, match="do not fit"):
        metrics.auroc(np.eye(2), np.ones((2, 3)))
    with pytest.raises(DataError, match="not labels"):
        metrics.accuracy(np.eye(2), np.eye(2))
