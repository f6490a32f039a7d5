"""Exact partial information decomposition against the conic program, in one run on the same inputs.

The conic program is :func:`braidbench_interactions.pid_cvx` with Clarabel, itself vectorised. Every decomposition that
is timed is certified; the distributions are random and dense.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings

import numpy as np
import pytest

from braidbench_interactions import pid, pid_batch, pid_cvx
from braidbench_interactions.bounds import pairwise, synergy_bounds
from braidbench_interactions.decomposition import UncertifiedWarning


def joints(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(math.prod(shape)), count).reshape(count, *shape)


def seconds(function, rounds: int) -> float:
    """The median time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def conic(p: np.ndarray) -> float:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncertifiedWarning)
        pid_cvx(p)
    return time.perf_counter() - start


@pytest.mark.parametrize(
    ("shape", "most", "ratio", "rounds"),
    [
        ((100, 100, 2), 0.002, 1000, 5),
        ((20, 20, 10), 0.030, 15, 5),
        ((50, 50, 10), 0.300, 40, 3),
        ((100, 100, 10), 2.0, None, 0),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_one_joint(benchmark, note, shape, most, ratio, rounds):
    p = joints(1, shape)[0]
    assert pid(p).certified
    ours, theirs = [], []
    conic(joints(1, (2, 2, 2))[0])  # imports
    for _ in range(max(rounds, 3)):  # alternately, so that a busy moment meets both
        ours.append(seconds(lambda: pid(p), 3))
        if rounds:
            theirs.append(conic(p))
    mine = statistics.median(ours)
    text = f"pid of {'×'.join(map(str, shape))}: {mine * 1e3:.2f} ms (at most {most * 1e3:g})"
    if ratio:
        found = statistics.median(other / own for other, own in zip(theirs, ours, strict=True))
        text += f", {found:.0f} × faster than Clarabel's {statistics.median(theirs) * 1e3:.0f} ms (at least {ratio})"
        benchmark.extra_info["ratio"] = found
    note(text)
    benchmark.pedantic(lambda: pid(p), rounds=1)


def test_optimal_distribution_of_two_labels(benchmark, note):
    p = joints(1, (100, 100, 2))[0]
    note(f"pid of 100×100×2 with its optimal q: {seconds(lambda: pid(p).q, 15) * 1e3:.2f} ms")
    benchmark.pedantic(lambda: pid(p).q, rounds=1)


def test_100000_joints_of_2_2_2(benchmark, note):
    ps = joints(100_000, (2, 2, 2))
    assert pid_batch(ps).certified.all()
    mine = seconds(lambda: pid_batch(ps), 5)
    conic(ps[0])
    theirs = sum(conic(p) for p in ps[:1000]) * len(ps) / 1000
    benchmark.extra_info["ratio"] = theirs / mine
    note(
        f"100,000 joints of 2×2×2: {mine:.3f} s (at most 0.3), {theirs / mine:.0f} × faster than Clarabel's"
        f" {theirs:.0f} s, extrapolated from 1,000 (at least 10,000)"
    )
    benchmark.pedantic(lambda: pid_batch(ps), rounds=1)


def test_figure_6_2(benchmark, note):
    ps = joints(100_000, (2, 2, 2))

    def whole():
        return pid_batch(ps), synergy_bounds(*pairwise(ps))

    note(f"figure 6.2, 100,000 joints with every bound: {seconds(whole, 3):.2f} s (at most 2)")
    benchmark.pedantic(whole, rounds=1)


def test_no_failure_on_10000_random_joints(benchmark, note):
    """Sizes 2 to 12, Dirichlet concentration 10^-1.5 to 10^0.5, up to 60 % zeros."""
    rng = np.random.default_rng(0)
    gaps, steps, start = [], [], time.perf_counter()
    while len(gaps) < 10_000:
        shape = tuple(rng.integers(2, 13, 3))
        p = rng.dirichlet(np.full(math.prod(shape), 10 ** rng.uniform(-1.5, 0.5))).reshape(shape)
        p = p * (rng.random(shape) >= rng.uniform(0, 0.6))
        if p.sum() > 0:
            result = pid(p, base=math.e)
            gaps.append(result.gap)
            steps.append(result.iterations)
    note(
        f"{len(gaps)} random joints: {sum(gap > 1e-8 for gap in gaps)} not certified, worst gap {max(gaps):.1e} nats,"
        f" at most {max(steps)} steps, {time.perf_counter() - start:.0f} s"
    )
    assert max(gaps) <= 1e-8
    benchmark.pedantic(lambda: None, rounds=1)
