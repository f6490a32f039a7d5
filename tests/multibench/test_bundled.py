"""What every bundled dataset's loader gives: sizes, types, disjoint splits, no surprise on a second run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braidbench import preparation
from braidbench.registry import load_target
from braidbench.specs import SPLITS, Dataset
from braidbench_multibench import register_datasets

from .conftest import need_packages

BUNDLED = [spec for spec in register_datasets() if spec.source == "bundled"]
bundled = pytest.mark.parametrize("spec", BUNDLED, ids=lambda spec: spec.name)
Loaded = Callable[[str], Any]


def rows(column: Any) -> list[bytes]:
    return [np.ascontiguousarray(row).tobytes() for row in column]


@bundled
def test_columns_are_as_declared(spec: Dataset, loaded: Loaded) -> None:
    splits = loaded(spec.name)
    assert set(splits) == set(SPLITS)
    for split, columns in splits.items():
        for modality in spec.modalities:
            column = columns[modality.name]
            assert len(column) == spec.splits[split]
            for row in column if isinstance(column, list) else [column]:
                assert row.dtype == np.float32
                assert row.shape[-len(modality.shape) :] == modality.shape
                assert modality.missing == "mask" or np.isfinite(row).all()
        for task in spec.tasks:
            target = columns[task.target]
            assert len(target) == spec.splits[split]
            if task.kind == "classification":
                assert target.dtype == np.int64
                assert set(np.unique(target)) == set(range(task.width))
            elif task.kind == "multilabel":
                assert target.shape[1] == task.width
                # Both values in every split, or its scores would be undefined.
                assert ((target.mean(axis=0) > 0) & (target.mean(axis=0) < 1)).all()
            else:
                assert np.isfinite(target).all()


@bundled
def test_no_sample_and_no_group_stands_in_two_splits(spec: Dataset, loaded: Loaded) -> None:
    splits = loaded(spec.name)
    seen: set[bytes] = set()
    total = 0
    for columns in splits.values():
        samples = {b"|".join(parts) for parts in zip(*(rows(columns[m.name]) for m in spec.modalities), strict=True)}
        assert not samples & seen
        seen |= samples
        total += len(samples)
    assert len(seen) == total
    groups = [set(np.unique(columns["group"]).tolist()) for columns in splits.values() if "group" in columns]
    for first in range(len(groups)):
        for second in range(first):
            assert not groups[first] & groups[second]


@bundled
def test_loading_again_gives_the_same_bits(spec: Dataset, loaded: Loaded, sources: Loaded) -> None:
    first, second = loaded(spec.name), load_target(spec)(sources(spec.name))
    for split in SPLITS:
        assert first[split].keys() == second[split].keys()
        for name, column in first[split].items():
            assert rows(column) == rows(second[split][name])


@bundled
def test_it_is_prepared_by_the_core(spec: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_packages(spec)
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path))
    assert preparation.prepare(spec).meta["splits"] == spec.splits
