"""Samples of the synthetic datasets, drawn when they are prepared (thesis 3.3.1).

The loader of ``synthetic/NAME`` is this module's attribute of that name (dashes and dots as underscores). Each gives
columns ``first`` and ``second``, (N, features) float32, and ``label``, (N,) 0 or 1, drawn independently, so that a
split differs from another by chance alone. What the released generator does otherwise is in docs/interactions.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from braidbench_interactions.generators import (
    DIMENSIONS,
    DROPOUT,
    FEATURES,
    GENERATORS,
    SEED,
    VARIANCE,
    Bitwise,
    Latent,
    Mixture,
    attribute,
)

SPLITS = {"train": 14_000, "valid": 3_000, "test": 3_000}
"""Rows: 70/15/15 of the 20,000 of the published experiments."""

DITHER = 0.25
"""A bit is shown as itself plus U(−DITHER, DITHER): it is read off without error, and no row stands in two splits."""

Columns = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def sample(generator: Bitwise | Mixture | Latent, rows: int, rng: np.random.Generator) -> Columns:
    """``rows`` independent samples (of the four inputs of a bitwise function equally many, up to a remainder)."""
    if isinstance(generator, Bitwise):
        return _bitwise(generator, rows, rng)
    if isinstance(generator, Mixture):
        return _mixture(generator, rows, rng)
    return _latent(generator, rows, rng)


def load(name: str, files: Mapping[str, Path]) -> dict[str, Columns]:
    """The splits of ``synthetic/NAME``. ``files`` is empty: nothing is read."""
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return {split: sample(GENERATORS[name], rows, rng) for split, rows in SPLITS.items()}


_LOADERS = {attribute(name): name for name in GENERATORS}


def __getattr__(name: str) -> Callable[[Mapping[str, Path]], dict[str, Columns]]:
    if name not in _LOADERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(load, _LOADERS[name])


def _bitwise(generator: Bitwise, rows: int, rng: np.random.Generator) -> Columns:
    inputs = rng.permutation(np.arange(rows) % 4)
    first, second = inputs >> 1, inputs & 1
    label = {"and": first & second, "or": first | second, "xor": first ^ second}[generator.operator]
    shown = [bit + rng.uniform(-DITHER, DITHER, rows) for bit in (first, second)]
    return _columns(shown[0][:, None], shown[1][:, None], label)


def _mixture(generator: Mixture, rows: int, rng: np.random.Generator) -> Columns:
    label = rng.integers(0, 2, rows)
    angle = np.radians(generator.degrees)
    mean = generator.norm * np.array([np.cos(angle), np.sin(angle)])
    x = rng.standard_normal((rows, 2)) + np.where(label == 1, 1.0, -1.0)[:, None] * mean
    if generator.polar:
        theta = np.arctan2(x[:, 1], x[:, 0]) % np.pi
        x = np.stack([x[:, 0] * np.cos(theta) + x[:, 1] * np.sin(theta), theta], axis=1)
    return _columns(x[:, :1], x[:, 1:], label)


def _latent(generator: Latent, rows: int, rng: np.random.Generator) -> Columns:
    z1, z2, shared = rng.normal(0.0, np.sqrt(VARIANCE), (3, rows, DIMENSIONS))
    counted = np.hstack([z1[:, : generator.from1], z2[:, : generator.from2], shared[:, : generator.shared]])
    kept = rng.random(counted.shape) >= DROPOUT
    label = (counted * kept).sum(axis=1) > 0
    # The maps are the same for every dataset; the shared latent looks the same in both modalities.
    map1, map2, both = np.random.default_rng(SEED).random((3, DIMENSIONS, FEATURES))
    return _columns(np.hstack([z1 @ map1, shared @ both]), np.hstack([z2 @ map2, shared @ both]), label)


def _columns(first: NDArray[np.float64], second: NDArray[np.float64], label: NDArray[np.generic]) -> Columns:
    return {
        "first": first.astype(np.float32),
        "second": second.astype(np.float32),
        "label": label.astype(np.int64),
    }
