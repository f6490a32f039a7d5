"""Estimators on samples whose decomposition is known, their bias, their uncertainty, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from braidbench.errors import DataError, UsageError
from braidbench_interactions import estimate, estimate_pairs, estimate_union, pid, truth
from braidbench_interactions.discretise import Clusters, Histogram, count, cube_root_bins, fit_codes
from braidbench_interactions.estimation import SparseWarning
from braidbench_interactions.generators import GENERATORS, Latent
from braidbench_interactions.joint import mutual_information
from braidbench_interactions.posterior import (
    calibrate,
    check_posterior,
    cluster_posteriors,
    cross_entropy,
    match_marginals,
    merge,
)
from braidbench_interactions.samples import TEST, TRAIN, VALID, check_samples
from braidbench_interactions.synthetic import sample

QUICK = {"bootstrap": 0, "permutations": 0}


def _drawn(name, rows=6000, seed=0):
    columns = sample(GENERATORS[name], rows, np.random.default_rng(seed))
    return columns["first"], columns["second"], columns["label"]


# --- the whole --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["and", "xor"])
def test_cvx_recovers_table_3_1(name):
    found = estimate(*_drawn(name), "cvx", bins=4, **QUICK)
    assert found.values == pytest.approx(truth.truth(name).terms, abs=1e-3)
    assert found.gap < 1e-8
    assert found.unit == "bits"


@pytest.mark.parametrize("estimator", ["cvx", "posterior"])
def test_mixtures_of_gaussians(estimator):
    for name in ("cartesian-1-22.5", "polar-1-45"):
        found = estimate(*_drawn(name, 8_000), estimator, bootstrap=0, permutations=1)
        assert found.values == pytest.approx(truth.truth(name).terms, abs=0.05)


@pytest.mark.parametrize("name", ["redundancy", "synergy"])
def test_posterior_on_the_specialised_datasets(name):
    found = estimate(*_drawn(name, 5_000), "posterior", bootstrap=20, permutations=0)
    assert found.dominant == truth.truth(name).dominant
    assert found.values == pytest.approx(truth.truth(name).terms, abs=0.05)
    largest = found.terms[found.dominant]
    assert largest.low < largest.value < largest.high
    assert largest.high - largest.low < 0.1


def test_several_classes_against_the_exact_decomposition():
    """Features are one-hot symbols with noise that says nothing: the joint distribution is known."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(27, 0.3)).reshape(3, 3, 3)
    exact = pid(p)
    rows = rng.choice(27, 12_000, p=p.ravel())
    first, second, labels = np.unravel_index(rows, p.shape)
    features = [np.eye(3)[x] + rng.normal(0, 0.05, (len(rows), 3)) for x in (first, second)]
    expected = (exact.redundancy, exact.unique1, exact.unique2, exact.synergy)
    for estimator in ("posterior", "cvx"):
        found = estimate(*features, labels, estimator, clusters=12, bootstrap=0, permutations=1)
        assert found.values == pytest.approx(expected, abs=0.05)
        assert found.gap < 1e-7


def test_auto_takes_what_predicts_held_out_labels_better():
    # What decides is no leading component, as clusters would have it; a table of symbols is no classifier's business.
    assert estimate(*_drawn("unique1", 2000), **QUICK).estimator == "posterior"
    rng = np.random.default_rng(1)
    symbols = rng.integers(0, 200, (2, 5000))
    lookup = rng.integers(0, 2, 200)
    found = estimate(symbols[0][:, None], symbols[1][:, None], lookup[symbols[0]], bins=200, **QUICK)
    losses = found.details["validation_loss"]
    assert found.estimator == min(losses, key=losses.get)


def test_swapping_modalities_swaps_unique_information():
    first, second, labels = _drawn("cartesian-1-22.5", 3000)
    one, other = (estimate(a, b, labels, "cvx", **QUICK) for a, b in ((first, second), (second, first)))
    assert one.values == pytest.approx(other.values[[0, 2, 1, 3]], abs=1e-9)


def test_units():
    bits, nats = (estimate(*_drawn("and"), "cvx", base=base, **QUICK) for base in (2, math.e))
    assert bits.values * math.log(2) == pytest.approx(nats.values)
    assert nats.unit == "nats"
    assert bits.label_entropy == pytest.approx(0.8113, abs=1e-3)


def test_one_seed_one_result():
    first, second = (estimate(*_drawn("mix1", 800), bootstrap=5, permutations=1, seed=3).as_plain() for _ in range(2))
    assert first == second


# --- bias and uncertainty ---------------------------------------------------------------------------------------------


def test_permutation_removes_the_synergy_that_few_samples_feign():
    """D_U1 at the published sample size has no synergy; plug-in estimates on 20 × 20 × 2 cells find some."""
    features = _drawn("unique1", 1800)
    found = estimate(*features, "cvx", components=2, bootstrap=0)
    assert found.synergy.raw > 0.04
    assert found.synergy.value < 0.02
    assert found.synergy.bias == pytest.approx(0.065, abs=0.03)  # 0.045 to 0.049 nats where it was measured before


def test_labels_without_any_information_have_none():
    rng = np.random.default_rng(4)
    for estimator in ("cvx", "posterior"):
        found = estimate(rng.normal(size=(1500, 6)), rng.normal(size=(1500, 4)), rng.integers(0, 2, 1500), estimator,
                         bootstrap=0)  # fmt: skip
        assert found.total < 0.02


def test_fewer_samples_than_cells_is_said_with_the_bias():
    rng = np.random.default_rng(5)
    with pytest.warns(SparseWarning, match=r"300 samples for 800 cells.*biased, by 0\.\d+ bits"):
        found = estimate(rng.normal(size=(300, 3)), rng.normal(size=(300, 3)), rng.integers(0, 2, 300), "cvx")
    assert found.notes


def test_intervals_hold_what_repeated_sampling_gives():
    """The bootstrap's width against the scatter over independent data sets."""
    runs = [estimate(*_drawn("cartesian-1-22.5", 2000, seed), "cvx", bins=10, permutations=0, bootstrap=60, seed=seed)
            for seed in range(12)]  # fmt: skip
    values = np.array([run.values for run in runs])
    width = np.mean([run.unique1.high - run.unique1.low for run in runs])
    assert width == pytest.approx(2 * 1.96 * values[:, 1].std(ddof=1), rel=0.6)


# --- discretisation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "bins"), [(1000, 10), (1001, 11), (27, 3), (1, 2)])
def test_cube_root_rule(samples, bins):
    assert cube_root_bins(samples) == bins


def test_histogram_has_bins_of_one_width_and_open_ends():
    histogram = Histogram.fit(np.array([[0.0], [10.0]]), bins=5)
    assert histogram.edges == pytest.approx([2, 4, 6, 8])
    assert histogram(np.array([[-99.0], [1.9], [2.0], [7.0], [99.0]])).tolist() == [0, 0, 1, 3, 4]
    constant = Histogram.fit(np.ones((9, 1)))
    assert (constant.size, constant(np.ones((3, 1))).tolist()) == (1, [0, 0, 0])
    with pytest.raises(UsageError, match="one feature"):
        Histogram.fit(np.ones((9, 2)))


def test_clusters_are_those_of_the_training_rows():
    rng = np.random.default_rng(6)
    centres = rng.normal(0, 20, (4, 7))
    train = centres[np.arange(200) % 4] + rng.normal(size=(200, 7))
    codes = fit_codes(train, clusters=4)
    assert isinstance(codes, Clusters)
    # Rows of one cluster alone keep that cluster's symbol: nothing is fitted on them.
    own = codes(train[:4])
    for which in range(4):
        alone = codes(centres[which] + rng.normal(size=(30, 7)))
        assert set(alone.tolist()) == {own[which]}


def test_no_more_clusters_than_distinct_rows():
    assert Clusters.fit(np.repeat(np.eye(3), 10, axis=0), clusters=20).size == 3


def test_counts():
    counts = count(np.array([0, 1, 1]), np.array([2, 0, 0]), np.array([1, 0, 0]), (2, 3, 2))
    assert counts.sum() == 3
    assert (counts[0, 2, 1], counts[1, 0, 0]) == (1, 2)


# --- posteriors -------------------------------------------------------------------------------------------------------


def test_calibration_makes_claimed_and_shown_information_one():
    rng = np.random.default_rng(7)
    logits = 2 * rng.normal(size=(4000, 3))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=row) for row in posterior])
    overconfident = posterior**3 * [1, 2, 0.5]
    overconfident /= overconfident.sum(axis=1, keepdims=True)
    calibrated = calibrate(overconfident, labels, np.ones(4000))
    claimed = -(calibrated * np.log(calibrated)).sum(axis=1).mean()
    assert claimed == pytest.approx(cross_entropy(calibrated, labels), abs=1e-6)
    assert calibrated.mean(axis=0) == pytest.approx(np.bincount(labels) / 4000, abs=1e-6)
    assert np.abs(calibrated - posterior).max() < 0.06


def test_a_posterior_that_is_wrong_says_nothing_after_calibration():
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 1000)
    wrong = np.where(labels[:, None] == [0, 1], 0.1, 0.9)
    assert np.ptp(calibrate(wrong, labels, np.ones(1000))[:, 0]) == 0


def test_a_certain_classifier_is_calibrated_without_overflow():
    labels = np.arange(100) % 2
    certain = np.eye(2)[labels]
    calibrated = calibrate(certain, labels, np.ones(100))
    assert np.isfinite(calibrated).all()
    assert cross_entropy(calibrated, labels) < 1e-6


def test_tables_have_their_margins():
    rng = np.random.default_rng(9)
    posterior = rng.dirichlet(np.ones(4), 50)
    share, frequency = rng.dirichlet(np.ones(50)), np.array([0.1, 0.2, 0.3, 0.4])
    table = match_marginals(posterior, share, frequency, sweeps=1000)
    assert table.sum(axis=0) == pytest.approx(frequency, abs=1e-9)
    assert table.sum(axis=1) == pytest.approx(share, abs=1e-9)


def test_clustered_posteriors_lose_little_and_less_with_more_symbols():
    rng = np.random.default_rng(10)
    posterior = rng.dirichlet(np.full(5, 0.4), 2000)
    table, total = posterior / 2000, float(mutual_information(posterior / 2000))
    lost = [
        total - float(mutual_information(merge(table, cluster_posteriors(posterior, np.ones(2000), k))))
        for k in (5, 20, 60)
    ]
    assert lost[0] > lost[1] > lost[2] > 0
    assert lost[2] < 0.15 * total


# --- what is refused --------------------------------------------------------------------------------------------------


def test_features_that_are_not_finite_are_named():
    features = np.zeros((10, 3))
    features[4, 2] = np.nan
    with pytest.raises(DataError, match="second modality: nan at row 4, feature 2"):
        estimate(np.zeros((10, 1)), features, np.arange(10) % 2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.zeros(20)}, DataError, "one value"),
        ({"labels": np.arange(19)}, UsageError, "rows differ"),
        ({"labels": np.full(20, np.nan)}, DataError, "not finite"),
        ({"labels": np.zeros((20, 2))}, UsageError, "one a row"),
        ({"features1": np.zeros((20, 0))}, UsageError, "no features"),
        ({"features1": [["a"]] * 20}, UsageError, "numbers"),
        ({"features1": [["1"]] * 20}, UsageError, "not an array of numbers: it has type <U1"),
        ({"features1": np.ones((20, 1), complex)}, UsageError, "not an array of numbers: it has type complex128"),
        ({"features1": [[10**400]] * 20}, UsageError, "not an array of numbers: int too large"),
        ({"features2": np.ma.array(np.ones((20, 2)), mask=np.eye(20, 2, -3))}, DataError, "value at row 3 is masked"),
        ({"labels": np.ma.array(np.arange(20) % 2, mask=[0, 0, 1] + [0] * 17)}, DataError, "row 2 is missing"),
        ({"labels": np.array([0, None] + [1] * 18, object)}, DataError, "row 1 is missing .None"),
        ({"labels": np.array([0, pd.NA] + [1] * 18, object)}, DataError, "row 1 is missing .<NA>"),
        ({"labels": ["u", ""] + ["v"] * 18}, DataError, "row 1 is missing"),
        ({"labels": np.array([0, "u"] * 10, object)}, DataError, "some rows hold text and some numbers"),
        ({"labels": np.linspace(0, 1, 20)}, DataError, "20 distinct values in 20 rows: it is continuous"),
        ({"estimator": "magic"}, UsageError, "no estimator 'magic'"),
        ({"base": 1}, UsageError, "base"),
        ({"clusters": 1}, UsageError, "clusters is 2 or more"),
        ({"confidence": 1.0}, UsageError, "confidence"),
        ({"split": ["train"] * 20}, UsageError, "no validation row"),
        ({"split": ["train", "dev"] * 10}, UsageError, "'dev' is none of"),
        ({"split": ["train", "valid"] * 10}, DataError, "no training row"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {"features1": np.zeros((20, 1)), "features2": np.zeros((20, 1)), "labels": np.arange(20) % 2, **change}
    with pytest.raises(error, match=message):
        estimate(**arguments)


TEXTS = ["neg", "pos"] * 10


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["neg", "pos", None, *TEXTS[3:]], r"row 2 is missing \(None\)"),
        (np.array(["neg", "pos", np.nan, *TEXTS[3:]], object), r"row 2 is missing \(nan\)"),
        (["neg", "pos", "", *TEXTS[3:]], r"row 2 is missing \(''\)"),
        ([0, 1, np.nan, *[0, 1] * 8, 0], "row 2 is not finite"),
        (np.array(["2001", "2002", "NaT", *["2001", "2002"] * 8, "2001"], "M8[Y]"), "row 2 is missing"),
        (np.array(["neg", 1, *TEXTS[2:]], object), "some rows hold text and some numbers"),
        (np.random.default_rng(0).normal(size=20), r"20 distinct values in 20 rows: it is continuous.*np\.digitize"),
        ([f"row {row}" for row in range(20)], "20 distinct values in 20 rows: it is continuous, or names each row"),
    ],
    ids=["none", "nan", "empty", "nan-float", "nat", "mixed", "continuous", "names"],
)
def test_labels_that_are_no_classes_are_named(labels, message):
    with pytest.raises(DataError, match=message):
        check_samples(np.zeros((20, 1)), np.zeros((20, 1)), labels)


@pytest.mark.parametrize(
    "labels",
    [TEXTS, np.array(TEXTS), np.array(TEXTS, object), np.array(TEXTS, "S3"), [False, True] * 10, [-1.0, 2.5] * 10,
     np.array([7, 9] * 10, np.uint64), np.array(["2001", "2002"] * 10, "M8[Y]")],
    ids=["list", "texts", "objects", "bytes", "truths", "floats", "uint64", "years"],
)  # fmt: skip
def test_labels_of_any_make_are_numbered_in_their_order(labels):
    found = check_samples(np.zeros((20, 1)), np.zeros((20, 1)), labels)
    assert (found.labels.tolist(), found.classes) == ([0, 1] * 10, 2)


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        ([[0.5, 0.6]], "row 0 sums to 1.1"),
        ([[1.5, -0.5]], "not negative"),
        ([[np.nan, 1]], "finite"),
        ([0.5, 0.5], "classes"),
        ([[1.0]], "two classes or more"),
    ],
)
def test_posteriors_that_are_none_are_refused(posterior, message):
    with pytest.raises(UsageError, match=message):
        check_posterior(posterior)


def test_rows_without_a_split_are_assigned_by_class():
    labels = np.repeat(["a", "b"], [50, 10])
    samples = check_samples(np.zeros((60, 1)), np.zeros((60, 1)), labels)
    for label, sizes in ((0, (30, 10, 10)), (1, (6, 2, 2))):
        assert np.bincount(samples.split[samples.labels == label], minlength=3)[[TRAIN, VALID, TEST]].tolist() == list(
            sizes
        )


# --- more than two modalities -----------------------------------------------------------------------------------------


def test_every_pair():
    first, second, labels = _drawn("and", 1000)
    found = estimate_pairs({"a": first, "b": second, "c": first}, labels, "cvx", bins=4, **QUICK)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found["a", "c"].synergy.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(UsageError, match="2 modalities or more"):
        estimate_pairs({"a": first}, labels)


def test_union_of_three():
    """A third modality that repeats the first adds nothing; one that says all makes the union all there is."""
    columns = sample(Latent(50, 50, 0), 6000, np.random.default_rng(11))
    three = {"a": columns["first"][:, :100], "b": columns["second"][:, :100], "again": columns["first"][:, :100]}
    pair = estimate_union({name: three[name] for name in "ab"}, columns["label"])
    triple = estimate_union(three, columns["label"])
    assert triple.union == pytest.approx(pair.union, abs=0.005)
    assert pair.union == pytest.approx(0.213, abs=0.05)
    assert triple.synergy == pytest.approx(0.326, abs=0.06)
    with pytest.raises(UsageError, match="two classes"):
        estimate_union(three, np.arange(6000) % 3)


def test_pairs_share_their_unimodal_classifiers_and_are_those_of_estimate():
    first, second, labels = _drawn("cartesian-1-22.5", 1500)
    noise = np.random.default_rng(12).normal(size=(1500, 1))
    found = estimate_pairs({"a": first, "b": second, "c": noise}, labels, "posterior", **QUICK)
    alone = estimate(first, second, labels, "posterior", **QUICK)
    assert found["a", "b"].values == pytest.approx(alone.values, abs=1e-12)
    assert found["a", "c"].dominant == "unique1"


def test_a_class_of_few_rows_is_no_failure():
    rng = np.random.default_rng(13)
    labels = np.repeat([0, 1, 2], [200, 100, 4])
    features = rng.normal(size=(304, 2)) + labels[:, None]
    found = estimate(features[:, :1], features[:, 1:], labels, "posterior", **QUICK)
    assert 0.1 < found.total < found.label_entropy
