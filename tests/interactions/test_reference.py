"""The conic reference estimator, and the exact solvers against it."""

from __future__ import annotations

import warnings

import cvxpy
import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench_interactions import pid, pid_cvx
from braidbench_interactions.decomposition import UncertifiedWarning

TERMS = ("redundancy", "unique1", "unique2", "synergy")


@pytest.mark.parametrize("labels", [2, None], ids=["closed-form", "interior-point"])
def test_exact_solvers_agree_with_clarabel(draw, labels):
    """Within what both certify: the intervals [dual, primal] overlap, and the terms differ by at most their lengths."""
    rng = np.random.default_rng(11)
    for _ in range(100):
        p = draw(rng, labels=labels, largest=8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncertifiedWarning)
            reference = pid_cvx(p)
        exact = pid(p)
        assert reference.dual <= exact.primal + 1e-12
        assert exact.dual <= reference.primal + 1e-12
        assert reference.gap < 1e-5
        for term in TERMS:
            assert getattr(reference, term) == pytest.approx(
                getattr(exact, term), abs=reference.gap + exact.gap + 1e-12
            )


def test_is_reported_as_what_it_is():
    p = np.random.default_rng(0).random((4, 3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        result = pid_cvx(p, base=np.e)
    assert result.solver == "clarabel"
    assert result.unit == "nats"
    assert result.iterations > 0
    assert result.q.shape == p.shape
    np.testing.assert_allclose(result.q.sum(0), p.sum(0) / p.sum(), atol=1e-12)


@pytest.mark.skipif("SCS" not in cvxpy.installed_solvers(), reason="SCS is not installed")
def test_inaccurate_solver_is_not_certified():
    p = np.random.default_rng(1).random((5, 5, 2))
    with pytest.warns(UncertifiedWarning, match="scs"):
        result = pid_cvx(p, solver="scs")
    assert not result.certified
    assert result.dual <= pid(p).primal <= result.primal + 1e-12


def test_unknown_solver():
    with pytest.raises(UsageError, match=r"'nonesuch' is not installed; installed: .*CLARABEL"):
        pid_cvx(np.ones((2, 2, 2)), solver="nonesuch")


@pytest.mark.skipif("OSQP" not in cvxpy.installed_solvers(), reason="OSQP is not installed")
def test_solver_that_cannot_is_not_replaced():
    with pytest.raises(UsageError, match="OSQP failed"):
        pid_cvx(np.random.default_rng(0).random((2, 2, 2)), solver="OSQP")


def test_bad_input():
    with pytest.raises(UsageError, match="below zero"):
        pid_cvx(-np.ones((2, 2, 2)))
