"""wrist and numerals: against the raw files read in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from braidbench.errors import DataError
from braidbench_multibench.loaders import numerals, wrist
from braidbench_multibench.splits import cut, stratified

Loaded = Callable[[str], Any]


def test_wrist_windows_against_the_recordings(sources: Loaded, loaded: Loaded) -> None:
    (path,) = sources("wrist").values()
    raw = np.load(path, allow_pickle=True).item()  # An installed package's own file, read as the package reads it.
    splits = loaded("wrist")
    total = 0
    for split, subjects in wrist.SUBJECTS.items():
        columns = splits[split]
        assert sorted(set(columns["group"].tolist())) == sorted(subjects)
        row = 0
        for signal, exercise, subject in zip(raw["X"], raw["y"], raw["subject"], strict=True):
            if subject not in subjects:
                continue
            for start in range(0, len(signal) - 199, 200):
                window = signal[start : start + 200].astype(np.float32)
                np.testing.assert_array_equal(columns["accelerometer"][row], window[:, :3])
                np.testing.assert_array_equal(columns["gyroscope"][row], window[:, 3:])
                assert (columns["exercise"][row], columns["group"][row]) == (exercise, subject)
                row += 1
        assert row == len(columns["exercise"])
        total += row
    assert total == sum(len(signal) // 200 for signal in raw["X"])
    assert raw["X_labels"] == ["ax", "ay", "az", "wx", "wy", "wz"]


def test_wrist_classes_stand_in_the_files_order(sources: Loaded, specs: Any) -> None:
    (path,) = sources("wrist").values()
    assert tuple(np.load(path, allow_pickle=True).item()["y_labels"]) == specs["wrist"].tasks[0].classes


def test_windows_leave_out_the_rest() -> None:
    found = wrist.windows(np.arange(14).reshape(7, 2), steps=3)
    assert found.tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    assert wrist.windows(np.zeros((2, 6)), steps=3).shape == (0, 3, 6)


def test_numerals_are_the_files_rows_each_once(sources: Loaded, loaded: Loaded) -> None:
    splits = loaded("numerals")
    frames = {
        view: pd.read_csv(next(p for n, p in sources("numerals").items() if f"-{short}." in n)).to_numpy(np.float32)
        for view, short in numerals.VIEWS.items()
    }
    labels = next(iter(frames.values()))[:, -1]
    whole = np.hstack([*(frame[:, :-1] for frame in frames.values()), labels[:, None]])
    found = np.concatenate(
        [
            np.hstack([*(columns[view] for view in frames), columns["digit"][:, None].astype(np.float32)])
            for columns in splits.values()
        ]
    )
    expected = np.unique(whole, axis=0)
    assert len(whole) - len(expected) == 6
    np.testing.assert_array_equal(np.unique(found, axis=0), expected)
    assert len(found) == len(expected)
    for columns in splits.values():
        counts = np.bincount(columns["digit"])
        assert counts.max() - counts.min() <= 2


def test_numerals_views_that_do_not_belong_together_are_an_error(sources: Loaded, tmp_path: Any) -> None:
    files = dict(sources("numerals"))
    name = next(name for name in files if "-mor." in name)
    lines = files[name].read_text().splitlines()
    (tmp_path / "mfeat-mor.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    with pytest.raises(DataError, match="not in the order"):
        numerals.load({**files, name: tmp_path / "mfeat-mor.csv"})


def test_stratified_covers_every_row_once_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [100, 10, 7])
    splits = stratified(labels, {"train": 0.7, "valid": 0.1, "test": 0.2}, np.random.default_rng(0))
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(117))
    assert np.bincount(labels[splits["train"]]).tolist() == [70, 7, 5]
    assert np.bincount(labels[splits["valid"]]).tolist() == [10, 1, 1]
    assert np.bincount(labels[splits["test"]]).tolist() == [20, 2, 1]


def test_cut_takes_consecutive_pieces() -> None:
    sizes = {"train": 3, "valid": 1, "test": 2}
    found = cut(np.arange(10), sizes)
    assert {name: rows.tolist() for name, rows in found.items()} == {"train": [0, 1, 2], "valid": [3], "test": [4, 5]}
    with pytest.raises(ValueError, match="too few"):
        cut(np.arange(5), sizes)
