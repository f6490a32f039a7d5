"""Intervals, tests and ranks against scipy, hand-worked cases and simulation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from braidbench import stats


def test_estimate_is_students_t():
    values = [0.91, 0.94, 0.89, 0.93]
    found = stats.estimate(values)
    low, high = scipy.stats.t.interval(0.95, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.9175), pytest.approx(np.std(values, ddof=1)), 4)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_neither_deviation_nor_interval_and_none_has_nothing():
    assert stats.estimate([0.5]) == stats.Estimate(0.5, None, None, None, 1)
    assert stats.estimate([]) is None


def test_the_interval_over_three_seeds_covers_in_95_of_100_studies():
    samples = np.random.default_rng(0).normal(2.0, 0.3, (4000, 3))
    hits = [found.low <= 2.0 <= found.high for found in map(stats.estimate, samples)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.011)  # three standard errors of a share in 4000


def test_the_pigeonhole_interval_has_the_variance_of_its_design():
    """Normal seeds and samples: the half width is 1.96 √(s²/S + σ²/N + …), with the seeds' variance not shrunk."""
    rng = np.random.default_rng(1)
    seeds, samples = 12, 400
    differences = rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 1.0, (1, samples))
    low, high = stats.paired_interval(differences)
    expected = 1.96 * np.sqrt(
        differences.mean(axis=1).var(ddof=1) / seeds + differences.mean(axis=0).var(ddof=1) / samples
    )
    assert (high - low) / 2 == pytest.approx(expected, rel=0.08)
    assert (low + high) / 2 == pytest.approx(differences.mean(), abs=0.02)


def test_the_interval_of_one_seed_is_the_ordinary_bootstrap():
    differences = np.random.default_rng(2).normal(0.1, 1, 300)
    low, high = stats.paired_interval(differences[None])
    theirs = scipy.stats.bootstrap((differences,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_the_sign_flip_test_is_exact_for_few_samples():
    # Of the 16 assignments of signs to 1, 2, 3, −4 those with |sum| ≥ 2 are the ones not summing to 0: 16 − 2.
    assert stats.sign_flip_p(np.array([1.0, 2.0, 3.0, -4.0])) == pytest.approx(14 / 16)
    differences = np.random.default_rng(3).normal(0.4, 1, 10)
    theirs = scipy.stats.permutation_test(
        (differences, np.zeros(10)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert stats.sign_flip_p(differences) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("wins", "losses"), [(9, 3), (30, 12), (120, 90)])
def test_on_correct_and_wrong_it_is_the_sign_test(wins, losses):
    """Differences of 0/1 scores give McNemar's exact test, which is a binomial one; equal samples say nothing."""
    differences = np.r_[np.ones(wins), -np.ones(losses), np.zeros(500)]
    expected = scipy.stats.binomtest(wins, wins + losses).pvalue
    assert stats.sign_flip_p(differences) == pytest.approx(expected, abs=4 * np.sqrt(expected / 10_000))


def test_a_p_value_is_never_zero_and_no_difference_is_no_evidence():
    assert stats.sign_flip_p(np.ones(1000)) == 1 / 10_001
    assert stats.sign_flip_p(np.zeros(5)) == 1.0


def test_the_test_keeps_its_level():
    rng = np.random.default_rng(4)
    p_values = [stats.sign_flip_p(rng.normal(0, 1, 12)) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.085  # three standard errors above the level


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04; never falling: .04 .06 .06 .06.
    assert stats.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.9, 0.6]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferronis(p_values):
    adjusted = stats.holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(1.0, len(p_values) * p) + 1e-12
    assert np.all(np.diff(np.array(adjusted)[np.argsort(p_values, kind="stable")]) >= 0)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_ranks_are_competition_ranks(scores):
    expected = scipy.stats.rankdata([-score for score in scores], method="min")
    assert stats.ranks(np.array(scores, float)).tolist() == expected.tolist()


def test_missing_scores_have_no_rank_and_rounding_makes_none():
    assert stats.ranks(np.array([[0.5, np.nan, 0.7, 0.5]]))[0].tolist()[::2] == [2.0, 1.0]
    assert np.isnan(stats.ranks(np.array([0.5, np.nan]))[1])
    means = [sum(values) / 3 for values in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])]
    assert means[0] != means[1], "the same scores in another order"
    assert stats.ranks(np.array(means)).tolist() == [1.0, 1.0]


def test_rank_intervals_say_how_far_noise_decides():
    rng = np.random.default_rng(5)
    clear = [list(level + rng.normal(0, 0.001, 5)) for level in (0.9, 0.8, 0.7)]
    assert stats.rank_intervals(clear) == [(1, 1), (2, 2), (3, 3)]
    noisy = [list(rng.normal(0.8, 0.1, 5)) for _ in range(3)]
    assert any(low < high for low, high in stats.rank_intervals(noisy))
    assert stats.rank_intervals(noisy) == stats.rank_intervals(noisy)


def test_a_row_with_one_seed_has_no_rank_interval():
    intervals = stats.rank_intervals([[0.9, 0.91], [0.5], [0.7, 0.72]])
    assert intervals == [(1, 1), None, (2, 2)]


def test_rank_intervals_of_three_seeds_cover_when_methods_are_close():
    """Five methods half a standard error apart, the hardest case; drawing n of n seeds would cover 89 %."""
    rng = np.random.default_rng(6)
    levels = -np.arange(5) * 0.5 / np.sqrt(3)
    hits = [
        low <= place <= high
        for _ in range(150)
        for place, (low, high) in enumerate(
            stats.rank_intervals([list(level + rng.normal(size=3)) for level in levels]), start=1
        )
    ]
    assert np.mean(hits) > 0.9


def test_overall_ranks_carry_the_tasks_disagreement():
    first, second = [0.9, 0.9, 0.9], [0.8, 0.8, 0.8]
    assert stats.overall_rank_intervals([[first, second]] * 4) == [(1, 1), (2, 2)]
    split = stats.overall_rank_intervals([[first, second], [first, second], [second, first]])
    assert split == [(1, 2), (1, 2)]
    assert stats.overall_rank_intervals([[first, [0.8]]]) == [(1, 1), None]


def test_importing_needs_no_scipy():
    code = "import sys, braidbench.stats; print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
