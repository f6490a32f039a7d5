"""The synthetic suites: what is declared, drawn, and known about them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from braidbench.preparation import check_disjoint, check_split
from braidbench.registry import load_target
from braidbench_interactions import pid, synthetic, truth
from braidbench_interactions.catalogue_synthetic import DATASETS
from braidbench_interactions.generators import (
    BITWISE,
    DROPOUT,
    GENERATORS,
    LATENTS,
    MIXTURES,
    TEN,
    UNSEEN,
    VARIANCE,
    Latent,
    Mixture,
)

SPECS = {spec.name.removeprefix("synthetic/"): spec for spec in DATASETS}


def test_every_suite_of_the_thesis_is_declared():
    assert set(SPECS) == set(GENERATORS)
    assert (len(BITWISE), len(TEN), len(UNSEEN)) == (3, 10, 5)
    assert {(m.norm, m.polar) for m in MIXTURES.values()} == {(1, False), (1, True), (2, False), (2, True)}


def test_declaring_them_imports_no_numpy():
    code = "import sys, braidbench_interactions.catalogue_synthetic; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", ["xor", "cartesian-1-22.5", "polar-2-45", "synergy"])
def test_a_prepared_dataset_is_what_it_declares_and_the_same_each_time(name):
    spec = SPECS[name]
    splits = load_target(spec)({})
    for split, columns in splits.items():
        check_split(spec, split, columns)
    check_disjoint(spec, splits)
    again = load_target(spec)({})
    assert all(np.array_equal(splits[s][c], again[s][c]) for s in splits for c in splits[s])
    assert abs(splits["train"]["label"].mean() - 0.5) < 0.02


@pytest.mark.parametrize("name", BITWISE)
def test_a_dithered_bit_is_read_off_without_error(name):
    columns = synthetic.sample(BITWISE[name], 400, np.random.default_rng(0))
    first, second = (np.round(columns[which][:, 0]).astype(int) for which in ("first", "second"))
    expected = {"and": first & second, "or": first | second, "xor": first ^ second}[name]
    assert np.array_equal(columns["label"], expected)
    assert np.bincount(2 * first + second).tolist() == [100] * 4


def test_polar_modalities_are_the_same_points():
    flat, polar = (
        synthetic.sample(Mixture(2.0, 22.5, polar), 1000, np.random.default_rng(1)) for polar in (False, True)
    )
    r, theta = polar["first"][:, 0], polar["second"][:, 0]
    assert theta.min() >= 0
    assert theta.max() <= np.pi
    assert (r < 0).any()
    assert r * np.cos(theta) == pytest.approx(flat["first"][:, 0], abs=1e-5)
    assert r * np.sin(theta) == pytest.approx(flat["second"][:, 0], abs=1e-5)


def test_modalities_of_a_latent_dataset_share_one_block_and_no_other():
    columns = synthetic.sample(Latent(25, 25, 25), 2000, np.random.default_rng(2))
    first, second = columns["first"], columns["second"]
    assert np.array_equal(first[:, 100:], second[:, 100:])
    crossed = np.corrcoef(first[:, :100].T, second[:, :100].T)[:100, 100:]
    assert np.abs(crossed).max() < 0.15


# --- truth ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("and", (0.311278, 0, 0, 0.5)),
        ("or", (0.311278, 0, 0, 0.5)),
        ("xor", (0, 0, 0, 1)),
    ],
)
def test_truth_of_bitwise_functions_is_table_3_1(name, terms):
    assert truth.truth(name).terms == pytest.approx(terms, abs=1e-6)


@pytest.mark.parametrize("name", ["cartesian-1-22.5", "cartesian-2-45", "polar-1-45", "polar-2-22.5"])
def test_truth_of_a_mixture_is_the_limit_of_its_histograms(name):
    """The histogram's joint comes from cumulative distributions, the truth from densities on a grid."""
    mixture = MIXTURES[name]
    joint = truth.mixture_joint(mixture, bins=400, reach=9.0)
    assert joint.sum() == pytest.approx(1, abs=1e-12)
    fine = pid(joint)
    # Binning loses information, of second order in the width.
    assert truth.truth(name).terms == pytest.approx(
        (fine.redundancy, fine.unique1, fine.unique2, fine.synergy), abs=2e-4
    )


@pytest.mark.parametrize(
    ("mixture", "terms"),
    [
        # Made independently with scipy's bivariate normal, 50 bins on [−5, 5].
        (Mixture(1, 0), (0, 0.4848, 0, 0)),
        (Mixture(1, 22.5), (0.0982, 0.3366, 0, 0.0500)),
        (Mixture(1, 45), (0.2897, 0, 0, 0.1952)),
        (Mixture(2, 22.5), (0.3285, 0.5488, 0, 0.0348)),
        (Mixture(2, 45), (0.7203, 0, 0, 0.1918)),
    ],
)
def test_figure_3_3_as_it_was_made(mixture, terms):
    found = pid(truth.mixture_joint(mixture))
    assert (found.redundancy, found.unique1, found.unique2, found.synergy) == pytest.approx(terms, abs=1e-3)


def test_polar_angles_alone_say_nothing_and_synergy_at_45_degrees_hardly_depends_on_the_norm():
    for name, mixture in MIXTURES.items():
        if mixture.polar:
            assert truth.truth(name).redundancy == pytest.approx(0, abs=1e-9)
            assert truth.truth(name).unique2 == pytest.approx(0, abs=1e-9)
    weak, strong = truth.truth("cartesian-1-45"), truth.truth("cartesian-2-45")
    assert weak.synergy == pytest.approx(strong.synergy, abs=0.005)
    assert strong.redundancy > 2 * weak.redundancy


def test_the_posterior_of_a_score_is_that_of_simulation():
    rng = np.random.default_rng(3)
    known = rng.normal(0, np.sqrt(VARIANCE), (5, 8))
    draws = 200_000
    kept = rng.random((draws, 8)) >= DROPOUT
    unknown = (rng.normal(0, np.sqrt(VARIANCE), (draws, 6)) * (rng.random((draws, 6)) >= DROPOUT)).sum(axis=1)
    simulated = ((kept @ known.T + unknown[:, None]) > 0).mean(axis=0)
    assert truth.probability_positive(known, 6) == pytest.approx(simulated, abs=5 * 0.5 / np.sqrt(draws))


@pytest.mark.parametrize("name", LATENTS)
def test_recorded_truth_is_what_is_computed(name):
    computed, recorded = truth.truth(name, 1 << 11), truth.truth(name)
    assert computed.terms == pytest.approx(recorded.terms, abs=6 * computed.error)
    assert recorded.terms == pytest.approx(truth.RECORDED[name])


def test_specialised_datasets_are_what_they_are_called():
    for name, only in {"redundancy": 0, "unique1": 1, "unique2": 2}.items():
        terms = truth.truth(name).terms
        assert terms[only] == pytest.approx(0.538, abs=0.003)
        assert sum(terms) == pytest.approx(terms[only], abs=1e-9)
    # The score of D_S is a sum: each latent alone already says which sign is likelier.
    synergy = truth.truth("synergy")
    assert synergy.dominant == "synergy"
    assert synergy.redundancy > 0.2
