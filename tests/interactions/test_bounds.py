"""Bounds on synergy from pairwise marginals: they hold, they are ordered, and they are the values one expects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from braidbench.errors import UsageError
from braidbench_interactions import bounds, pid_batch
from braidbench_interactions.bounds import SynergyBounds, pairwise, synergy_bounds
from braidbench_interactions.joint import entropy

LOWER = ("lower_redundancy", "lower_uniqueness", "lower_minkowski", "lower_chernoff")
UPPER = ("upper", "upper_pairings")


def joints(count: int, shape: tuple[int, int, int], seed: int = 0, sparse: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    concentration = 10 ** rng.uniform(-1.5, 0.5, count) if sparse else np.ones(count)
    p = rng.gamma(concentration[:, None], size=(count, math.prod(shape))) + 1e-300
    if sparse:
        p *= rng.random(p.shape) >= 0.4
        p[np.arange(count), rng.integers(0, p.shape[1], count)] += 0.1
    return (p / p.sum(1, keepdims=True)).reshape(count, *shape)


def violations(found: SynergyBounds, synergy: np.ndarray) -> dict[str, float]:
    below = {name: float((getattr(found, name) - synergy).max()) for name in LOWER}
    return below | {name: float((synergy - getattr(found, name)).max()) for name in UPPER}


class TestNoBoundIsViolated:
    def test_figure_6_2(self):
        """100,000 points of the simplex of 2×2×2: none violated, the mean gaps as measured."""
        p = joints(100_000, (2, 2, 2))
        synergy = pid_batch(p).synergy
        found = synergy_bounds(*pairwise(p))
        assert max(violations(found, synergy).values()) <= 1e-9
        gaps = {name: float(np.abs(getattr(found, name) - synergy).mean()) for name in (*LOWER, *UPPER)}
        assert gaps == pytest.approx(
            {
                "lower_redundancy": 0.050,
                "lower_uniqueness": 0.136,
                "lower_minkowski": 0.072,
                "lower_chernoff": 0.070,
                "upper": 0.147,
                "upper_pairings": 0.626,
            },
            abs=2e-3,
        )
        # With 1 for its constant theorem 5 fails.
        printed = found.disagreement - np.maximum(found.unique1, found.unique2)
        assert 0.02 < (printed > synergy).mean() < 0.05
        performance = found.performance()
        accuracy = p.reshape(len(p), 4, 2).max(2).sum(1)
        assert (performance.lower <= accuracy + 1e-12).all()
        assert (performance.upper >= accuracy - 1e-12).all()

    @pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
    @pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 2), (2, 3, 4), (4, 4, 3)])
    def test_other_shapes(self, shape, sparse):
        p = joints(60, shape, seed=1, sparse=sparse)
        synergy = pid_batch(p).synergy
        found = synergy_bounds(*pairwise(p))
        assert max(violations(found, synergy).values()) <= 2e-8
        assert (found.lower <= found.upper + 2e-8).all()
        # The order that the proofs promise.
        assert (found.lower_uniqueness <= found.lower_minkowski + 1e-9).all()
        assert (found.lower_minkowski <= found.lower_chernoff + 1e-6).all()
        assert (found.lower_chernoff <= found.lower_redundancy + 1e-6).all()
        performance = found.performance()
        accuracy = p.reshape(len(p), -1, shape[2]).max(2).sum(1)
        assert (performance.lower <= accuracy + 1e-9).all()
        assert (performance.upper >= accuracy - 1e-7).all()


class TestMaximumEntropy:
    def test_proportional_fitting_is_the_closed_form_of_2_2_2(self):
        tables = pairwise(joints(200, (2, 2, 2), seed=2))
        np.testing.assert_allclose(
            bounds._maximum_entropy(*tables), bounds._binary_entropies(*tables)[0], atol=1e-12, rtol=0
        )

    @pytest.mark.parametrize("sweeps", [1, 3, 10])
    def test_stopping_early_loosens_and_does_not_break(self, sweeps):
        p = joints(200, (3, 3, 3), seed=3)
        tables = pairwise(p)
        fitted, early = bounds._maximum_entropy(*tables), bounds._maximum_entropy(*tables, sweeps=sweeps)
        assert (early >= fitted - 1e-12).all()
        assert (fitted >= entropy(p, 3) - 1e-12).all()

    def test_least_entropy_of_2_2_2_is_at_an_end(self):
        """Against a linear program for the ends of the interval of distributions with the same pairwise marginals."""
        for p in joints(20, (2, 2, 2), seed=4):
            flat = p.ravel()
            index = np.indices((2, 2, 2)).reshape(3, 8)
            rows = [
                [float(index[a][c] == i and index[b][c] == j) for c in range(8)]
                for a, b in ((0, 1), (0, 2), (1, 2)) for i in (0, 1) for j in (0, 1)
            ]  # fmt: skip
            values = []
            for sign in (1, -1):
                end = linprog(sign * np.eye(8)[0], A_eq=rows, b_eq=np.array(rows) @ flat).x
                values.append(entropy(np.maximum(end, 0), 1))
            found = bounds._binary_entropies(*pairwise(p[None]))[1]
            assert found[0] == pytest.approx(min(values), abs=1e-8)


class TestKnownValues:
    def test_agreement_xor(self):
        """Table 6.2 (b). Uniform pairwise marginals say nothing: S_R is 0, not 1 as the text has it; S can be 1."""
        p = np.zeros((1, 2, 2, 2))
        for x1 in (0, 1):
            for x2 in (0, 1):
                p[0, x1, x2, x1 ^ x2] = 0.25
        found = synergy_bounds(*pairwise(p))
        for name in LOWER:
            assert getattr(found, name)[0] == pytest.approx(0, abs=1e-9)
        assert found.upper[0] == pytest.approx(1, abs=1e-9)
        assert found.disagreement[0] == 0

    def test_disagreement_xor(self):
        """Table 6.2 (a), renormalised."""
        p = np.array([0, 0.05, 0.03, 0.28, 0.53, 0.03, 0.01, 0.06]).reshape(1, 2, 2, 2)
        found = synergy_bounds(*pairwise(p))
        assert found.disagreement[0] == pytest.approx(0.1427, abs=1e-4)
        assert found.lower_redundancy[0] == pytest.approx(0.0871, abs=1e-4)
        assert found.upper_pairings[0] == pytest.approx(0.5009, abs=1e-4)

    @pytest.mark.parametrize("kind", ["unique", "redundant"])
    def test_no_synergy_to_find(self, kind):
        """Table 6.2 (c) and (d)."""
        p = np.zeros((1, 2, 2, 2))
        for x1 in (0, 1):
            for x2 in (0, 1) if kind == "unique" else (x1,):
                p[0, x1, x2, x1] = 1
        found = synergy_bounds(*pairwise(p))
        assert found.lower[0] == pytest.approx(0, abs=1e-9)
        assert found.upper[0] == pytest.approx(0, abs=1e-9)

    def test_unit(self):
        tables = pairwise(joints(5, (2, 3, 2), seed=5))
        bits, nats = synergy_bounds(*tables), synergy_bounds(*tables, base=math.e)
        assert (bits.unit, nats.unit) == ("bits", "nats")
        for name in (*LOWER, *UPPER, "redundancy", "unique1", "unique2"):
            np.testing.assert_allclose(getattr(bits, name) * math.log(2), getattr(nats, name), atol=1e-8)
        np.testing.assert_allclose(bits.performance().average, nats.performance().average, atol=1e-8)


def test_the_constant_of_theorem_5_cannot_be_larger():
    """Fair ±1 of correlation c, p(y = 1 | x1, x2) = ½ + δ (x1 + x2) / (1 + c): U1 = U2 = 0 and S / α → 1 / (2 (1 + c)),
    which comes as near to 1/4 nat as one likes."""
    ratios = []
    for c in (0.0, 0.9, 0.99):
        p = np.empty((1, 2, 2, 2))
        for i, x1 in enumerate((-1, 1)):
            for j, x2 in enumerate((-1, 1)):
                one = 0.5 + 0.01 * (x1 + x2) / (1 + c)
                p[0, i, j] = (1 + c * x1 * x2) / 4 * np.array([1 - one, one])
        parts, found = pid_batch(p, base=math.e), synergy_bounds(*pairwise(p), base=math.e)
        assert (parts.unique1[0], parts.unique2[0]) == pytest.approx((0, 0), abs=1e-12)
        ratios.append(parts.synergy[0] / found.disagreement[0])
        assert ratios[-1] == pytest.approx(1 / (2 * (1 + c)), rel=1e-3)
    assert 0.25 < ratios[-1] < 0.252


class TestInput:
    def test_one_joint_is_a_stack_of_one(self):
        first, second, pairs = pairwise(joints(1, (3, 2, 2), seed=6))
        one = synergy_bounds(first[0], second[0], pairs[0])
        np.testing.assert_array_equal(one.upper, synergy_bounds(first, second, pairs).upper)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a, b, c: (a * 2, b, c), r"p\(x1, y\) does not sum to one"),
            (lambda a, b, c: (a, -b, c), r"p\(x2, y\) holds entries that are negative"),
            (lambda a, b, c: (a, b, c * np.nan), r"p\(x1, x2\) holds entries that are negative or not finite"),
            (lambda a, b, c: (a[0, 0], b, c), "a table, or a stack"),
            (lambda a, b, c: (a, b, c.swapaxes(1, 2)), "do not fit"),
            (lambda a, b, c: (a.sum(2, keepdims=True), b.sum(2, keepdims=True), c), "one value"),
            (lambda a, b, c: (a[:, ::-1], b, c), r"disagree on p\(x1\)"),
            (lambda a, b, c: (a, b[:, ::-1], c), r"disagree on p\(x2\)"),
            (lambda a, b, c: (a[..., ::-1], b, c), r"disagree on p\(y\)"),
        ],
    )
    def test_bad(self, change, message):
        with pytest.raises(UsageError, match=message):
            synergy_bounds(*change(*pairwise(joints(1, (3, 2, 2), seed=7))))
