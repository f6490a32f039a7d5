"""What holds for every joint distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from braidbench_interactions import pid
from braidbench_interactions.measures import i_min, informations

EXACT = 1e-7
"""The certified gap is 1e-8 nats; each side of a comparison has its own."""


@st.composite
def joints(draw, largest=4):
    shape = draw(st.tuples(st.integers(2, largest), st.integers(2, largest), st.integers(2, largest)))
    # Weights over several magnitudes, a third of them zero.
    exponent = draw(arrays(np.float64, shape, elements=st.floats(-9, 0, width=32)))
    absent = draw(arrays(np.int8, shape, elements=st.integers(0, 2)))
    p = np.where(absent > 0, np.exp(exponent), 0.0)
    p.flat[draw(st.integers(0, p.size - 1))] += 0.1
    return p / p.sum()


@st.composite
def joints_with_seed(draw):
    return draw(joints()), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def terms(p):
    result = pid(p)
    return np.array([result.redundancy, result.unique1, result.unique2, result.synergy])


@settings(deadline=None, max_examples=150)
@given(joints())
def test_terms_are_information(p):
    """Non-negative; they add up to I(X1, X2; Y), and R + U_i to I(X_i; Y)."""
    found, every = terms(p), informations(p)
    assert (found >= 0).all()
    assert pid(p).certified
    assert found.sum() == pytest.approx(every.x1x2_y, abs=EXACT)
    assert found[0] + found[1] == pytest.approx(every.x1_y, abs=EXACT)
    assert found[0] + found[2] == pytest.approx(every.x2_y, abs=EXACT)
    assert found[0] - found[3] == pytest.approx(every.coinformation, abs=EXACT)
    # Bounds of any decomposition with these identities.
    assert found[1] <= every.x1_y_given_x2 + EXACT
    assert found[2] <= every.x2_y_given_x1 + EXACT


@settings(deadline=None, max_examples=75)
@given(joints())
def test_swapping_modalities_swaps_unique_information(p):
    assert terms(p.swapaxes(0, 1)) == pytest.approx(terms(p)[[0, 2, 1, 3]], abs=EXACT)


@settings(deadline=None, max_examples=75)
@given(joints_with_seed())
def test_relabelling_changes_nothing(case):
    p, rng = case
    for axis in range(3):
        p_other = np.take(p, rng.permutation(p.shape[axis]), axis=axis)
        assert terms(p_other) == pytest.approx(terms(p), abs=EXACT)


@settings(deadline=None, max_examples=75)
@given(joints_with_seed())
def test_splitting_a_value_at_random_changes_nothing(case):
    """Only posteriors count: two values of the same posterior are as good as one."""
    p, rng = case
    share = rng.random()
    split = np.concatenate([p, p[:1] * share], axis=0)
    split[0] *= 1 - share
    assert terms(split) == pytest.approx(terms(p), abs=EXACT)


@settings(deadline=None, max_examples=75)
@given(joints_with_seed())
def test_data_processing(case):
    """A noisy X1 has less redundancy, less unique information and less in all; X2 can only become more unique."""
    p, rng = case
    channel = rng.dirichlet(np.full(3, 0.5), size=p.shape[0])
    before, after = terms(p), terms(np.einsum("ijk,il->ljk", p, channel))
    assert after[0] <= before[0] + EXACT
    assert after[1] <= before[1] + EXACT
    assert after[2] >= before[2] - EXACT
    assert after.sum() <= before.sum() + EXACT


@settings(deadline=None, max_examples=75)
@given(joints())
def test_only_synergy_knows_the_coupling(p):
    """Redundancy and unique information follow from p(x1, y) and p(x2, y) (definition 5); I-min's is more."""
    label = p.sum((0, 1))
    product = np.einsum("ik,jk->ijk", p.sum(1), p.sum(0) / np.where(label > 0, label, 1))
    assert terms(product)[:3] == pytest.approx(terms(p)[:3], abs=EXACT)
    assert terms(p)[0] <= i_min(p).redundancy + EXACT
