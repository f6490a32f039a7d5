"""What loaders of many hands give: converted where there is one way to read it, refused with its place otherwise."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch

from braidbench import preparation
from braidbench.data import open_split
from braidbench.errors import DataError
from braidbench.preparation import prepare
from braidbench.registry import registry
from braidbench.specs import Dataset, Modality, Task
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


# --- one value of each kind, right or refused -------------------------------------------------------------------------


def one(monkeypatch, modality, values, task=None, times=None, **more):
    """The test split of a dataset of one modality ``x`` whose test rows are ``values``, or the DataError."""
    task = task or Task("y", "classification", ("accuracy",), classes=("u", "v"))
    spec = Dataset("one/d", "braid_toy.data:load", modalities=(modality,), tasks=(task,))

    def load(files):
        filled = {}
        for place, split in enumerate(("train", "valid", "test")):
            rows = len(values)
            kept = np.arange(rows * 2.0).reshape(rows, 2) + 100 * place
            x = values if split == "test" else [kept[:1] + r for r in range(rows)] if modality.is_sequence else kept
            filled[split] = {"x": x, "y": np.arange(rows) % 2, **(more if split == "test" else {})}
            if modality.times:
                filled[split]["x:times"] = [np.array([[0.0, 1.0]])] * rows
        if times is not None:
            filled["test"]["x:times"] = times
        return filled

    monkeypatch.setattr(preparation, "load_target", lambda _: load)
    return open_split(prepare(spec), "test", task)


PLAIN = Modality("x", "tabular", (2,))
STANDARD = Modality("x", "tabular", (2,), normalise="standard")
MASKED = Modality("x", "tabular", (2,), missing="mask")
STEPS = Modality("x", "time_series", (2,), length=4)


@pytest.mark.parametrize(
    ("modality", "values", "expected"),
    [
        (PLAIN, np.array([[1, 2], [65504, -0.5]], np.float16), [[1, 2], [65504, -0.5]]),
        (PLAIN, np.array([[1, 2], [2**63 - 1, 0]], np.uint64), [[1, 2], [2**63 - 1, 0]]),
        (PLAIN, np.array([[1, 2], [3, np.float64(4)]], object), [[1, 2], [3, 4]]),
        (PLAIN, ((True, False), (False, False)), [[1, 0], [0, 0]]),
        (PLAIN, np.ma.array([[1.0, 2], [3, 4]], mask=False), [[1, 2], [3, 4]]),
        (PLAIN, pd.DataFrame({"a": [1, 3], "b": [2.5, 4]}), [[1, 2.5], [3, 4]]),
        (PLAIN, torch.tensor([[1.5, 2], [3, 4]], dtype=torch.bfloat16), [[1.5, 2], [3, 4]]),
        (PLAIN, [np.array([1, 2]), (3, 4)], [[1, 2], [3, 4]]),
        (MASKED, np.ma.array([[1.0, 2], [3, 4]], mask=[[0, 1], [0, 0]]), [[1, 0, 1, 0], [3, 4, 1, 1]]),
        (MASKED, [[None, 2.0], [3.0, 4.0]], [[0, 2, 0, 1], [3, 4, 1, 1]]),
        (MASKED, pd.DataFrame({"a": pd.array([None, 3], "Int64"), "b": [2, 4]}), [[0, 2, 0, 1], [3, 4, 1, 1]]),
    ],
    ids=["float16", "uint64", "objects", "bools", "ma", "frame", "bfloat16", "rows", "hidden", "None", "NA"],
)
def test_values_come_back_as_they_were(monkeypatch, modality, values, expected):
    found = one(monkeypatch, modality, values).columns["x"].all()
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "given",
    [
        [[[1, 2], [3, 4], [5, 6]], [[7, 8]]],
        [np.array([[1, 2], [3, 4], [5, 6]]), torch.tensor([[7, 8]])],
        np.array([[[1, 2], [3, 4], [5, 6]], [[7, 8]]], object),
    ],
    ids=["lists", "arrays", "objects"],
)
def test_jagged_steps_come_back_with_their_lengths(monkeypatch, given):
    column = one(monkeypatch, STEPS, given).columns["x"]
    assert column.lengths.tolist() == [3, 1]
    assert column.all().tolist() == [[[1, 2], [3, 4], [5, 6]], [[7, 8], [0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("modality", "values", "said"),
    [
        (PLAIN, np.array([[1, 2], [3, 1e200]]), "modality 'x': 1e+200 at row 1, column 1 is beyond float32"),
        (STANDARD, np.array([[1, 2], [3, 1e200]]), "1e+200 at row 1, column 1 is beyond float32 after normalising"),
        (PLAIN, np.array([[1, 2], [2**63, 0]], np.uint64), f"{2**63} at row 1, column 0 is beyond int64"),
        (PLAIN, [[1, 2], [2**64, 0]], f"row 1: row 0 is {2**64}, an integer beyond 64 bits"),
        (PLAIN, np.array([[1, 2], [3, np.inf]], np.float16), "inf at row 1"),
        (PLAIN, np.ma.array([[1, 2], [3, 4]], mask=[[0, 0], [1, 0]]), "the value at row 1, 0 is masked"),
        (PLAIN, np.array([[1, 2j], [3, 4]]), "values of type complex128 are not numbers"),
        (PLAIN, [[1, 2], [3]], "row 1 has shape (1,) and row 0 has (2,)"),
        (PLAIN, [["1", "2"], ["3", "4"]], "row 0 is '1', not a number"),
        (PLAIN, {"a": 1}, "its loader gave a value of type dict"),
        (STEPS, [[[1, 2]], [[3, 1e39]]], "row 1"),
        (STEPS, [[[1, 2]], [[3, 4], [5]]], "row 1"),
        (STEPS, [[[1, 2]], None], "row 1"),
    ],
    ids=["1e200", "normalised", "uint64", "int", "inf16", "ma", "complex", "jagged", "text", "dict", "step", "steps",
         "None"],
)  # fmt: skip
def test_values_that_cannot_be_kept_are_named_with_their_place(monkeypatch, modality, values, said):
    with pytest.raises(DataError) as caught:
        one(monkeypatch, modality, values)
    message = str(caught.value)
    assert message.startswith("dataset 'one/d', split 'test'")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([[0.0, 1e39]], "times of row 1: 1e+39 at row 0, column 1 is beyond float32"),
        ([[0.0, np.inf]], "times of row 1: a step does not end"),
        ([[2.0, 1.0]], "ends before it starts"),
        ([[0.0, 1.0], [1.0, 2.0]], "shape (2, 2) where (1, 2) is due"),
        ([["0", "1"]], "not a number"),
    ],
)
def test_times_that_are_none_are_named(monkeypatch, spans, said):
    timed = Modality("x", "time_series", (2,), length=4, times=True)
    with pytest.raises(DataError) as caught:
        one(monkeypatch, timed, [[[1, 2]], [[3, 4]]], times=[[[0.0, 1.0]], spans])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "target", "expected"),
    [
        ("classification", np.array([True, False]), [1, 0]),
        ("classification", [True, False], [1, 0]),
        ("classification", [np.float32(1), 0.0], [1, 0]),
        ("classification", pd.Series([1, 0], dtype="Int8"), [1, 0]),
        ("multilabel", [[True, False], [False, True]], [[1, 0], [0, 1]]),
        ("regression", np.array([True, False]), [[1], [0]]),
        ("regression", np.array([0.5, -65504], np.float16), [[0.5], [-65504]]),
    ],
)
def test_targets_of_every_type_come_back(monkeypatch, kind, target, expected):
    task = Task("z", kind, ("accuracy",), classes=() if kind == "regression" else ("u", "v"), target="z")
    spec = Dataset("one/d", "braid_toy.data:load", modalities=(PLAIN,), tasks=(task,))
    rows = {"train": [[1, 2], [3, 4]], "valid": [[5, 6], [7, 8]], "test": [[9, 10], [11, 12]]}
    splits = {split: {"x": x, "z": target} for split, x in rows.items()}
    monkeypatch.setattr(preparation, "load_target", lambda _: lambda files: splits)
    assert open_split(prepare(spec), "test", task).target.tolist() == expected


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ([0.5, 1], "row 0 is 0.5, not the number of a class"),
        ([np.nan, 1], "row 0 is nan, not the number of a class"),
        (["u", "v"], "row 0 is 'u', not a number"),
        (np.array([2**64 - 1, 0], np.uint64), "labels 0..18446744073709551615 where 0..1"),
        (np.ma.array([0, 1], mask=[0, 1]), "the value at row 1 is masked"),
    ],
)
def test_targets_that_are_no_classes_are_named(monkeypatch, target, said):
    with pytest.raises(DataError) as caught:
        one(monkeypatch, PLAIN, [[1, 2], [3, 4]], y=target)
    assert said in str(caught.value)


ZONED = ["2021-03-28T02:30:00+02:00", "2021-03-28T00:30:00Z"]
"""One instant, written twice: names are text, and these are two."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["v1", "V1"], ("v1", "V1")),
        (ZONED, tuple(ZONED)),
        (["video3[2]", "video3[10]"], ("video3[2]", "video3[10]")),
        (np.array([7, 70]), ("7", "70")),
        (["007", 7], ("007", "7")),
        (["é", "e\u0301"], ("é", "e\u0301")),
        ([b"a", np.str_("b")], ("a", "b")),
        (pd.Series(["x", "y"]), ("x", "y")),
        (np.array(["a", "bc"]), ("a", "bc")),
    ],
    ids=["case", "offsets", "brackets", "integers", "zeros", "composed", "bytes", "series", "array"],
)
def test_ids_are_kept_letter_by_letter(monkeypatch, given, expected):
    named = {"train": ["t0", "t1"], "valid": ["u0", "u1"], "test": given}
    spec = Dataset("one/d", "braid_toy.data:load", modalities=(PLAIN,),
                   tasks=(Task("y", "classification", ("accuracy",), classes=("u", "v")),))  # fmt: skip
    rows = {"train": [[1, 2], [3, 4]], "valid": [[5, 6], [7, 8]], "test": [[9, 10], [11, 12]]}
    splits = {split: {"x": x, "y": [0, 1], "id": named[split]} for split, x in rows.items()}
    monkeypatch.setattr(preparation, "load_target", lambda _: lambda files: splits)
    assert open_split(prepare(spec), "test", spec.tasks[0]).ids == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a", "a"], "'a' names both row 0 and row 1"),
        (["7", 7], "'7' names both row 0 and row 1"),
        (["a", None], "row 1 is None"),
        (["a", ""], "row 1 is ''"),
        (["a", 1.5], "row 1 is 1.5"),
        (["a", b"\xff"], "which is not UTF-8"),
        (["a", "\ud800"], "that UTF-8 cannot write"),
        (["t0", "b"], "id 't0' is in both 'train' and 'test'"),
        ([["a"], ["b"]], "row 0 is ['a']"),
        (["a"], "columns differ in rows"),
    ],
)
def test_ids_that_name_no_sample_are_refused(monkeypatch, given, said):
    named = {"train": ["t0", "t1"], "valid": ["u0", "u1"], "test": given}
    rows = {"train": [[1, 2], [3, 4]], "valid": [[5, 6], [7, 8]], "test": [[9, 10], [11, 12]]}
    splits = {split: {"x": x, "y": [0, 1], "id": named[split]} for split, x in rows.items()}
    spec = Dataset("one/d", "braid_toy.data:load", modalities=(PLAIN,),
                   tasks=(Task("y", "classification", ("accuracy",), classes=("u", "v")),))  # fmt: skip
    monkeypatch.setattr(preparation, "load_target", lambda _: lambda files: splits)
    with pytest.raises(DataError) as caught:
        prepare(spec)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: (path.unlink(), path.mkdir()), "data.npy is a folder; a file of that name is due there"),
        (lambda path: path.write_bytes(b""), "data.npy is empty. Get it again from its publisher"),
        (lambda path: path.unlink(), "official files are missing: data.npy (1 of 2)"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "official files are missing: data.npy (1 of 2)"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "data.npy is not a regular file"),
        pytest.param(
            lambda path: path.chmod(0), "data.npy cannot be read; its permissions forbid it",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything"),
        ),
    ],
    ids=["folder", "empty", "gone", "dangling", "fifo", "unreadable"],
)  # fmt: skip
def test_source_files_that_cannot_be_read_are_one_line(change, said):
    spec = registry().find("datasets", "toy/official").spec
    place = preparation.official_folder(spec)
    (place / "parts").mkdir(parents=True)
    (place / "parts" / "1.npy").write_bytes(b"x")
    path = place / "data.npy"
    path.write_bytes(b"x")
    change(path)
    with pytest.raises(DataError) as caught:
        prepare(spec)
    assert said in str(caught.value)
    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)
