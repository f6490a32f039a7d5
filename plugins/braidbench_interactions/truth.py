"""The true decomposition of each synthetic dataset, computed from its generator and never from its samples.

With two classes all four terms follow from three numbers and the distribution of three posteriors: R, U1, U2 and S
from I(X1; Y), I(X2; Y), I(X1, X2; Y) and the union information of the posteriors p(y | x1) and p(y | x2)
(:mod:`braidbench_interactions.join`).

- Bitwise functions: the joint distribution is a 2 × 2 × 2 table; exact.
- Gaussian mixtures: posteriors of one coordinate, or of the signed length r, by quadrature on a fine grid. The angle θ
  alone says nothing: (r, θ) given y = 1 is distributed as (−r, θ) given y = −1.
- Latent datasets: each modality holds z1 and zc (z2 and zc) without loss, since the linear maps are injective. The
  score is a sum of independent terms given any of the latents, so each posterior is a one-dimensional inversion of its
  characteristic function (Gil-Pelaez 1951), exact to rounding; the distribution of the posteriors is sampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from braidbench_interactions.decomposition import pid
from braidbench_interactions.generators import DROPOUT, GENERATORS, SEED, VARIANCE, Bitwise, Latent, Mixture
from braidbench_interactions.join import union_information
from braidbench_interactions.joint import FloatArray, entropy, mutual_information

SAMPLES = 1 << 19
"""Latents drawn for :data:`RECORDED`, each also with its sign reversed."""

RECORDED: dict[str, tuple[float, float, float, float]] = {
    "redundancy": (0.5378, 0.0000, 0.0000, 0.0000),
    "unique1": (0.0000, 0.5387, 0.0000, 0.0000),
    "unique2": (0.0000, 0.0000, 0.5380, 0.0000),
    "synergy": (0.2128, 0.0000, 0.0000, 0.3264),
    "mix1": (0.3019, 0.0000, 0.0000, 0.2370),
    "mix2": (0.2122, 0.1401, 0.0000, 0.1862),
    "mix3": (0.2647, 0.0000, 0.0000, 0.2749),
    "mix4": (0.3520, 0.0000, 0.0000, 0.1866),
    "mix5": (0.2127, 0.0000, 0.3258, 0.0000),
    "mix6": (0.3022, 0.0000, 0.2360, 0.0000),
    "unseen1": (0.3442, 0.0000, 0.0442, 0.1504),
    "unseen2": (0.0362, 0.4218, 0.0000, 0.0808),
    "unseen3": (0.2576, 0.0000, 0.1185, 0.1625),
    "unseen4": (0.2233, 0.0219, 0.0000, 0.2935),
    "unseen5": (0.1063, 0.2344, 0.0000, 0.1978),
}
"""R, U1, U2 and S in bits of the latent datasets: ``truth(name, SAMPLES)``, which takes a third of a minute each. The
standard error is 0.0005."""

_RECORDED_ERROR = 0.0005

_BITS = math.log(2.0)


@dataclass(frozen=True)
class Truth:
    """Redundancy, unique information and synergy in bits, and how they were computed."""

    redundancy: float
    unique1: float
    unique2: float
    synergy: float
    error: float
    """Standard error of the terms in bits; 0 where nothing is sampled."""

    @property
    def terms(self) -> tuple[float, float, float, float]:
        """(R, U1, U2, S)."""
        return self.redundancy, self.unique1, self.unique2, self.synergy

    @property
    def dominant(self) -> str:
        """``"redundancy"``, ``"unique1"``, ``"unique2"`` or ``"synergy"``: the largest term."""
        names = ("redundancy", "unique1", "unique2", "synergy")
        return names[int(np.argmax(self.terms))]


@cache
def truth(name: str, samples: int | None = None) -> Truth:
    """The true decomposition of ``synthetic/NAME``.

    For a latent dataset it is the recorded one, or with ``samples`` computed anew from as many draws.
    """
    generator = GENERATORS[name]
    if isinstance(generator, Bitwise):
        found = pid(bitwise_joint(generator))
        return Truth(found.redundancy, found.unique1, found.unique2, found.synergy, 0.0)
    if isinstance(generator, Mixture):
        return _from_mixture(generator)
    if samples is None:
        return Truth(*RECORDED[name], _RECORDED_ERROR)
    return _from_latents(generator, samples)


def bitwise_joint(generator: Bitwise) -> FloatArray:
    """p[x1, x2, y], shape (2, 2, 2)."""
    p = np.zeros((2, 2, 2))
    for first in (0, 1):
        for second in (0, 1):
            label = {"and": first & second, "or": first | second, "xor": first ^ second}[generator.operator]
            p[first, second, label] = 0.25
    return p


# --- Gaussian mixtures ------------------------------------------------------------------------------------------------


def _from_mixture(generator: Mixture, points: int = 4001) -> Truth:
    reach = generator.norm + 10.0
    grid = np.linspace(-reach, reach, points)  # the trapezoidal rule is exact to rounding for what vanishes at its ends

    def line(mean: float) -> FloatArray:
        return _table(_normal(grid - mean), _normal(grid + mean))

    both = line(generator.norm)  # the projection on μ is sufficient
    nothing = np.array([[0.5, 0.5]])
    if generator.polar:
        weights, angles = _circle()
        exponent = generator.norm * np.cos(angles - np.radians(generator.degrees))
        across = weights * np.exp((exponent**2 - generator.norm**2) / 2)
        positive, negative = (
            np.abs(grid) * (_normal(grid[:, None] - sign * exponent) @ across) for sign in (1.0, -1.0)
        )
        return _compose(_table(positive, negative), nothing, both)
    angle = np.radians(generator.degrees)
    return _compose(line(generator.norm * np.cos(angle)), line(generator.norm * np.sin(angle)), both)


def mixture_joint(generator: Mixture, bins: int = 50, reach: float = 5.0) -> FloatArray:
    """p[x1, x2, y] of the histogram that figure 3.3 was made with, shape (bins, bins, 2), without sampling.

    Cartesian: ``bins`` of equal width on [−reach, reach], the outermost two open. Polar: the same for r, and ``bins``
    of equal width on [0, π) for θ.
    """
    edges = np.linspace(-reach, reach, bins + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    angle = np.radians(generator.degrees)
    tables = []
    for sign in (-1.0, 1.0):
        if not generator.polar:
            mean = sign * generator.norm * np.array([np.cos(angle), np.sin(angle)])
            columns = [np.diff(_cumulative(edges - m)) for m in mean]
            tables.append(np.outer(*columns))
            continue
        # ∫ |r| φ2(r e(θ) − yμ) dr over a bin has a closed form; over θ by Gauss–Legendre in each bin.
        nodes, weights = np.polynomial.legendre.leggauss(8)
        width = np.pi / bins
        theta = (np.arange(bins)[:, None] + (nodes + 1) / 2) * width
        along = sign * generator.norm * np.cos(theta - angle)
        across = np.exp((along**2 - generator.norm**2) / 2) / np.sqrt(2 * np.pi)
        mass = np.maximum(np.diff(_length_primitive(edges[:, None, None], along), axis=0), 0.0)
        tables.append((mass * across) @ weights * (width / 2))
    return np.stack(tables, axis=-1) / 2


def _length_primitive(r: FloatArray, m: FloatArray) -> FloatArray:
    """∫_{−∞}^r |s| φ(s − m) ds."""

    def signed(x: FloatArray) -> FloatArray:  # ∫_{−∞}^x s φ(s − m) ds
        value: FloatArray = m * _cumulative(x - m) - _normal(x - m)
        return value

    zero = signed(np.zeros_like(m))
    upper = signed(r)
    value: FloatArray = np.where(r <= 0, -upper, upper - 2 * zero)
    return value


def _circle(points: int = 256) -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return weights * np.pi / 2, (nodes + 1) * np.pi / 2


def _normal(x: FloatArray) -> FloatArray:
    value: FloatArray = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return value


def _cumulative(x: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    value: FloatArray = ndtr(x)
    return value


def _table(positive: FloatArray, negative: FloatArray) -> FloatArray:
    """p(x, y) over a grid for labels (−1, +1) of probability ½, shape (points, 2)."""
    table: FloatArray = np.stack([negative / negative.sum(), positive / positive.sum()], axis=1) / 2
    seen: FloatArray = table[table.sum(axis=1) > 0]
    return seen


# --- latent datasets --------------------------------------------------------------------------------------------------


def _from_latents(generator: Latent, samples: int) -> Truth:
    count1, count2, shared = generator.from1, generator.from2, generator.shared
    rng = np.random.default_rng([SEED, count1, count2, shared])
    unknown = max(count1, count2)
    first: list[FloatArray] = []
    second: list[FloatArray] = []
    both: list[FloatArray] = []
    for rows in _blocks(samples):
        own, other = rng.normal(0.0, np.sqrt(VARIANCE), (2, rows, unknown))
        if count1 == 0:
            other = own  # then z2 is all there is: the same numbers in both places, and S = 0 without sampling error
        common = rng.normal(0.0, np.sqrt(VARIANCE), (rows, shared))
        # Only the distributions of both posteriors matter, not their dependence: z1 and z2 use the same numbers, so
        # that datasets which treat the modalities alike have U1 = U2 = 0 and no sampling error pretends otherwise.
        first.append(probability_positive(np.hstack([own[:, :count1], common]), count2))
        second.append(probability_positive(np.hstack([own[:, :count2], common]), count1))
        both.append(probability_positive(np.hstack([own[:, :count1], other[:, :count2], common]), 0))
    posteriors = [np.concatenate(blocks) for blocks in (first, second, both)]
    table1, table2, table12 = (_antithetic(p) for p in posteriors)
    return _compose(table1, table2, table12, _standard_error(posteriors))


def probability_positive(known: FloatArray, unknown: int) -> FloatArray:
    """P(Σ m_k z_k > 0) given some of the latents: ``known`` (rows, k) of them, ``unknown`` more are not given.

    Gil-Pelaez: ½ + (1/π) ∫_0^∞ Im φ(t) / t dt with φ(t) = Π_k (d + (1 − d) e^{i t z_k}) · (d + (1 − d) e^{−σ² t² /
    2})^unknown, by the midpoint rule, whose error is the probability beyond half its period: 9 standard deviations.
    """
    kept = 1.0 - DROPOUT
    spread = DROPOUT * kept * (known**2).sum(axis=1) + kept * VARIANCE * unknown
    centre = kept * known.sum(axis=1)
    step = np.pi / (np.abs(centre).max() + 9.0 * np.sqrt(spread.max()))
    nodes = int(np.ceil(9.0 / np.sqrt(spread.min()) / step)) + 1
    turn = np.exp(1j * step * np.ascontiguousarray(known.T))
    wheel = np.sqrt(turn)  # at t = step / 2; |step · z| < π, so this is the right branch
    total = np.zeros(len(known))
    for node in range(nodes):
        t = (node + 0.5) * step
        characteristic = np.prod(DROPOUT + kept * wheel, axis=0)
        characteristic *= (DROPOUT + kept * np.exp(-VARIANCE * t**2 / 2)) ** unknown
        total += characteristic.imag / (node + 0.5)
        wheel *= turn
    probability: FloatArray = np.clip(0.5 + total / np.pi, 0.0, 1.0)
    return probability


def _blocks(samples: int, size: int = 1 << 9) -> Iterator[int]:
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _antithetic(posterior: FloatArray) -> FloatArray:
    """p(x, y) of the sample and of its mirror image: z → −z turns p into 1 − p."""
    values = np.concatenate([posterior, 1.0 - posterior])
    return np.stack([1.0 - values, values], axis=1) / len(values)


def _standard_error(posteriors: list[FloatArray]) -> float:
    """The largest standard error of the three informations, in bits."""
    conditional = [entropy(np.stack([p, 1.0 - p], axis=1), 1) / _BITS for p in posteriors]
    return float(max(value.std(ddof=1) / np.sqrt(len(value)) for value in conditional))


# --- from posteriors to terms -----------------------------------------------------------------------------------------


def _compose(first: FloatArray, second: FloatArray, both: FloatArray, error: float = 0.0) -> Truth:
    """The terms from p(x1, y), p(x2, y) and the table of a sufficient statistic of both, each (points, 2)."""
    union = union_information([first, second]) / _BITS
    info1, info2, total = (float(mutual_information(table) / _BITS) for table in (first, second, both))
    return Truth(
        redundancy=max(info1 + info2 - union, 0.0),
        unique1=max(union - info2, 0.0),
        unique2=max(union - info1, 0.0),
        synergy=max(total - union, 0.0),
        error=error,
    )
