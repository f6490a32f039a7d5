"""Agreement between what a dataset holds and what a model learned."""

from __future__ import annotations

import math

import pytest

from braidbench.errors import UsageError
from braidbench_interactions.agreement import agreement, correlation


def test_agreement_is_equation_3_6():
    found = agreement((0.2, 0.0, 0.1, 0.1), (0.4, 0.3, 0.2, 0.0))
    assert (found.redundancy, found.unique1, found.unique2, found.synergy) == pytest.approx((0.2, 0, 0.05, 0))
    assert found.total == pytest.approx(0.25)


def test_a_unit_of_the_dataset_does_not_matter_and_one_of_the_model_does():
    dataset, model = (0.2, 0.1, 0.1, 0.3), (0.4, 0.3, 0.2, 0.1)
    nats = agreement([value * math.log(2) for value in dataset], model)
    assert nats.total == pytest.approx(agreement(dataset, model).total)
    assert agreement(dataset, [2 * value for value in model]).total == pytest.approx(2 * nats.total)


@pytest.mark.parametrize("terms", [(0, 0, 0, 0), (1, 2, 3), (1, 1, 1, -1), (1, 1, 1, math.nan)])
def test_terms_that_are_none_are_refused(terms):
    with pytest.raises(UsageError):
        agreement(terms, (1, 1, 1, 1))


def test_correlation():
    assert correlation([1, 2, 3], [2, 4, 6.0]) == pytest.approx(1)
    assert correlation([1, 2, 3], [1, -1, 1]) == pytest.approx(0)
    assert math.isnan(correlation([1, 1], [1, 2]))
    with pytest.raises(UsageError, match="two points"):
        correlation([1], [1])
