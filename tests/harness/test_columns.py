"""What loaders of many hands give: converted where there is one way to read it, refused with its place otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braidbench import preparation
from braidbench.data import open_split
from braidbench.errors import DataError
from braidbench.preparation import prepare
from braidbench.registry import registry
from braidbench.trained import without


def toy():
    return registry().find("datasets", "toy/pair").spec


def raw():
    from braid_toy.data import load

    return load({})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path / "data"))


def prepared(monkeypatch, change):
    splits = raw()
    change(splits)
    monkeypatch.setattr(preparation, "load_target", lambda _: lambda files: splits)
    return prepare(toy())


def test_lists_and_tensors_are_what_the_arrays_are(monkeypatch):
    def change(splits):
        for columns in splits.values():
            columns["vector"] = torch.from_numpy(columns["vector"])
            columns["series"] = [steps.tolist() for steps in columns["series"]]
            columns["parity"] = columns["parity"].astype(float).tolist()

    split = open_split(prepared(monkeypatch, change), "test", toy().tasks[0])
    series = raw()["test"]["series"][7]
    assert np.array_equal(split.columns["series"].all()[7, : len(series)].numpy(), series)
    assert split.target.tolist() == raw()["test"]["parity"].tolist()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("series", None, "column 'series': its loader gave None"),
        ("level", (x for x in ()), "column 'level': its loader gave a value of type generator"),
        ("parity", [None, *[0] * 79], "column 'parity': row 0 is None"),
        ("level", np.full(80, 1e39), "target 'level': 1e\\+39 at row 0 is beyond float32"),
        ("names", ["x"] * 80, "a column 'names', which no modality"),
        ("id", ["x"] * 80, "'x' names both row 0 and row 1"),
    ],
)
def test_what_cannot_be_read_is_named(monkeypatch, column, value, message):
    with pytest.raises(DataError, match=message):
        prepared(monkeypatch, lambda splits: splits["test"].__setitem__(column, value))


def test_ids_come_back_and_a_removed_modality_is_unobserved(monkeypatch):
    def change(splits):
        for name, columns in splits.items():
            columns["id"] = [f"{name}{row}" for row in range(len(columns["parity"]))]

    split = open_split(prepared(monkeypatch, change), "test", toy().tasks[0])
    assert split.ids[:2] == ("test0", "test1")
    gone = without(split, "vector", split)
    assert not gone.columns["vector"].all().any(), "values and mask are 0"
    assert gone.ids == split.ids
