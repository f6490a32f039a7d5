"""Shoulder exercises from a smartwatch: accelerometer and gyroscope, split by subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench_multibench.pickles import load_npy_object

STEPS = 200
"""Steps of a window: four seconds at 50 Hz, about one repetition of an exercise."""
SUBJECTS = {"train": (1, 2, 3, 4, 5, 6), "valid": (7, 8), "test": (9, 10)}
ACCELEROMETER, GYROSCOPE = slice(0, 3), slice(3, 6)


def windows(recording: NDArray[Any], steps: int = STEPS) -> NDArray[Any]:
    """(T, channels) → (T // steps, steps, channels): windows side by side; the rest at the end is left out."""
    count = len(recording) // steps
    return recording[: count * steps].reshape(count, steps, recording.shape[1])


def load(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """Columns ``accelerometer`` and ``gyroscope`` (N, 200, 3) float32, ``exercise`` (N,), ``group`` (N,): the subject.

    The file is a pickled dictionary inside a ``.npy``, which numpy would only read by running it; the restricted
    reader takes its arrays and lists.
    """
    (path,) = files.values()
    data = load_npy_object(path)
    splits: dict[str, dict[str, NDArray[Any]]] = {}
    for split, subjects in SUBJECTS.items():
        chosen = [row for row in range(len(data["X"])) if int(data["subject"][row]) in subjects]
        cut = [windows(np.asarray(data["X"][row], np.float32)) for row in chosen]
        counts = [len(piece) for piece in cut]
        signals = np.concatenate(cut)
        splits[split] = {
            "accelerometer": np.ascontiguousarray(signals[..., ACCELEROMETER]),
            "gyroscope": np.ascontiguousarray(signals[..., GYROSCOPE]),
            "exercise": np.repeat(np.asarray(data["y"], np.int64)[chosen], counts),
            "group": np.repeat(np.asarray(data["subject"], np.int64)[chosen], counts),
        }
    return splits
