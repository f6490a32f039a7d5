"""The study of random joints: its statistics, and what it says of printed bounds, each against something plainer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench_interactions import pid, random_joints
from braidbench_interactions.joint import entropy
from braidbench_interactions.random_joints import DECISIONS, DISTANCE, EXAMPLES, SQUARED


def test_the_gap_of_a_bound_by_hand():
    synergy = np.array([0.1, 0.3, 0.7, 0.9])
    found = random_joints.gap(np.array([0.2, 0.1, 0.6, 0.9]), synergy, -1)
    assert (found.mean, found.median) == pytest.approx((0.1, 0.1))
    assert found.high == pytest.approx(0.05)
    assert (found.violated, found.worst) == pytest.approx((0.25, 0.1))
    above = random_joints.gap(np.array([0.2, 0.1, 0.6, 0.9]), synergy, 1)
    assert (above.violated, above.worst) == pytest.approx((0.5, 0.2))
    assert math.isnan(random_joints.gap(np.zeros(2), np.array([0.1, 0.2]), -1).high)


def test_joints_are_uniform_on_the_simplex():
    """Each coordinate of a uniform point of the simplex with 8 corners is Beta(1, 7)."""
    p = random_joints.draw(20_000).reshape(20_000, 8)
    np.testing.assert_allclose(p.sum(1), 1)
    assert p.mean(0) == pytest.approx(np.full(8, 1 / 8), abs=0.004)
    assert p.var(0) == pytest.approx(np.full(8, 7 / (64 * 9)), rel=0.05)
    np.testing.assert_array_equal(p, random_joints.draw(20_000).reshape(20_000, 8))


@pytest.mark.parametrize(("count", "seed", "message"), [(0, 0, "one joint or more"), (5, -1, "0 or more")])
def test_bad_requests(count, seed, message):
    with pytest.raises(UsageError, match=message):
        random_joints.draw(count, seed=seed)


def test_decisions_by_enumeration():
    joints = np.concatenate([random_joints.draw(50), np.array(list(EXAMPLES.values())).reshape(-1, 2, 2, 2)])
    differ, overruled = random_joints.decisions(joints)
    for p, one, other in zip(joints, differ, overruled, strict=True):
        expected = [0.0, 0.0]
        for x1 in (0, 1):
            for x2 in (0, 1):
                first = int(p[x1, :, 1].sum() > p[x1, :, 0].sum())
                second = int(p[:, x2, 1].sum() > p[:, x2, 0].sum())
                both = int(p[x1, x2, 1] > p[x1, x2, 0])
                expected[0] += (first != second) * p[x1, x2].sum()
                expected[1] += (first == second != both) * p[x1, x2].sum()
        assert (one, other) == pytest.approx(tuple(expected))


def test_two_labels_leave_no_third_decision():
    """Section 6.3.1 lets disagreeing decisions be overruled by one that is neither; that needs three labels."""
    p = random_joints.draw(2000)
    first, second, both = p.sum(2).argmax(2), p.sum(1).argmax(2), p.argmax(3)
    neither = (first[:, :, None] != second[:, None]) & (both != first[:, :, None]) & (both != second[:, None])
    assert not neither.any()


class TestThePrintedNumbers:
    """What the thesis prints and what holds, on distributions that need no sampling."""

    def examples(self) -> tuple[random_joints.Study, np.ndarray]:
        p = np.array(list(EXAMPLES.values())).reshape(-1, 2, 2, 2)
        p = p / p.sum((1, 2, 3), keepdims=True)
        return random_joints.study(p), p

    def test_agreement_xor(self):
        found, p = self.examples()
        assert found.synergy[1] == pytest.approx(1)
        assert found.bounds.lower_redundancy[1] == pytest.approx(0, abs=1e-9)  # printed: 1
        # Why no bound from these marginals can be above 0: three independent fair bits have them too.
        independent = np.full((2, 2, 2), 1 / 8)
        for axis in range(3):
            np.testing.assert_allclose(p[1].sum(axis), independent.sum(axis))
        assert pid(independent).synergy == pytest.approx(0, abs=1e-12)

    def test_disagreement_xor_has_all_the_synergy_that_its_marginals_allow(self):
        found, p = self.examples()
        assert found.bounds.upper[0] == pytest.approx(found.synergy[0], abs=1e-9)
        # Along the one direction that keeps pairwise marginals, its zero cell can only grow, and S with it only fall.
        direction = np.array([(-1) ** (a + b + c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]).reshape(2, 2, 2)
        values = [pid(p[0] + t * direction).synergy for t in (0, 0.002, 0.005, 0.01)]
        assert values == sorted(values, reverse=True)

    def test_no_one_distance_gives_both_printed_disagreements(self):
        """(a) is printed with α = 0.15, (c) with S_U = 0, which needs α = U1 = 1 at c = 1: by hand, on posteriors."""
        found, p = self.examples()
        assert found.bounds.unique1[2] == pytest.approx(1)
        expected: dict[str, list[float]] = {"squared": [], "distance": [], "sum": [], "decisions": []}
        for joint in p[[0, 2]]:
            total = dict.fromkeys(expected, 0.0)
            for x1 in (0, 1):
                for x2 in (0, 1):
                    one, other = joint[x1].sum(0) / joint[x1].sum(), joint[:, x2].sum(0) / joint[:, x2].sum()
                    mass, apart = joint[x1, x2].sum(), np.abs(one - other)
                    total["squared"] += mass * (apart**2).sum()
                    total["distance"] += mass * math.sqrt((apart**2).sum())
                    total["sum"] += mass * apart.sum()
                    total["decisions"] += mass * (one.argmax() != other.argmax())
            for name, value in total.items():
                expected[name].append(value)
        assert expected["squared"] == pytest.approx([0.1427, 0.5], abs=1e-4)
        assert expected["distance"] == pytest.approx([0.1504, 0.7071], abs=1e-4)
        assert expected["sum"] == pytest.approx([0.2127, 1.0], abs=1e-4)
        assert expected["decisions"] == pytest.approx([0.1212, 0.5], abs=1e-4)
        unique = np.maximum(found.bounds.unique1, found.bounds.unique2)
        for kind, name in (("squared", SQUARED), ("distance", DISTANCE), ("decisions", DECISIONS)):
            assert (found.lower[name] + unique)[[0, 2]] == pytest.approx(expected[kind])

    def test_distances_that_are_not_squared_have_no_constant_at_all(self):
        """The example of the best constant: with δ → 0 distances fall as δ, decisions do not fall and S falls as δ²."""
        signs = np.array([-1, 1])
        total = signs[:, None] + signs[None]
        ratios = {DISTANCE: [], DECISIONS: []}
        for small in (1e-1, 1e-2, 1e-3):
            p = np.stack([0.25 * (0.5 - small * total / 2), 0.25 * (0.5 + small * total / 2)], axis=-1)[None]
            found = random_joints.study(p)
            for name, values in ratios.items():
                values.append(found.synergy[0] / (found.lower[name][0] + found.bounds.unique1[0]))
        assert ratios[DISTANCE][1] / ratios[DISTANCE][2] == pytest.approx(10, rel=0.02)
        assert ratios[DECISIONS][1] / ratios[DECISIONS][2] == pytest.approx(100, rel=0.02)

    def test_the_released_bound_from_two_marginals_is_looser(self):
        """Against the definition: the least I(X1; X2 | Y) over a grid of the distributions with those marginals."""
        found = random_joints.study(random_joints.draw(5, seed=2))
        released = found.lower[random_joints.RELEASED]
        assert (released <= found.bounds.lower_redundancy + 1e-9).all()
        shares = np.linspace(0, 1, 301)
        for p, bound, redundancy in zip(found.joints, released, found.bounds.redundancy, strict=True):
            # Given x1 the tables of (x2, y) with fixed margins are an interval; the end points of both, and a grid.
            tables = []
            for x1 in (0, 1):
                one, other = p[x1].sum(1)[0], p[x1].sum(0)[0]
                low, high = max(0.0, one + other - p[x1].sum()), min(one, other)
                t = low + (high - low) * shares
                tables.append(np.stack([t, one - t, other - t, p[x1].sum() - one - other + t], 1).reshape(-1, 2, 2))
            q = np.stack([np.repeat(tables[0], 301, 0), np.tile(tables[1], (301, 1, 1))], 1)
            q = np.maximum(q, 0.0)
            conditional = entropy(q.sum(2), 2) + entropy(q.sum(1), 2) - entropy(q.sum((1, 2)), 1) - entropy(q, 3)
            shared = entropy(p.sum((1, 2)), 1) + entropy(p.sum((0, 2)), 1) - entropy(p.sum(2), 2)
            expected = redundancy + (conditional.min() - shared) / math.log(2)
            assert bound == pytest.approx(expected, abs=1e-4)
            assert bound <= expected + 1e-9

    def test_constant_one_fails_and_a_quarter_does_not(self):
        found = random_joints.study(random_joints.draw(20_000, seed=1))
        wrong = {SQUARED: (0.02, 0.05), DISTANCE: (0.75, 0.85), DECISIONS: (0.55, 0.62)}
        for name, (low, high) in wrong.items():
            assert low < random_joints.gap(found.lower[name], found.synergy, -1).violated < high
        for name, bound in found.lower.items():
            if name not in wrong:
                assert random_joints.gap(bound, found.synergy, -1).violated == 0
        for bound in found.upper.values():
            assert random_joints.gap(bound, found.synergy, 1).violated == 0


@pytest.mark.parametrize("labels", [2, 3, 10])
def test_theorem_8(labels):
    found = random_joints.accuracy(4000, labels)
    assert found.violated == (0, 0)
    assert found.printed_violated[0] == 0
    if labels == 2:
        assert found.printed_empty == 1  # (I + 1) / log2 2 is 1 or more
    else:
        assert found.printed_violated[1] > 0.3


def test_the_printed_upper_bound_on_accuracy_fails_by_hand():
    """Ten classes, one of probability 0.91, and an X that says nothing: guessing is right 91 times of 100."""
    label = np.array([0.91, *[0.01] * 9])
    printed = (0 + 1) / math.log2(10)
    assert printed < 0.91
    fano = 1 - (entropy(label, 1) / math.log(2) - 1) / math.log2(10)
    assert fano >= 0.91
