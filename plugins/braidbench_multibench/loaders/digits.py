"""Written and spoken digits: MNIST images without most of their energy, and noisy recordings of the same digit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError
from braidbench.specs import SPLITS
from braidbench_multibench.splits import cut

SEED = 20240503
PAIRS_A_CLASS = {"train": 210, "valid": 30, "test": 60}
ENERGY_REMOVED = 0.75
"""Share of the training images' variance that is taken out (AV-MNIST's figure)."""
NOISE_DECIBELS = -3.0
"""Signal-to-noise ratio of each coefficient, as variance over the training frames against the noise's variance."""

Pairs = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def load(files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Columns ``image`` (N, 1, 28, 28) float32 in [0, 1], ``audio`` N arrays (T, 13) float32, ``digit`` (N,)."""
    by_name = {name.rpartition("/")[2]: path for name, path in files.items()}
    table = np.loadtxt(by_name["mnist_5k.csv.gz"], delimiter=",", dtype=np.float64)
    with np.load(by_name["digits.npz"], allow_pickle=False) as archive:
        frames, lengths, spoken = archive["X"], archive["lengths"], archive["y"]
    if len(frames) != lengths.sum():
        raise DataError(f"{by_name['digits.npz']}: {len(frames)} frames where {lengths.sum()} are announced")
    recordings = np.split(frames.astype(np.float64), np.cumsum(lengths)[:-1])
    return build(table[:, :-1] / 255.0, table[:, -1].astype(np.int64), recordings, spoken.astype(np.int64))


def build(
    images: NDArray[np.float64],
    written: NDArray[np.int64],
    recordings: list[NDArray[np.float64]],
    spoken: NDArray[np.int64],
) -> dict[str, dict[str, Any]]:
    """The columns from images (M, 784) in [0, 1] and recordings, R arrays (T, 13), with the digit of each."""
    pairs = pair(written, spoken)
    degrade = fit_degradation(images[pairs["train"][0]])
    noisy = add_noise(recordings, pairs["train"][1])
    splits: dict[str, dict[str, Any]] = {}
    for split, (image_rows, recording_rows) in pairs.items():
        splits[split] = {
            "image": degrade(images[image_rows]),
            "audio": [noisy[row] for row in recording_rows],
            "digit": written[image_rows],
        }
    return splits


def pair(written: NDArray[np.int64], spoken: NDArray[np.int64]) -> Pairs:
    """Split → (image rows, recording rows) of its pairs: of one digit, at random, once. No row stands in two pairs."""
    rng = np.random.default_rng(SEED)
    parts: dict[str, list[NDArray[np.int64]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        image_rows = cut(rng.permutation(np.flatnonzero(written == digit)), PAIRS_A_CLASS)
        recording_rows = cut(rng.permutation(np.flatnonzero(spoken == digit)), PAIRS_A_CLASS)
        for split in SPLITS:
            parts[split].append(np.stack([image_rows[split], recording_rows[split]]))
    shuffled = {split: rng.permutation(np.concatenate(pieces, axis=1), axis=1) for split, pieces in parts.items()}
    return {split: (rows[0], rows[1]) for split, rows in shuffled.items()}


class Degradation:
    """Keeps a quarter of the images' energy, on their leading principal components, and scales it to [0, 1].

    The scale that maps the training images' extremes to 0 and 1 is kept for the others, which are clipped to it.
    """

    def __init__(
        self, mean: NDArray[np.float64], components: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> None:
        self.mean = mean
        self.components = components
        self.weights = weights
        self.low, self.high = 0.0, 1.0

    def project(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 784) → (N, 784): the mean image and what is kept of the deviation from it."""
        return self.mean + ((images - self.mean) @ self.components * self.weights) @ self.components.T

    def __call__(self, images: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N, 784) → (N, 1, 28, 28) float32 in [0, 1]."""
        scaled = (self.project(images) - self.low) / (self.high - self.low)
        return np.clip(scaled, 0.0, 1.0).astype(np.float32).reshape(-1, 1, 28, 28)


def fit_degradation(images: NDArray[np.float64]) -> Degradation:
    """The degradation whose components, mean and scale are those of the given training images (N, 784).

    Components are kept whole, the largest first, while their variance fits into the quarter that is to stay; the next
    one is attenuated so that the quarter is met exactly.
    """
    mean = images.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(images - mean, rowvar=False))
    share, directions = variance[::-1] / variance.sum(), directions[:, ::-1]
    kept = np.clip(1.0 - ENERGY_REMOVED - (np.cumsum(share) - share), 0.0, share)
    count = int((kept > 0).sum())
    fitted = Degradation(mean, directions[:, :count], np.sqrt(kept[:count] / share[:count]))
    projected = fitted.project(images)
    fitted.low, fitted.high = float(projected.min()), float(projected.max())
    return fitted


def add_noise(recordings: list[NDArray[np.float64]], training: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Recordings with white Gaussian noise on every coefficient, drawn for each recording from its own seed.

    The deviation of a coefficient's noise is its deviation over the training recordings' frames times 10^(−dB/20).
    """
    frames = np.concatenate([recordings[row] for row in training])
    deviation = frames.std(axis=0) * 10.0 ** (-NOISE_DECIBELS / 20.0)
    noisy = []
    for row, recording in enumerate(recordings):
        noise = np.random.default_rng([SEED, row]).standard_normal(recording.shape)
        noisy.append((recording + noise * deviation).astype(np.float32))
    return noisy
