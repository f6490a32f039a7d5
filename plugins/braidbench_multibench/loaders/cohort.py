"""Five-year mortality in the NAFLD cohort: a table and an irregular series of measurements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench_multibench.splits import stratified

SEED = 20240502
FRACTIONS = {"train": 0.6, "valid": 0.2, "test": 0.2}
DAYS_A_YEAR = 365.25
HORIZON = 5 * DAYS_A_YEAR
"""Days after the index date that the outcome covers."""
BINS = 20
BIN_DAYS = DAYS_A_YEAR / 2
"""The ten years before the index date, in half-years."""
STATIC = ("age", "male", "weight", "height", "bmi")
SERIES = {"hdl": (1.0, 300.0), "sbp": (40.0, 300.0), "fib4": (0.0, 100.0), "smoke": (0.0, 1.0)}
"""Measurement → the plausible range; a value outside it is a typing error (a pressure of 13,682 mmHg) and not read.

``chol`` and ``dbp`` of the shipped table repeat ``hdl`` and ``sbp`` value by value, so they are left out.
"""
GROUPS = {
    "cardiac": ("MI", "ang/isc", "cardiac arrest", "heart failure", "afib"),
    "stroke": ("stroke",),
    "diabetes": ("diabetes",),
    "hypertension": ("htn",),
    "dyslipidemia": ("dyslipidemia",),
}
"""Outcome group → the events of nafld3 that belong to it."""


def load(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """Columns ``static`` (N, 5) and ``labs`` (N, 20, 4) float32 with NaN where nothing was measured, ``mortality``
    (N,) with 1 for died, ``outcomes`` (N, 5), ``group`` (N,): the patient."""
    import pandas as pd

    tables = {
        # The tables are pickled pandas frames, which only pandas' own classes can rebuild. They lie in an installed
        # package, whose code we would be running anyway if we imported it; this is how that package reads them.
        name.rpartition("/")[2].partition(".")[0]: pd.read_pickle(path, compression="xz")
        for name, path in files.items()
    }
    return build(tables["nafld1"], tables["nafld2"], tables["nafld3"])


def build(patients: Any, measurements: Any, events: Any) -> dict[str, dict[str, NDArray[Any]]]:
    """The columns from the frames ``nafld1``, ``nafld2`` and ``nafld3`` (their R documentation names the fields)."""
    patients = patients.sort_values("id", kind="stable")
    known, mortality = mortality_within_horizon(patients)
    patients, mortality = patients[known], mortality[known]
    identity = patients["id"].to_numpy(np.int64)
    columns: dict[str, NDArray[Any]] = {
        "static": patients[list(STATIC)].to_numpy(np.float32),
        "labs": bin_series(identity, measurements),
        "mortality": mortality,
        "outcomes": outcomes(identity, events),
        "group": identity,
    }
    rows = split_by_content(columns["static"], columns["labs"], mortality)
    return {split: {name: column[index] for name, column in columns.items()} for split, index in rows.items()}


def mortality_within_horizon(patients: Any) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(whether the outcome is known, 1 for died within the horizon), each (patients,).

    Who left the study alive before the horizon has no known outcome. Nor may a death count where the study itself ended
    too early to see a survivor: late entrants would then be in the data only if they died, and whatever betrays the
    calendar year (blood pressure was recorded ever more often) would betray the outcome. A matched set shares its index
    date, so a set counts if one of its members was followed beyond the horizon.
    """
    follow_up = patients["futime"].to_numpy(np.float64)
    # The 31 subjects without a set are each a set of their own.
    matched = patients["case.id"].fillna(-patients["id"])
    observable = (patients["futime"].groupby(matched).transform("max") > HORIZON).to_numpy()
    died = (patients["status"].to_numpy() == 1) & (follow_up <= HORIZON)
    return observable & (died | (follow_up > HORIZON)), died.astype(np.int64)


def split_by_content(
    static: NDArray[np.float32], labs: NDArray[np.float32], mortality: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Rows of each split, stratified by mortality. Patients whose inputs are the same stay together.

    A tenth of the patients share their inputs with another, most of them because nothing but age and sex is known; a
    model must not meet in the test split the very input whose answer it was trained on.
    """
    content = np.concatenate([static, labs.reshape(len(labs), -1)], axis=1)
    keys = np.ascontiguousarray(content).view(np.dtype((np.void, content.shape[1] * content.itemsize))).ravel()
    _, unit = np.unique(keys, return_inverse=True)
    died = np.zeros(unit.max() + 1, np.int64)
    np.maximum.at(died, unit, mortality)
    rng = np.random.default_rng(SEED)
    units = stratified(died, FRACTIONS, rng)
    return {split: rng.permutation(np.flatnonzero(np.isin(unit, chosen))) for split, chosen in units.items()}


def bin_series(identity: NDArray[np.int64], measurements: Any) -> NDArray[np.float32]:
    """(patients, 20, 4): the mean of each measurement in each half-year up to the index date, oldest first.

    NaN where there is none. Nothing after the index date (``days`` above 0) is read.
    """
    days = measurements["days"].to_numpy(np.float64)
    value = measurements["value"].to_numpy(np.float64)
    owner = measurements["id"].to_numpy(np.int64)
    row = np.minimum(np.searchsorted(identity, owner), len(identity) - 1)
    step = BINS - 1 - np.floor_divide(-days, BIN_DAYS).astype(np.int64)
    usable = (identity[row] == owner) & (days <= 0) & (step >= 0)
    total = np.zeros((len(identity), BINS, len(SERIES)))
    count = np.zeros_like(total)
    test = measurements["test"].to_numpy()
    for channel, (name, (low, high)) in enumerate(SERIES.items()):
        chosen = usable & (test == name) & (value >= low) & (value <= high)
        np.add.at(total, (row[chosen], step[chosen], channel), value[chosen])
        np.add.at(count, (row[chosen], step[chosen], channel), 1.0)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean.astype(np.float32)


def outcomes(identity: NDArray[np.int64], events: Any) -> NDArray[np.int64]:
    """(patients, groups): 1 where an event of the group is recorded in the five years after the index date."""
    recorded = events[(events["days"] > 0) & (events["days"] <= HORIZON)]
    return np.stack(
        [np.isin(identity, recorded["id"][recorded["event"].isin(names)]) for names in GROUPS.values()], axis=1
    ).astype(np.int64)
