"""Fixed, disjoint splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.specs import SPLITS


def cut(rows: NDArray[np.int64], sizes: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Consecutive pieces of ``rows``, one a split. Raises ValueError if there are too few."""
    if len(rows) < sum(sizes.values()):
        raise ValueError(f"{len(rows)} rows are too few for splits of {dict(sizes)}")
    ends = np.cumsum([sizes[split] for split in SPLITS])
    return {split: rows[end - sizes[split] : end] for split, end in zip(SPLITS, ends, strict=True)}


def stratified(
    labels: NDArray[Any], fractions: Mapping[str, float], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each split, every class divided by the same fractions and the rows of a split in chance order.

    ``fractions`` sum to 1; a class of n rows is cut at the rounded multiples of n, so no row is left out.
    """
    parts: dict[str, list[NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for value in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == value))
        ends = np.rint(np.cumsum([fractions[split] for split in SPLITS]) * len(rows)).astype(int)
        for split, start, end in zip(SPLITS, (0, *ends[:-1]), ends, strict=True):
            parts[split].append(rows[start:end])
    return {split: rng.permutation(np.concatenate(pieces)) for split, pieces in parts.items()}
