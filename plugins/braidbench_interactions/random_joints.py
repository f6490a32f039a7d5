"""The bounds of chapter 6 held against the truth on random joints (thesis 6.4.1, figure 6.2; theorem 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from braidbench.errors import UsageError
from braidbench_interactions.bounds import SynergyBounds, pairwise, synergy_bounds
from braidbench_interactions.decomposition import pid_batch
from braidbench_interactions.joint import FloatArray, mutual_information
from braidbench_interactions.performance import bayes_accuracy, performance_bounds

HIGH = 0.6
"""Bits of synergy above which the thesis looks at the upper bound separately."""

ROUNDING = 1e-9
"""Bits by which a bound may be on the wrong side before it counts as violated."""

LOWER = {
    "S_R (theorem 4)": "lower_redundancy",
    "S_U, c = 1/4 nat (theorem 5)": "lower_uniqueness",
    "S_U, Minkowski": "lower_minkowski",
    "S_U, Chernoff": "lower_chernoff",
}
UPPER = {
    "(X1, X2) with Y (theorem 7)": "upper_printed",
    "three pairings": "upper_pairings",
    "least upper bound": "upper",
}
"""What a bound is called and the field of :class:`SynergyBounds` that holds it."""

RELEASED = "S_R, two marginals"
"""As the released code has it: the least I(X1; X2 | Y) given p(x1, x2) and p(x1, y) alone. Valid and looser."""

SQUARED, DISTANCE, DECISIONS = "S_U, c = 1", "S_U, c = 1, ‖·‖₂ not squared", "S_U, c = 1, differing decisions"
"""Theorem 5 with 1 for its constant, for bits, and each of the disagreements that fit one printed number or another.
The first is the released code's. None is a bound."""

EXAMPLES: Mapping[str, Sequence[float]] = {
    "(a) disagreement XOR": (0, 0.05, 0.03, 0.28, 0.53, 0.03, 0.01, 0.06),
    "(b) agreement XOR": (0.25, 0, 0, 0.25, 0, 0.25, 0.25, 0),
    "(c) y = x1": (0.25, 0, 0.25, 0, 0, 0.25, 0, 0.25),
    "(d) y = x1 = x2": (0.5, 0, 0, 0, 0, 0, 0, 0.5),
}
"""Table 6.2: p(x1, x2, y) row by row as printed. (a) sums to 0.99 and has to be divided by that."""


@dataclass(frozen=True)
class Study:
    """Random joints, their synergy in bits and what their pairwise marginals say of it; arrays of length b."""

    joints: FloatArray
    """p[joint, x1, x2, y]"""
    synergy: FloatArray
    bounds: SynergyBounds

    @property
    def lower(self) -> Mapping[str, FloatArray]:
        """Every lower bound by name, then what is released or printed for one; the last three are none."""
        found = {name: getattr(self.bounds, field) for name, field in LOWER.items()}
        # I(X1; X2 | Y) is at least what only X2, and not Y, says about X1: unique information with X1 for the label.
        least = pid_batch(self.joints.transpose(0, 2, 3, 1)).unique1
        shared = mutual_information(self.joints.sum(3)) / np.log(2)
        unique = np.maximum(self.bounds.unique1, self.bounds.unique2)
        return found | {
            RELEASED: self.bounds.redundancy - shared + least,
            SQUARED: self.bounds.disagreement - unique,
            DISTANCE: _distance(self.joints) - unique,
            DECISIONS: decisions(self.joints)[0] - unique,
        }

    @property
    def upper(self) -> Mapping[str, FloatArray]:
        """Every upper bound by name."""
        return {name: getattr(self.bounds, field) for name, field in UPPER.items()}


@dataclass(frozen=True)
class Gap:
    """How far a bound is from S over a sample of joints, in bits."""

    mean: float
    """Of |bound − S|, and so the median."""
    median: float
    high: float
    """The mean over joints with S > 0.6; NaN if there is none."""
    violated: float
    """The share of joints where the bound is on the wrong side."""
    worst: float
    """By how much, at most; 0 where it never is."""


def draw(count: int, shape: tuple[int, int, int] = (2, 2, 2), seed: int = 0) -> FloatArray:
    """``count`` joints, uniform on the simplex of all distributions of this shape (x1, x2, y)."""
    if count < 1:
        raise UsageError(f"a study is of one joint or more, not {count}")
    if seed < 0:
        raise UsageError(f"a seed is 0 or more, not {seed}")
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(int(np.prod(shape))), count).reshape(count, *shape)


def study(joints: FloatArray) -> Study:
    """S and every bound on it, of a stack p[joint, x1, x2, y]."""
    return Study(joints, pid_batch(joints).synergy, synergy_bounds(*pairwise(joints)))


def gap(bound: FloatArray, synergy: FloatArray, sign: int) -> Gap:
    """Of a lower (``sign`` −1) or an upper bound (+1)."""
    distance, wrong = np.abs(bound - synergy), sign * (synergy - bound)
    high = distance[synergy > HIGH]
    return Gap(
        mean=float(distance.mean()),
        median=float(np.median(distance)),
        high=float(high.mean()) if len(high) else float("nan"),
        violated=float((wrong > ROUNDING).mean()),
        worst=float(np.where(wrong > ROUNDING, wrong, 0.0).max()),
    )


def decisions(p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two probabilities a joint: that the best decisions given x1 and given x2 differ, and that they are the same while
    the best decision given both is another. Each is exactly 0 where it is impossible."""
    first, second, both = p.sum(2).argmax(2), p.sum(1).argmax(2), p.argmax(3)
    same = first[:, :, None] == second[:, None]
    mass = p.sum(3)
    overruled = same & (both != first[:, :, None])
    return (mass * ~same).sum((1, 2)), (mass * overruled).sum((1, 2))


def _distance(p: FloatArray) -> FloatArray:
    """E ‖p(y | x1) − p(y | x2)‖₂."""
    one, other = (table / np.maximum(table.sum(2, keepdims=True), 1e-300) for table in (p.sum(2), p.sum(1)))
    value: FloatArray = (p.sum(3) * np.linalg.norm(one[:, :, None] - other[:, None], axis=3)).sum((1, 2))
    return value


@dataclass(frozen=True)
class Accuracy:
    """Theorem 8 over random tables p(x, y) whose information is known: shares of tables, and mean distances."""

    violated: tuple[float, float]
    """Of the bounds used here, lower and upper."""
    printed_violated: tuple[float, float]
    printed_empty: float
    """Where the printed upper bound is 1 or more and says nothing."""
    width: float
    """Upper minus lower bound, here."""
    printed_width: float
    """The same of the printed bounds, cut to [0, 1]."""


def accuracy(count: int, labels: int, seed: int = 0, symbols: int = 6) -> Accuracy:
    """Of ``count`` tables of ``symbols`` values of X, from almost certain to noise, with classes of uneven sizes."""
    rng = np.random.default_rng(seed)
    sharpness = 10 ** rng.uniform(-2, 0.5, (count, 1, 1))
    tables = rng.gamma(sharpness, size=(count, symbols, labels)) * rng.gamma(0.7, size=(count, 1, labels))
    tables += 1e-300  # a table of zeros alone cannot be normalised
    tables /= tables.sum((1, 2), keepdims=True)
    found = performance_bounds(mutual_information(tables) / np.log(2), tables.sum(1))
    true = bayes_accuracy(tables)
    low, high = found.printed

    def share(wrong: FloatArray) -> float:
        return float((wrong > ROUNDING).mean())

    return Accuracy(
        violated=(share(found.lower - true), share(true - found.upper)),
        printed_violated=(share(low - true), share(true - high)),
        printed_empty=float((high >= 1).mean()),
        width=float((found.upper - found.lower).mean()),
        printed_width=float((np.minimum(high, 1.0) - low).mean()),
    )
