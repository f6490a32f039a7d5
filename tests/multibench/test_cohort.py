"""cohort: nothing after the index date is read, censoring is honest, bins and outcomes by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from braidbench_multibench.loaders import cohort

Loaded = Callable[[str], Any]


@pytest.fixture(scope="module")
def tables(sources: Loaded) -> list[pd.DataFrame]:
    """nafld1, nafld2, nafld3."""
    files = sources("cohort")
    return [
        pd.read_pickle(next(path for name, path in files.items() if f"nafld{part}." in name), compression="xz")
        for part in (1, 2, 3)
    ]


def joined(splits: Any, column: str) -> np.ndarray:
    return np.concatenate([splits[split][column] for split in splits])


def test_who_is_in_and_who_died(tables: list[pd.DataFrame], loaded: Loaded) -> None:
    splits = loaded("cohort")
    found = dict(zip(joined(splits, "group").tolist(), joined(splits, "mortality").tolist(), strict=True))
    longest: dict[float, int] = {}
    for patient in tables[0].itertuples():
        longest[patient._8] = max(longest.get(patient._8, 0), patient.futime)
    expected = {}
    for patient in tables[0].itertuples():
        if patient.futime / 365.25 > 5:  # Alive at five years, whatever came after.
            expected[patient.id] = 0
        elif patient.status == 1 and longest.get(patient._8, 0) / 365.25 > 5:
            expected[patient.id] = 1
    assert found == expected
    assert sum(found.values()) == 538
    # Censored before five years: in no split.
    censored = tables[0][(tables[0].status == 0) & (tables[0].futime <= 5 * 365.25)]
    assert len(censored) == 6873
    assert not set(censored.id) & set(found)


def test_a_death_counts_only_where_a_survivor_would_be_seen() -> None:
    patients = pd.DataFrame(
        {
            "id": [1, 2, 3, 4, 5, 6],
            "case.id": [1.0, 1.0, 3.0, 3.0, np.nan, np.nan],
            "futime": [100, 3000, 200, 1000, 300, 1827],
            "status": [1, 0, 1, 0, 1, 1],
        }
    )
    known, died = cohort.mortality_within_horizon(patients)
    # 3 died in a set that ended with the study; 4 left alive; 5 has no set to say how long it could have been seen.
    assert known.tolist() == [True, True, False, False, False, True]
    assert died[known].tolist() == [1, 0, 0]


def test_matched_sets_share_their_index_date(tables: list[pd.DataFrame]) -> None:
    """The ground of the rule above: who lives to the study's end is followed equally long within a set."""
    alive = tables[0][tables[0].status == 0].groupby("case.id").futime
    gaps = [np.diff(np.sort(times)[-2:])[0] for _, times in alive if len(times) >= 3]
    assert np.median(gaps) < 31


def test_the_index_date_is_the_diagnosis(tables: list[pd.DataFrame]) -> None:
    """Days count from a case's diagnosis: the ground on which days up to 0 are inputs and later ones are not."""
    patients, _, events = tables
    cases = patients.id[patients.id == patients["case.id"]]
    diagnosis = events[events.event == "nafld"].groupby("id").days.min().reindex(cases)
    assert len(cases) == 3514
    assert (diagnosis == 0).all()


def test_one_series_by_hand(tables: list[pd.DataFrame], loaded: Loaded) -> None:
    splits = loaded("cohort")
    train = splits["train"]
    observed = np.isfinite(train["labs"]).any(axis=2).sum(axis=1)
    for row in np.argsort(-observed, kind="stable")[:20]:
        own = tables[1][tables[1].id == train["group"][row]]
        expected = np.full((20, 4), np.nan)
        for channel, (name, (low, high)) in enumerate(cohort.SERIES.items()):
            for step in range(20):
                # Half-year number `step`, the oldest first; the last one ends on the index date.
                newest, oldest = -(19 - step) * 365.25 / 2, -(20 - step) * 365.25 / 2
                days = own[(own.test == name) & (own.days <= newest) & (own.days > oldest)]
                values = days.value[(days.value >= low) & (days.value <= high)]
                if len(values):
                    expected[step, channel] = values.mean()
        np.testing.assert_allclose(train["labs"][row], expected, rtol=1e-6)


def test_nothing_after_the_index_date_reaches_the_inputs(tables: list[pd.DataFrame], loaded: Loaded) -> None:
    patients, measurements, events = tables
    later = measurements.days > 0
    assert later.sum() > 100_000
    changed = measurements.assign(value=measurements.value.where(~later, 99.0))
    without = cohort.build(patients, measurements[~later], events)
    for splits in (cohort.build(patients, changed, events), without):
        for split, columns in loaded("cohort").items():
            np.testing.assert_array_equal(splits[split]["labs"], columns["labs"])
            np.testing.assert_array_equal(splits[split]["group"], columns["group"])
    # What happened after is in the targets only; what was measured before is in the inputs.
    no_events = cohort.build(patients, measurements, events.iloc[:0])
    np.testing.assert_array_equal(no_events["test"]["static"], loaded("cohort")["test"]["static"])
    assert not no_events["test"]["outcomes"].any()
    nothing = cohort.build(patients, measurements[later], events)
    assert np.isnan(joined(nothing, "labs")).all()


def test_the_bins_boundaries() -> None:
    half = 365.25 / 2
    frame = pd.DataFrame(
        {
            "id": [7, 7, 7, 7, 7, 9, 7, 7],
            "days": [0, -182, -183, int(-20 * half) + 1, -3653, 0, 1, -1],
            "test": ["hdl", "hdl", "hdl", "hdl", "hdl", "hdl", "hdl", "sbp"],
            "value": [40.0, 60.0, 70.0, 80.0, 1.0, 1.0, 1.0, 13682.0],
        }
    )
    labs = cohort.bin_series(np.array([3, 7, 8]), frame)
    assert labs.shape == (3, 20, 4)
    assert labs[1, 19, 0] == 50.0  # days 0 and −182
    assert labs[1, 18, 0] == 70.0  # day −183
    assert labs[1, 0, 0] == 80.0  # day −3651; day −3653 is more than ten years ago
    assert np.isfinite(labs).sum() == 3  # not patient 9, not day +1, not the impossible pressure


def test_outcomes_by_hand() -> None:
    events = pd.DataFrame(
        {
            "id": [1, 1, 2, 3, 3, 4],
            "days": [10, -5, 1826, 1827, 0, 100],
            "event": ["MI", "stroke", "htn", "diabetes", "dyslipidemia", "nafld"],
        }
    )
    found = cohort.outcomes(np.array([1, 2, 3, 4]), events)
    assert found.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_the_repeated_measurements_are_repeats(tables: list[pd.DataFrame]) -> None:
    """The reason for which chol and dbp are left out; if the shipped table is mended one day, this says so."""
    for kept, repeat in (("hdl", "chol"), ("sbp", "dbp")):
        first, second = (
            tables[1][tables[1].test == name].sort_values(["id", "days", "value"])[["id", "days", "value"]]
            for name in (kept, repeat)
        )
        common = first.merge(second, on=["id", "days"], suffixes=("", "_repeat"))
        assert (common.value == common.value_repeat).mean() > 0.9999


def test_splits_are_stratified_and_keep_equal_inputs_together(loaded: Loaded) -> None:
    splits = loaded("cohort")
    rates = [splits[split]["mortality"].mean() for split in splits]
    assert max(rates) - min(rates) < 0.005
    shares = np.array([len(splits[split]["mortality"]) for split in ("train", "valid", "test")]) / 10_483
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.01)
    assert len(np.unique(joined(splits, "group"))) == 10_483
    inputs = [
        static.tobytes() + labs.tobytes()
        for static, labs in zip(joined(splits, "static"), joined(splits, "labs"), strict=True)
    ]
    _, counts = np.unique(inputs, return_counts=True)
    assert counts[counts > 1].sum() == 1063
