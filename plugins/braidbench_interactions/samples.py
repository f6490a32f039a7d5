"""Samples of two modalities and a label, checked: what every estimator reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench.errors import DataError, UsageError
from braidbench_interactions.joint import FloatArray

IntArray = NDArray[np.int64]

TRAIN, VALID, TEST = 0, 1, 2
"""Values of ``Samples.split``: rows to fit on, to choose on, and further held-out rows."""

_SHARES = (0.6, 0.2)  # of rows that come without a split: training and validation


@dataclass(frozen=True)
class Samples:
    """N rows of two modalities, their label and their split."""

    first: FloatArray
    """(N, D1), finite."""
    second: FloatArray
    """(N, D2), finite."""
    labels: IntArray
    """(N,), 0 … classes − 1, each with a training row."""
    split: IntArray
    """(N,), ``TRAIN``, ``VALID`` or ``TEST``."""
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def train(self) -> NDArray[np.bool_]:
        rows: NDArray[np.bool_] = self.split == TRAIN
        return rows

    @property
    def valid(self) -> NDArray[np.bool_]:
        rows: NDArray[np.bool_] = self.split == VALID
        return rows

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows that nothing is fitted on: validation and test."""
        rows: NDArray[np.bool_] = self.split != TRAIN
        return rows

    @property
    def both(self) -> FloatArray:
        """(N, D1 + D2), the modalities side by side."""
        features: FloatArray = np.hstack([self.first, self.second])
        return features

    def relabelled(self, rng: np.random.Generator) -> Samples:
        """The labels permuted within each split: no feature says anything about them any more."""
        labels = self.labels.copy()
        for split in (TRAIN, VALID, TEST):
            rows = np.flatnonzero(self.split == split)
            labels[rows] = labels[rng.permutation(rows)]
        return replace(self, labels=labels)


def check_samples(
    features1: ArrayLike, features2: ArrayLike, labels: ArrayLike, split: ArrayLike | None = None, seed: int = 0
) -> Samples:
    """Features (N, …), flattened a row, and labels (N,) of any values, as :class:`Samples`.

    Without ``split`` ("train", "valid", "test" or 0, 1, 2 a row) rows are assigned at random, 60/20/20 of each class.

    Raises:
        DataError: a feature is NaN or infinite; a label has one value, or one that no training row has.
        UsageError: shapes that do not fit, features that are not numbers, an unknown split, no held-out row.
    """
    first, second = _features("the first", features1), _features("the second", features2)
    # np.asarray would read what a mask hides as if it were there.
    if isinstance(labels, np.ma.MaskedArray) and np.ma.getmaskarray(labels).any():
        row = int(np.argwhere(np.ma.getmaskarray(labels))[0][0])
        raise DataError(f"label: row {row} is missing (masked); leave rows without a label out")
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise UsageError(f"labels are one a row, (N,): {error}") from None
    if found.ndim != 1:
        raise UsageError(f"labels are one a row, (N,); these have shape {found.shape}")
    if not len(first) == len(second) == len(found):
        raise UsageError(f"rows differ: {len(first)} and {len(second)} of the modalities, {len(found)} labels")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise DataError(f"label: row {int(np.flatnonzero(~np.isfinite(found))[0])} is not finite")
    for row, value in enumerate(found.tolist() if found.dtype.kind in "OUSMm" else ()):
        if _is_missing(value):
            raise DataError(f"label: row {row} is missing ({value!r}); leave rows without a label out")
    if found.dtype == object:
        kinds = {str if isinstance(value, str) else float for value in found.tolist()}
        if len(kinds) > 1:
            raise DataError("label: some rows hold text and some numbers; give one type")
    try:
        values, codes = np.unique(found, return_inverse=True)
    except TypeError as error:
        raise DataError(f"label: the values cannot be told apart ({error}); give strings or integers") from None
    if len(values) > max(len(found) / 2, 3):
        raise DataError(
            f"the label has {len(values)} distinct values in {len(found)} rows: it is continuous, or names each row; "
            "give classes, such as np.digitize(label, np.quantile(label, [0.25, 0.5, 0.75]))"
        )
    if len(values) < 2:
        raise DataError(f"the label has one value, {values[0] if len(values) else 'none'}: there is nothing to know")
    assigned = _assign(codes, seed) if split is None else _split(split, len(found))
    absent = np.setdiff1d(np.arange(len(values)), codes[assigned == TRAIN])
    if len(absent):
        raise DataError(f"label {values[absent[0]]} has no training row ({len(absent)} of {len(values)} labels)")
    if not (assigned == VALID).any():
        raise UsageError("there is no validation row: estimators are chosen and calibrated on rows not fitted on")
    return Samples(first, second, codes.astype(np.int64), assigned, len(values))


def _is_missing(value: object) -> bool:
    """Whether it is None, empty, or NaN, NaT or NA, of which none is equal to itself."""
    if value is None or (isinstance(value, str | bytes) and not value):
        return True
    try:
        return bool(value != value)
    except TypeError:
        return True  # pandas.NA is neither equal to itself nor unequal.


def _features(which: str, features: ArrayLike) -> FloatArray:
    if isinstance(features, np.ma.MaskedArray) and np.ma.getmaskarray(features).any():
        place = np.argwhere(np.ma.getmaskarray(features))[0]
        raise DataError(f"{which} modality: the value at row {int(place[0])} is masked; features must be there")
    try:
        given = np.asarray(features)
        if given.dtype.kind not in "fiubO":
            raise TypeError(f"it has type {given.dtype}")
        with np.errstate(over="ignore"):
            array = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{which} modality is not an array of numbers: {error}") from None
    if array.ndim == 0 or not len(array):
        raise UsageError(f"{which} modality has no rows")
    array = array.reshape(len(array), -1)
    if not array.shape[1]:
        raise UsageError(f"{which} modality has no features")
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{which} modality: {array[row, column]} at row {row}, feature {column} ({int(bad.sum())} in all); "
            "features must be finite"
        )
    return array


def _split(split: ArrayLike, rows: int) -> IntArray:
    found = np.asarray(split)
    if found.shape != (rows,):
        raise UsageError(f"the split is one a row, ({rows},); this has shape {found.shape}")
    names = {"train": TRAIN, "valid": VALID, "test": TEST, "0": TRAIN, "1": VALID, "2": TEST}
    unknown = sorted({str(value) for value in np.unique(found)} - set(names))
    if unknown:
        raise UsageError(f"split {unknown[0]!r} is none of train, valid, test")
    return np.array([names[str(value)] for value in found.tolist()], dtype=np.int64)


def _assign(codes: NDArray[np.intp], seed: int) -> IntArray:
    """60/20/20 of each class at random; a class always has a training row."""
    rng = np.random.default_rng(seed)
    split = np.full(len(codes), TEST, dtype=np.int64)
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        train = max(round(_SHARES[0] * len(rows)), 1)
        split[rows[:train]] = TRAIN
        split[rows[train : train + round(_SHARES[1] * len(rows))]] = VALID
    return split
