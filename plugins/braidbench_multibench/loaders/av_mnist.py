"""AV-MNIST from its official files: ``{image,audio}/{train,test}_data.npy`` and ``{train,test}_labels.npy``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError

IMAGE, AUDIO = (784,), (112, 112)
"""Shape of a row in the files; values 0 to 255."""
TRAINING_ROWS, VALID_ROWS = 60_000, 5_000
"""The published sizes: the last 5,000 rows of the training files are the validation split."""
BLOCK = 4096
"""Rows that are converted at a time."""
MEND = "Get it again from its publisher (braidbench describe av-mnist says where)"


def load(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """Columns ``image`` (N, 1, 28, 28) and ``audio`` (N, 1, 112, 112), float32 in [0, 1], and ``digit`` (N,).

    Files of the same format with another number N of rows are split in the published proportion: the last N // 12
    training rows are for validation.
    """
    splits: dict[str, dict[str, NDArray[Any]]] = {}
    for half in ("train", "test"):
        paths = [files[f"{half}_labels.npy"], files[f"image/{half}_data.npy"], files[f"audio/{half}_data.npy"]]
        labels, images, audio = (read(path, shape) for path, shape in zip(paths, ((), IMAGE, AUDIO), strict=True))
        for path, array in zip(paths[1:], (images, audio), strict=True):
            if len(array) != len(labels):
                raise DataError(f"{path}: {len(array)} rows where {paths[0].name} has {len(labels)}. {MEND}")
        digit = check_labels(labels, paths[0])
        held_out = len(digit) * VALID_ROWS // TRAINING_ROWS
        if half == "train" and not held_out:
            raise DataError(f"{paths[0]}: {len(digit)} rows are too few to hold a twelfth out for validation. {MEND}")
        cut = len(digit) - held_out
        parts = {"train": slice(0, cut), "valid": slice(cut, None)} if half == "train" else {"test": slice(None)}
        for split, rows in parts.items():
            splits[split] = {
                "image": scaled(images[rows], (1, 28, 28), paths[1]),
                "audio": scaled(audio[rows], (1, 112, 112), paths[2]),
                "digit": digit[rows],
            }
    return splits


def read(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array (N, *shape) of a ``.npy`` file, mapped and not copied. Raises DataError that names the file, what was
    found and what is expected."""
    expected = f"({', '.join(['rows', *map(str, shape)])}{',' if not shape else ''})"
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; expected an array {expected}. {MEND}") from None
    except (ValueError, EOFError, OSError) as error:
        # numpy says the same of a pickled, a truncated and a foreign file.
        raise DataError(
            f"{path}: not a whole .npy file of numbers ({error}); expected an array {expected}. {MEND}"
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"{path}: holds {getattr(array, 'dtype', type(array))}; expected numbers {expected}. {MEND}")
    if array.ndim == 0 or array.shape[1:] != shape or not len(array):
        raise DataError(f"{path}: shape {array.shape}; expected {expected}. {MEND}")
    return array


def check_labels(labels: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Digits 0 to 9 as int64, whatever number type they are stored in."""
    if not np.isin(labels, np.arange(10)).all():
        raise DataError(f"{path}: labels from {labels.min()} to {labels.max()}; expected the digits 0 to 9. {MEND}")
    return np.asarray(labels).astype(np.int64)


def scaled(rows: NDArray[Any], shape: tuple[int, ...], path: Path) -> NDArray[np.float32]:
    """Rows 0 to 255 of a mapped file → (N, *shape) float32 in [0, 1], block by block.

    The files hold doubles, 6 GB of them for the spectrograms: only the result is ever in memory as a whole.
    """
    result = np.empty((len(rows), *shape), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        low, high = float(block.min()), float(block.max())
        if not (low >= 0.0 and high <= 255.0):
            raise DataError(f"{path}: values from {low:g} to {high:g}; expected 0 to 255. {MEND}")
        np.divide(block.reshape(-1, *shape), 255.0, out=result[start : start + BLOCK], casting="same_kind")
    return result
