"""The alignment network: marginals, the bound it gives, and stability where numbers are extreme."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from braidbench_interactions import pid, truth  # noqa: E402
from braidbench_interactions.alignment import (  # noqa: E402
    Alignment,
    batch_tables,
    batch_union,
    information,
    sinkhorn,
    train_alignment,
)
from braidbench_interactions.join import union_information  # noqa: E402
from braidbench_interactions.joint import mutual_information  # noqa: E402


def _tables(rows=400, classes=2, seed=0, sharp=2.0):
    """p(row, y) of two modalities that know different things."""
    rng = np.random.default_rng(seed)
    logits = sharp * rng.normal(size=(2, rows, classes))
    posteriors = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return batch_tables(posteriors[0] / rows, posteriors[1] / rows, np.arange(rows))


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_sinkhorn_has_both_marginals_and_no_nan(classes, size):
    """Scores of ±300 overflow without logarithms, in either precision."""
    first, second = (torch.from_numpy(table) for table in _tables(40, classes))
    scores = size * torch.randn(classes, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = sinkhorn(scores, first, second, sweeps=2_000, tolerance=1e-9).exp()
    assert torch.isfinite(q).all()
    assert q.sum(2).T.numpy() == pytest.approx(first.numpy(), abs=1e-9)
    # Rows are exact; columns of nearly deterministic scores converge slowly.
    assert np.abs(q.sum(1).T.numpy() - second.numpy()).sum() < (1e-8 if size == 1.0 else 0.2)


def test_information_is_that_of_the_coupling():
    q = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = q / q.sum()
    label = q.sum((1, 2))
    expected = float(mutual_information(q.permute(1, 2, 0).reshape(36, 2).numpy()))
    entropy = -float((label * label.log()).sum())
    assert float(information(q.log())) + entropy == pytest.approx(expected, abs=1e-12)


def test_training_approaches_the_union_information_from_above():
    first, second = _tables()
    exact = union_information([first, second])
    rows = np.arange(200)
    untrained = batch_union(Alignment(2), *batch_tables(first, second, rows))
    info1, info2, primal, dual = batch_union(
        train_alignment(first, second, steps=100, batch=48), *batch_tables(first, second, rows)
    )
    assert dual <= primal < untrained[2]
    assert primal - dual < 0.03
    assert max(info1, info2) <= dual
    assert dual == pytest.approx(exact, abs=0.05)  # of 200 rows instead of 400


def test_the_coupling_is_feasible_for_several_classes():
    """Whatever the network says, what is reported is at least the exact union information."""
    first, second = _tables(12, 3)
    found = pid(first[:, None] * (second / second.sum(axis=0))[None], base=math.e)
    exact = found.redundancy + found.unique1 + found.unique2
    for seed in range(3):
        torch.manual_seed(seed)
        info1, info2, primal, dual = batch_union(Alignment(3), first, second)
        assert primal >= exact - 1e-9
        assert dual == max(info1, info2) <= exact


def test_posteriors_of_zero_and_one():
    """An XOR's modalities: each alone uniform. An AND's: certain for one value."""
    share = 1 / 40
    first = np.repeat([[1.0, 0.0], [0.5, 0.5]], 20, axis=0) * share
    network = train_alignment(first, first, steps=30, batch=40)
    info1, _, primal, _ = batch_union(network, first, first)
    assert math.isfinite(primal)
    assert info1 / math.log(2) == pytest.approx(truth.truth("and").redundancy, abs=1e-6)


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = train_alignment(*_tables(60), steps=3, batch=16)
    assert torch.equal(torch.rand(3), expected)
    two = train_alignment(*_tables(60), steps=3, batch=16)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
