"""The exact decomposition: known values, certificates, and agreement of three independent ways to compute it."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.stats import norm

from braidbench.errors import UsageError
from braidbench_interactions import pid, pid_batch
from braidbench_interactions.certificate import TOLERANCE
from braidbench_interactions.decomposition import PID, UncertifiedWarning
from braidbench_interactions.interior import solve
from braidbench_interactions.joint import entropy


def truth_table(function) -> np.ndarray:
    p = np.zeros((2, 2, 2))
    for x1 in (0, 1):
        for x2 in (0, 1):
            p[x1, x2, int(function(x1, x2))] = 0.25
    return p


def terms(result: PID) -> tuple[float, float, float, float]:
    return result.redundancy, result.unique1, result.unique2, result.synergy


def check(p: np.ndarray, result: PID) -> None:
    """Everything a result claims, recomputed from its definition."""
    p = p / p.sum()
    first, second = p.sum(1), p.sum(0)
    q, (lam, mu) = result.q, result.potentials
    nats = math.log(result.base)
    assert (q >= 0).all()
    np.testing.assert_allclose(q.sum(1), first, atol=1e-12)
    np.testing.assert_allclose(q.sum(0), second, atol=1e-12)
    assert np.exp(lam[:, None] + mu[None]).sum(-1).max() <= 1 + 1e-9
    label = entropy(first.sum(0), 1)
    assert result.dual * nats == pytest.approx(label + (first * lam).sum() + (second * mu).sum(), abs=1e-10)
    attained = label + entropy(q.sum(-1), 2) - entropy(q, 3)
    assert attained == pytest.approx(result.primal * nats, abs=TOLERANCE)
    assert result.certified
    assert min(terms(result)) >= 0
    total = entropy(p.sum(-1), 2) + label - entropy(p, 3)
    assert result.total * nats == pytest.approx(total, abs=1e-9)
    assert sum(terms(result)) == result.total


class TestKnownValues:
    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (lambda a, b: a | b, (0.311278124, 0, 0, 0.5)),
            (lambda a, b: a & b, (0.311278124, 0, 0, 0.5)),
            (lambda a, b: a ^ b, (0, 0, 0, 1)),
            (lambda a, b: a, (0, 1, 0, 0)),
            (lambda a, b: b, (0, 0, 1, 0)),
        ],
        ids=["or", "and", "xor", "first", "second"],
    )
    def test_table_3_1(self, function, expected):
        p = truth_table(function)
        assert terms(pid(p)) == pytest.approx(expected, abs=1e-8)
        check(p, pid(p))
        # The interior point, with a third label that never occurs, finds the same.
        wide = np.concatenate([p, np.zeros((2, 2, 1))], axis=2)
        assert pid(wide).solver == "interior-point"
        assert terms(pid(wide)) == pytest.approx(expected, abs=1e-6)
        check(wide, pid(wide))

    def test_copy_is_redundant(self):
        p = np.zeros((3, 3, 3))
        p[range(3), range(3), range(3)] = 1
        assert terms(pid(p)) == pytest.approx((math.log2(3), 0, 0, 0), abs=1e-6)

    def test_two_bits_are_unique(self):
        """Y = (X1, X2): where I-min wrongly finds a bit of redundancy."""
        p = np.zeros((2, 2, 4))
        for x1 in (0, 1):
            for x2 in (0, 1):
                p[x1, x2, 2 * x1 + x2] = 0.25
        assert terms(pid(p)) == pytest.approx((0, 1, 1, 0), abs=1e-6)

    @pytest.mark.parametrize(
        ("length", "angle", "expected"),
        [
            (1, 0, (0, 0.4848, 0, 0)),
            (1, math.pi / 8, (0.0982, 0.3366, 0, 0.0500)),
            (1, math.pi / 4, (0.2897, 0, 0, 0.1952)),
            (2, 0, (0, 0.9120, 0, 0)),
            (2, math.pi / 8, (0.3285, 0.5488, 0, 0.0348)),
            (2, math.pi / 4, (0.7203, 0, 0, 0.1918)),
        ],
    )
    def test_gaussian_mixture_of_figure_3_3(self, length, angle, expected):
        """Exact masses of 50 bins on [-5, 5], the outermost open."""
        edges = np.concatenate([[-np.inf], np.linspace(-5, 5, 51)[1:-1], [np.inf]])
        masses = [
            [np.diff(norm.cdf(edges - sign * length * f(angle))) for f in (math.cos, math.sin)] for sign in (-1, 1)
        ]
        p = np.stack([np.outer(*mass) / 2 for mass in masses], axis=-1)
        assert terms(pid(p)) == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize(
        ("length", "angle", "expected"),
        [
            (1, 0, (0, 0, 0, 0.4854)),
            (1, math.pi / 4, (0, 0.2384, 0, 0.2470)),
            (2, math.pi / 8, (0, 0.2503, 0, 0.6622)),
            (2, math.pi / 2, (0, 0.8860, 0, 0.0266)),
        ],
    )
    def test_polar_gaussian_mixture_of_figure_3_3(self, length, angle, expected):
        """X1 is the signed radius in 50 bins on [-5, 5], X2 the angle of the line in 50 bins on [0, π].

        The masses are integrals of the density on a fine grid; a million samples differ from them by 2e-3 bit.
        """
        fine = 10
        r = (np.arange(100 * fine) + 0.5) / (5 * fine) - 10
        theta = (np.arange(50 * fine) + 0.5) / (50 * fine) * math.pi
        bins = np.clip(((r + 5) * 5).astype(int), 0, 49)
        p = np.zeros((50, 50, 2))
        for y, sign in enumerate((-1, 1)):
            distance = r[:, None] ** 2 - 2 * r[:, None] * sign * length * np.cos(theta - angle)
            density = np.abs(r)[:, None] * np.exp(-distance / 2)
            np.add.at(p[..., y], bins, density.reshape(len(r), 50, fine).sum(-1) / density.sum() / 2)
        assert terms(pid(p)) == pytest.approx(expected, abs=1e-3)

    def test_disagreement_xor_of_table_6_2(self):
        p = np.array([0, 0.05, 0.03, 0.28, 0.53, 0.03, 0.01, 0.06]).reshape(2, 2, 2)
        assert terms(pid(p)) == pytest.approx((0.4407, 0.0157, 0.0109, 0.1601), abs=1e-4)


class TestCertificate:
    def test_two_labels(self, draw):
        rng = np.random.default_rng(1)
        for _ in range(300):
            p = draw(rng, labels=2)
            result = pid(p)
            assert result.solver == "hull"
            assert result.gap <= 1e-11
            check(p, result)

    def test_more_labels(self, draw):
        rng = np.random.default_rng(2)
        for _ in range(250):
            p = draw(rng)
            check(p, pid(p, base=math.e))

    def test_closed_form_is_the_interior_point(self, draw):
        rng = np.random.default_rng(3)
        for _ in range(150):
            p = draw(rng, labels=2)
            solution = solve(p.sum(1)[None], p.sum(0)[None])
            label = entropy(p.sum((0, 1)), 1)
            assert label + solution.primal[0] == pytest.approx(pid(p, base=math.e).primal, abs=TOLERANCE)

    def test_hard_case_that_bold_steps_do_not_solve(self):
        """The one of 12,000 random joints on which the first attempt oscillated; cautious steps solve it."""
        first = [
            [1.837e-03, 1.812e-01, 1.196e-03, 1.868e-10, 0.0, 1.715e-04],
            [1.684e-03, 5.154e-02, 3.017e-04, 2.322e-04, 3.628e-02, 8.114e-05],
            [4.177e-01, 1.406e-02, 2.924e-02, 2.593e-01, 2.803e-03, 2.426e-03],
        ]
        second = [
            [4.194e-01, 5.249e-02, 3.035e-02, 2.593e-01, 1.924e-03, 0.0],
            [1.822e-03, 1.943e-01, 3.839e-04, 2.322e-04, 3.716e-02, 2.678e-03],
        ]
        label = np.sum(second, axis=0)
        first = np.array(first) * (label / np.sum(first, axis=0))
        result = pid(first[:, None] * (np.array(second) / label)[None])
        assert result.certified

    def test_uncertified_is_said(self, monkeypatch):
        import braidbench_interactions.interior as interior

        monkeypatch.setattr(interior, "_ATTEMPTS", (dataclasses.replace(interior._ATTEMPTS[0], iterations=2),))
        p = np.random.default_rng(0).random((4, 4, 3))
        with pytest.warns(UncertifiedWarning, match="1 of 1"):
            result = pid(p)
        assert not result.certified
        assert "NOT certified" in str(result)
        exact = monkeypatch.undo() or pid(p)
        assert result.dual <= exact.primal <= result.primal

    @pytest.mark.parametrize("labels", [2, 3])
    def test_certified_is_not_warned_of(self, labels):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pid(np.random.default_rng(0).random((5, 4, labels)))


class TestBatch:
    @pytest.mark.parametrize("labels", [2, 3])
    def test_is_the_single_ones(self, draw, labels):
        rng = np.random.default_rng(4)
        ps = np.zeros((40, 6, 6, labels))
        for place in ps:
            p = draw(rng, labels=labels, largest=6)
            place[: p.shape[0], : p.shape[1]] = p  # padded with values that have no mass
        batch = pid_batch(ps)
        assert len(batch) == len(ps)
        assert batch.q.shape == ps.shape
        for p, member in zip(ps, batch, strict=True):
            assert terms(member) == pytest.approx(terms(pid(p)), abs=1e-8)
            check(p, member)

    def test_of_none(self):
        assert len(pid_batch(np.zeros((0, 2, 2, 2)))) == 0
        assert len(pid_batch(np.zeros((0, 2, 2, 3)))) == 0


class TestUnits:
    def test_base(self):
        p = np.random.default_rng(0).random((3, 3, 3))
        bits, nats = pid(p), pid(p, base=math.e)
        assert (bits.unit, nats.unit, pid(p, base=10).unit) == ("bits", "nats", "hartleys")
        for name in ("redundancy", "unique1", "unique2", "synergy", "primal", "dual"):
            assert getattr(bits, name) * math.log(2) == pytest.approx(getattr(nats, name), abs=1e-8)

    @pytest.mark.parametrize("base", [1, 0, -2, math.nan, math.inf, "2"])
    def test_bad_base(self, base):
        with pytest.raises(UsageError, match="base"):
            pid(np.ones((2, 2, 2)), base=base)

    def test_counts_are_normalised(self):
        p = np.random.default_rng(0).integers(0, 50, (4, 3, 3))
        assert terms(pid(p)) == terms(pid(p / p.sum()))

    def test_result_is_frozen(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            pid(np.ones((2, 2, 2))).redundancy = 1.0


class TestDegenerate:
    @pytest.mark.parametrize("labels", [2, 3, 5])
    def test_only_one_label_has_mass(self, labels):
        p = np.zeros((3, 4, labels))
        p[..., 1] = np.random.default_rng(0).random((3, 4))
        assert terms(pid(p)) == pytest.approx((0, 0, 0, 0), abs=1e-9)
        check(p, pid(p))

    @pytest.mark.parametrize("labels", [2, 3])
    def test_one_cell(self, labels):
        p = np.zeros((2, 2, labels))
        p[1, 0, 1] = 3
        assert terms(pid(p)) == pytest.approx((0, 0, 0, 0), abs=1e-9)

    @pytest.mark.parametrize("shape", [(1, 1, 2), (1, 5, 2), (5, 1, 3), (1, 1, 3)])
    def test_constant_modality(self, shape):
        p = np.random.default_rng(0).random(shape)
        result = pid(p)
        check(p, result)
        assert result.redundancy == pytest.approx(0, abs=1e-8)
        assert result.synergy == pytest.approx(0, abs=1e-8)

    @pytest.mark.parametrize("labels", [2, 4])
    def test_values_without_mass_change_nothing(self, labels):
        p = np.random.default_rng(5).random((4, 5, labels))
        padded = np.zeros((6, 7, labels + 1))
        padded[1:5, [0, 2, 3, 4, 6], :labels] = p
        assert terms(pid(padded)) == pytest.approx(terms(pid(p)), abs=1e-8)
        assert pid(padded).q[0].sum() == 0

    @pytest.mark.parametrize("labels", [2, 3])
    def test_masses_of_every_magnitude(self, labels):
        p = np.exp(-np.random.default_rng(6).exponential(15, (6, 7, labels)))
        check(p, pid(p))

    def test_subnormal_total_scale(self):
        p = np.random.default_rng(7).random((3, 3, 2))
        assert terms(pid(p * 1e-290)) == pytest.approx(terms(pid(p)), abs=1e-12)
        assert terms(pid(p * 1e290)) == pytest.approx(terms(pid(p)), abs=1e-12)


class TestBadInput:
    @pytest.mark.parametrize(
        ("p", "message"),
        [
            (np.ones((2, 2)), "3|axes"),
            (np.ones((2, 2, 2, 2)), "axes"),
            (np.ones((0, 2, 2)), "every axis"),
            (np.ones((2, 2, 1)), "one value"),
            (-np.ones((2, 2, 2)), "8 entries below zero"),
            (np.full((2, 2, 2), np.nan), "NaN"),
            (np.array([[[1, np.inf], [0, 0]]]), "1 entry"),
            (np.zeros((2, 2, 2)), "sum to 0"),
            (np.full((2, 2, 2), 1e308), "normalised"),
            ("words", "not an array"),
            ([[[1, 2], [3]]], "not an array"),
            (np.full((2, 2, 2), 1j), "not an array"),
        ],
        ids=[
            "rank-2", "rank-4", "empty", "one-label", "negative", "nan", "infinite", "zero", "overflow", "text",
            "ragged", "complex",
        ],
    )  # fmt: skip
    def test_is_an_error(self, p, message):
        with pytest.raises(UsageError, match=message):
            pid(p)

    def test_of_a_stack_says_which(self):
        ps = np.ones((3, 2, 2, 2))
        ps[1] = 0
        with pytest.raises(UsageError, match="joint 1 of the stack"):
            pid_batch(ps)


def test_plugin_imports_nothing_heavy():
    code = (
        "import sys, braidbench_interactions as b; heavy = {'numpy', 'scipy', 'cvxpy', 'torch'} & set(sys.modules);"
        "assert not heavy, heavy; from braidbench_interactions import pid; assert callable(pid);"
        "import braidbench_interactions.bounds; assert callable(b.pid) and 'pid' in dir(b)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
