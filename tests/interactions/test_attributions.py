"""Attributions of functions whose Shapley values, path integrals and correlations are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from braidbench.data import Column, Split
from braidbench.errors import DataError, UsageError
from braidbench.model import Output
from braidbench.specs import Modality, Task
from braidbench_interactions.attributions import canonical_correlations, integrated_gradients, shapley

# --- canonical correlations -------------------------------------------------------------------------------------------


def test_known_correlations_are_recovered():
    rho = (0.9, 0.5, 0.0)
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200_000, 6))
    x = z[:, :3]
    y = np.array(rho) * x + np.sqrt(1 - np.array(rho) ** 2) * z[:, 3:]
    mixed = [values @ rng.normal(size=(3, 3)) for values in (x, y)]
    train = np.arange(len(z)) % 2 == 0
    np.testing.assert_allclose(canonical_correlations(*mixed, train, ridge=1e-9), rho, atol=0.01)


def test_they_are_the_generalised_eigenvalues():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    y[:, 0] += x[:, 1]
    found = canonical_correlations(x, y, ridge=1e-12)
    a, b = x - x.mean(0), y - y.mean(0)
    left = np.block([[np.zeros((3, 3)), a.T @ b], [b.T @ a, np.zeros((2, 2))]])
    right = scipy.linalg.block_diag(a.T @ a, b.T @ b)
    expected = np.sort(scipy.linalg.eigh(left, right, eigvals_only=True))[::-1][:2]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_chance_does_not_correlate_on_held_out_rows():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(400, 60)), rng.normal(size=(400, 60))
    train = np.arange(400) < 200
    assert canonical_correlations(x[train], y[train])[0] > 0.8, "on the rows that they were fitted on"
    assert np.abs(canonical_correlations(x, y, train)).mean() < 0.15
    assert canonical_correlations(np.ones((9, 2)), rng.normal(size=(9, 2))).tolist() == [0, 0], "constant features"
    with pytest.raises(DataError, match="finite"):
        canonical_correlations([[np.nan]], [[1.0]])
    with pytest.raises(UsageError, match="rows differ"):
        canonical_correlations(x, y[:3])


# --- attributions -----------------------------------------------------------------------------------------------------


class _Function(nn.Module):
    """A regression that is a function of two vectors."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, inputs, lengths):
        value = self.function(inputs["a"], inputs["b"])[:, None]
        return Output(value, value, {})


def _trained(function, rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    modalities = (Modality("a", "tabular", (3,)), Modality("b", "tabular", (2,)))

    def split(n):
        columns = {m.name: Column.of(torch.randn((n, *m.shape), generator=generator) + 1) for m in modalities}
        return Split(columns, torch.zeros(n), modalities)

    splits = {"train": split(50), "test": split(rows)}
    task = Task("r", "regression", ("mse",))
    recipe = SimpleNamespace(modalities=modalities, task=task, row="f", preprocessing=None)
    return SimpleNamespace(recipe=recipe, model=_Function(function), split=splits.__getitem__)


def test_shapley_values_of_a_sum_are_its_parts_and_it_has_no_interaction():
    trained = _trained(lambda a, b: a.sum(1) + 3 * b[:, 0])
    found = shapley(trained, background=50)
    train, test = trained.split("train"), trained.split("test")
    a = test.columns["a"].all().sum(1) - train.columns["a"].all().sum(1).mean()
    b = 3 * (test.columns["b"].all()[:, 0] - train.columns["b"].all()[:, 0].mean())
    assert found.first == pytest.approx(float(a.abs().mean()), rel=1e-5)
    assert found.second == pytest.approx(float(b.abs().mean()), rel=1e-5)
    assert found.interaction == pytest.approx(0, abs=1e-5)


def test_shapley_interaction_of_a_product_by_hand():
    """Of f = a b with independent background: v12 − v1 − v2 + v0 = (a − ā)(b − b̄) + what a and b share there."""
    trained = _trained(lambda a, b: a[:, 0] * b[:, 0])
    found = shapley(trained, background=50)
    a, b = (trained.split("test").columns[name].all()[:, 0].double() for name in "ab")
    ma, mb = (trained.split("train").columns[name].all()[:, 0].double() for name in "ab")
    v0, v1, v2, v12 = (ma * mb).mean(), a * mb.mean(), ma.mean() * b, a * b
    assert found.interaction == pytest.approx(float((v12 - v1 - v2 + v0).abs().mean()), rel=1e-5)
    assert found.first == pytest.approx(float(((v1 - v0 + v12 - v2) / 2).abs().mean()), rel=1e-5)
    assert found.rows == 40


def test_integrated_gradients_of_a_cubic_by_hand():
    """f = a² b along a straight line from b: ∫ 2 a(t) b(t) dt (a₁ − a₀) and ∫ a(t)² dt (b₁ − b₀)."""
    trained = _trained(lambda a, b: a[:, 0] ** 2 * b[:, 0])
    found = integrated_gradients(trained, steps=8)
    a1, b1 = (trained.split("test").columns[name].all()[:, 0].double().numpy() for name in "ab")
    a0, b0 = (float(trained.split("train").columns[name].all()[:, 0].double().mean()) for name in "ab")
    t = np.linspace(0, 1, 20_001)[:, None]
    a, b = a0 + t * (a1 - a0), b0 + t * (b1 - b0)
    first = np.trapezoid(2 * a * b, t, axis=0) * (a1 - a0)
    second = np.trapezoid(a**2, t, axis=0) * (b1 - b0)
    np.testing.assert_allclose(first + second, a1**2 * b1 - a0**2 * b0, rtol=1e-6)
    assert found.first == pytest.approx(np.abs(first).mean(), rel=1e-4)
    assert found.second == pytest.approx(np.abs(second).mean(), rel=1e-4)
    together = a1**2 * b1 - a1**2 * b0 - a0**2 * b1 + a0**2 * b0
    assert found.interaction == pytest.approx(np.abs(together).mean(), rel=1e-4)


def test_a_model_of_one_modality_is_refused():
    trained = _trained(lambda a, b: a[:, 0])
    trained.recipe.modalities = trained.recipe.modalities[:1]
    with pytest.raises(UsageError, match="attributions here are to two"):
        shapley(trained)
