"""What loaders of many hands give: converted where there is one way to read it, refused with its place otherwise."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from braidbench import Dataset, Modality, Task, preparation
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


# --- one dataset of every kind of column -----------------------------------------------------------------------------

TASKS = (
    Task("y", "classification", ("accuracy",), classes=("u", "v")),
    Task("v", "regression", ("mse",)),
    Task("m", "multilabel", ("micro-f1",), classes=("u", "v")),
)
ROWS = {"train": 8, "valid": 6, "test": 6}
CLASSES = [0, 1, 1, 0, 1, 0]


def spec(normalise="none"):
    """A table, a sequence with times, a table with unobserved values; three tasks."""
    return Dataset(
        "braid/columns", "braid_toy.data:load", tasks=TASKS,
        modalities=(
            Modality("a", "tabular", (2,), normalise=normalise),
            Modality("s", "time_series", (2,), length=5, times=True),
            Modality("k", "tabular", (2,), missing="mask"),
        ),
    )  # fmt: skip


def given():
    rng = np.random.default_rng(0)
    return {
        split: {
            "a": rng.normal(size=(rows, 2)),
            "s": [rng.normal(size=(1 + i % 5, 2)) for i in range(rows)],
            "s:times": [np.arange(1.0 + i % 5)[:, None] + [0, 1] for i in range(rows)],
            "k": rng.normal(size=(rows, 2)),
            "y": np.arange(rows) % 2,
            "v": rng.normal(size=rows),
            "m": np.eye(2, dtype=int)[np.arange(rows) % 2],
        }
        for split, rows in ROWS.items()
    }


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The test split's task ``y`` or another, prepared from what a loader gave after ``change``."""

    def make(change, task=0, **options):
        splits = given()
        change(splits)
        # Without source files the fingerprint does not tell one content from another.
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        monkeypatch.setattr(preparation, "load_target", lambda _: lambda files: splits)
        return open_split(prepare(spec(**options)), "test", TASKS[task])

    return make


def put(column, value):
    return lambda splits: splits["test"].__setitem__(column, value)


def at(column, place, value):
    """One number of the test split changed; of a sequence its row is the first of ``place``."""

    def change(splits):
        array = splits["test"][column]
        if isinstance(array, list):
            array[place[0]][place[1:]] = value
        else:
            array[place] = value

    return change


FLOAT = torch.float32
HALVES = [[0.5, 1.5]] * 6
NUMBERS = [
    # what is given, what a model gets of the first row, and its type
    ("lists", HALVES, [0.5, 1.5], FLOAT),
    ("tuples", tuple(map(tuple, HALVES)), [0.5, 1.5], FLOAT),
    ("objects", np.array(HALVES, object), [0.5, 1.5], FLOAT),
    ("float16", np.array(HALVES, np.float16), [0.5, 1.5], FLOAT),
    ("longdouble", np.array(HALVES, np.longdouble), [0.5, 1.5], FLOAT),
    ("big-endian", np.array(HALVES, ">f8"), [0.5, 1.5], FLOAT),
    ("tensor", torch.tensor(HALVES, requires_grad=True), [0.5, 1.5], FLOAT),
    ("bfloat16", torch.tensor(HALVES, dtype=torch.bfloat16), [0.5, 1.5], FLOAT),
    ("tensors", [torch.tensor(row) for row in HALVES], [0.5, 1.5], FLOAT),
    ("frame", pd.DataFrame(HALVES, index=[5, 4, 3, 2, 1, 0]), [0.5, 1.5], FLOAT),
    ("nothing-masked", np.ma.MaskedArray(HALVES, mask=False), [0.5, 1.5], FLOAT),
    ("sparse", scipy.sparse.csr_matrix(HALVES), [0.5, 1.5], FLOAT),
    ("float32s-largest", np.full((6, 2), np.finfo(np.float32).max), [np.finfo(np.float32).max] * 2, FLOAT),
]


@pytest.mark.parametrize(("value", "first", "kind"), [case[1:] for case in NUMBERS], ids=[case[0] for case in NUMBERS])
def test_a_table_of_any_make_is_the_same_table(made, value, first, kind):
    column = made(put("a", value)).columns["a"].all()
    assert column.dtype == kind
    assert column[0].tolist() == first


@pytest.mark.parametrize(
    ("value", "first"),
    [
        (np.ma.MaskedArray(HALVES, mask=[[False, True]] * 6), [0.5, 0, 1, 0]),
        ([np.ma.MaskedArray(row, mask=[False, True]) for row in HALVES], [0.5, 0, 1, 0]),
        ([[0.5, None]] * 6, [0.5, 0, 1, 0]),
        ([[0.5, pd.NA]] * 6, [0.5, 0, 1, 0]),
        (pd.DataFrame({"x": [0.5] * 6, "z": pd.array([None] * 6, "Int64")}), [0.5, 0, 1, 0]),
        (np.array([[0.5, np.nan]] * 6, np.float16), [0.5, 0, 1, 0]),
        (np.ma.MaskedArray([[7, 8]] * 6, mask=[[True, False]] * 6), [0, 8, 0, 1]),
    ],
    ids=["masked", "masked-rows", "none", "na", "frame", "nan", "integers"],
)
def test_what_is_not_observed_is_zero_with_its_mask(made, value, first):
    assert made(put("k", value)).columns["k"].all()[0].tolist() == first


@pytest.mark.parametrize(
    "value",
    [np.array(CLASSES, bool), [bool(y) for y in CLASSES], np.array(CLASSES, float), np.array(CLASSES, np.uint64),
     torch.tensor(CLASSES), pd.Series(CLASSES, index=range(6, 0, -1)), pd.array(CLASSES, "Int64"),
     np.ma.MaskedArray(CLASSES)],
    ids=["bools", "list", "floats", "uint64", "tensor", "series", "nullable", "masked"],
)  # fmt: skip
def test_classes_of_any_make_are_their_numbers(made, value):
    target = made(put("y", value)).target
    assert (target.dtype, target.tolist()) == (torch.int64, CLASSES)


def test_truth_values_are_labels_and_values(made):
    truths = np.array([[True, False], [False, True]] * 3)
    assert made(put("m", truths), task=2).target.tolist() == truths.astype(float).tolist()
    assert made(put("v", truths[:, 0]), task=1).target.tolist() == [[1.0], [0.0]] * 3


def test_jagged_lists_are_sequences_padded_with_zeros(made):
    steps = [[[1.5, 2]], [], [[1, 2], [3, 4.5]], [[1, 2]], [[1, 2]], [[1, 2]]]

    def change(splits):
        splits["test"]["s"] = steps
        splits["test"]["s:times"] = [[[t, t + 1] for t in range(len(row))] for row in steps]

    split = made(change)
    values, lengths = split.columns["s"].take(torch.arange(6))
    assert lengths.tolist() == [1, 0, 2, 1, 1, 1]
    assert values[:3].tolist() == [[[1.5, 2], [0, 0]], [[0, 0], [0, 0]], [[1, 2], [3, 4.5]]]


def test_whole_numbers_are_so_in_every_row_and_split_or_in_none(made):
    """A model that was trained on floats gets no integers because a split's numbers all happen to be whole."""
    whole = [np.ones((1 + i % 5, 2), int) for i in range(6)]
    for row, change in ((whole, "s"), ([[1, 2]] * 6, "a")):
        assert made(put(change, row)).columns[change].all().dtype == FLOAT
    mixed = [rows.astype(float) if i % 2 else rows for i, rows in enumerate(whole)]
    assert made(put("s", mixed)).columns["s"].all().dtype == FLOAT

    def tokens(splits):
        for split, columns in splits.items():
            columns["s"] = [np.full((len(row), 2), 3, np.int16).tolist() for row in columns["s"]]
            columns["a"] = np.arange(2 * ROWS[split]).reshape(-1, 2) + 100 * len(split) + (1 << 40)
        splits["test"]["s"][2], splits["test"]["s:times"][2] = [], []

    split = made(tokens)
    assert split.columns["s"].all().dtype == torch.int64, "a row of no steps is of whole numbers too"
    assert split.columns["a"].all()[1].tolist() == [2 + 400 + (1 << 40), 3 + 400 + (1 << 40)]


REFUSED = [
    ("1e200", at("a", (3, 1), 1e200), "modality 'a': 1e\\+200 at row 3, column 1 is beyond float32"),
    ("-1e200-masked", at("k", (3, 0), -1e200), "modality 'k': -1e\\+200 at row 3, column 0 is beyond float32"),
    ("1e200-step", at("s", (2, 1, 0), 1e200), "modality 's': 1e\\+200 at row 2, column \\(1, 0\\) is beyond"),
    ("1e200-target", at("v", (4,), 1e200), "target 'v': 1e\\+200 at row 4 is beyond float32"),
    ("1e39-time", at("s:times", (2, 1, 1), 1e39), "times of row 2: 1e\\+39 at row 1, column 1 is beyond float32"),
    ("infinite-time", at("s:times", (2, 1, 1), np.inf), "times of row 2: a step does not end"),
    ("wide-times", put("s:times", [np.zeros((1 + i % 5, 3)) for i in range(6)]), "\\(1, 3\\) where \\(1, 2\\) is due"),
    ("named-times", put("s:times", [[["0", "1"]] * (1 + i % 5) for i in range(6)]), "row 0 is '0', not a number"),
    ("backwards", at("s:times", (2, 1, 1), -1.0), "times of row 2: a step does not end, or ends before it starts"),
    ("longdouble", put("a", np.full((6, 2), np.longdouble("1e4000"))), "modality 'a': inf at row 0"),
    ("int-list", put("a", [[1 << 63, 0]] * 6), "column 'a'.*9223372036854775808, an integer beyond 64 bits"),
    ("uint64-class", put("y", np.array([0, 1 << 63] * 3, np.uint64)), "labels 0..9223372036854775808 where 0..1"),
    ("half-class", put("y", [0, 0.5] * 3), "target 'y': row 1 is 0.5, not the number of a class"),
    ("nan-class", put("y", [0, np.nan] * 3), "target 'y': row 1 is nan, not the number of a class"),
    ("named-class", put("y", pd.Series(["u", "v"] * 3, dtype="category")), "column 'y': row 0 is 'u', not a number"),
    ("no-class", put("y", pd.array([0, None] * 3, "Int64")), "target 'y': row 1 is nan, not the number of a class"),
    ("hidden-class", put("y", np.ma.MaskedArray([0, 1] * 3, mask=[0, 0, 1, 0, 0, 0])), "value at row 2 is masked"),
    ("hidden", put("a", np.ma.MaskedArray(HALVES, mask=[[0, 1]] * 6)), "column 'a': the value at row 0, 1 is masked"),
    ("na", put("a", [[0.5, pd.NA]] * 6), "column 'a', row 0: row 1 is <NA>, not a number"),
    ("jagged", put("a", [[1, 2]] * 5 + [[1]]), "column 'a': row 5 has shape \\(1,\\) and row 0 has \\(2,\\)"),
    ("jagged-step", put("s", [[[1, 2], [3]]] * 6), "column 's', row 0: row 1 has shape \\(1,\\)"),
    ("deep", put("a", [[1, [2]]] * 6), "column 'a', row 0: row 1 has shape"),
    ("long", put("s", [np.ones((6, 2))] * 6), "modality 's', row 0: 6 steps where at most 5 are declared"),
    ("texts", put("a", [["1", "2"]] * 6), "column 'a', row 0: row 0 is '1', not a number"),
    ("complex", put("a", np.ones((6, 2), complex)), "modality 'a': values of type complex128 are not numbers"),
    ("dates", put("a", np.zeros((6, 2), "M8[s]")), "modality 'a': values of type datetime64\\[s\\] are not numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_has_no_one_reading_is_refused_with_its_place(made, change, message):
    with pytest.raises(DataError, match=message) as told:
        made(change)
    assert str(told.value).startswith("dataset 'braid/columns', split 'test'")
    assert "\n" not in str(told.value)


def test_whole_numbers_beyond_what_holds_them_do_not_wrap(made):
    def all_of(value):
        def change(splits):
            for number, (split, columns) in enumerate(splits.items()):
                columns["a"] = np.arange(2 * ROWS[split], dtype=np.uint64).reshape(-1, 2) + np.uint64(
                    value + 100 * number
                )

        return change

    largest = (1 << 63) - 1
    column = made(all_of(largest - 211)).columns["a"].all()
    assert (column.dtype, int(column.max())) == (torch.int64, largest)
    with pytest.raises(
        DataError, match="split 'train', modality 'a': 9223372036854775808 at row 0, column 0 is beyond int64"
    ):
        made(all_of(1 << 63))
    # As numbers they may be that large; float32 has 24 bits of them.
    assert made(put("a", np.full((6, 2), 1 << 63, np.uint64))).columns["a"].all()[0, 0] == 2.0**63


def test_normalising_neither_overflows_nor_hides_what_does(made):
    """Mean and deviation of 1e200 are finite, though the sum of squares is not."""

    def change(splits):
        splits["train"]["a"] = np.array([[1e200, 1.0], [-1e200, 3.0]] * 4)
        splits["test"]["a"] = np.array([[2e200, 2.0], [0.0, 5.0]] * 3)

    assert made(change, normalise="standard").columns["a"].all()[:2].numpy() == pytest.approx(
        np.array([[2, 0], [0, 3]])
    )
    with pytest.raises(DataError, match="1e\\+200 at row 3, column 1 is beyond float32 after normalising"):
        made(at("a", (3, 1), 1e200), normalise="standard")

    def small(splits):
        splits["train"]["a"] = np.array([[60000, 1], [60000, 3]] * 4, np.float16)

    # Their sum, 480,000, is beyond float16.
    assert made(small, normalise="standard").columns["a"].all().isfinite().all()


def alternately(one, other):
    return lambda split, rows: [(one, other)[i % 2].format(split, i // 2) for i in range(rows)]


ZONED = ["2021-03-28T02:30:00+02:00", "2021-03-28T00:30:00Z"]
"""One instant, written twice: names are text, and these are two."""

WIDE = {"train": "x", "valid": "X", "test": "ｘ"}
"""Letters that a comparison which folds case or width takes for one."""


def names(make):
    return lambda splits: [columns.__setitem__("id", make(split, ROWS[split])) for split, columns in splits.items()]


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (lambda split, rows: [f"{split}{'vV'[i % 2]}{i // 2}" for i in range(rows)], ["testv0", "testV0", "testv1"]),
        (lambda split, rows: [f"{WIDE[split]}{i}" for i in range(rows)], ["ｘ0", "ｘ1"]),
        (lambda split, rows: [f"{split}{i // 2}" + " " * (i % 2) for i in range(rows)], ["test0", "test0 ", "test1"]),
        (lambda split, rows: np.arange(rows) + 100 * list(ROWS).index(split), ["200", "201"]),
        (lambda split, rows: [f"{split}{i}".encode() for i in range(rows)], ["test0", "test1"]),
        (lambda split, rows: pd.Series([f"{split}{i}" for i in range(rows)]), ["test0", "test1"]),
        (lambda split, rows: np.array([f"{split}é{i}" for i in range(rows)]), ["testé0", "testé1"]),
        (lambda split, rows: [f"{split}[{10 - i}]" for i in range(rows)], ["test[10]", "test[9]"]),
        (alternately("{0}é{1}", "{0}e\u0301{1}"), ["testé0", "teste\u03010"]),
        (alternately(*(f"{{0}} {{1}} {time}" for time in ZONED)), [f"test 0 {time}" for time in ZONED]),
        (alternately("{0} 0{1}", "{0} {1}"), ["test 00", "test 0", "test 01"]),
    ],
    ids=["case", "width", "blank", "integers", "bytes", "series", "array", "brackets", "composed", "offsets", "zeros"],
)  # fmt: skip
def test_ids_are_kept_apart_exactly_as_they_are(made, make, test):
    assert list(made(names(make)).ids[: len(test)]) == test


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda split, rows: [f"{split}{i}" for i in range(rows - 1)] + [f"{split}0"], "'train0' names both row 0 and"),
        (lambda split, rows: list(range(rows)), "id '0' is in both 'train' and 'valid'"),
        (lambda split, rows: [1 if i else "1" for i in range(rows)], "'1' names both row 0 and row 1"),
        (lambda split, rows: [np.nan] * rows, "row 0 is nan; a name is a string or an integer"),
        (lambda split, rows: [""] * rows, "row 0 is ''; a name is"),
        (lambda split, rows: [True] * rows, "row 0 is True; a name is"),
        (lambda split, rows: [b"\xff"] * rows, "which is not UTF-8"),
        (lambda split, rows: ["\ud800"] * rows, "a name that UTF-8 cannot write"),
        (lambda split, rows: np.zeros((rows, 1), int), "expected one name a row"),
    ],
    ids=["twice", "across", "types", "nan", "empty", "truth", "latin-1", "surrogate", "matrix"],
)
def test_ids_that_are_no_names_are_refused(made, make, message):
    with pytest.raises(DataError, match=message):
        made(names(make))


# --- source files ----------------------------------------------------------------------------------------------------


def official():
    found = registry().find("datasets", "toy/official").spec
    place = preparation.official_folder(found)
    (place / "parts").mkdir(parents=True)
    np.save(place / "data.npy", np.zeros((40, 3)))
    np.save(place / "parts" / "a.npy", np.zeros(1))
    return found, place / "data.npy"


def replaced(path, by):
    path.unlink()
    by(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "official files are missing: data.npy (1 of 2)"),
        (lambda path: replaced(path, type(path).mkdir), "is a folder; a file of that name is due there"),
        (lambda path: replaced(path, os.mkfifo), "is not a regular file; a file of that name is due there"),
        (lambda path: replaced(path, type(path).touch), "is empty. Get it again from its publisher"),
        (lambda path: replaced(path, lambda p: p.symlink_to("nowhere")), "official files are missing: data.npy"),
        (lambda path: replaced(path.parent / "parts" / "a.npy", type(path).touch), "a.npy is empty"),
        (lambda path: path.write_bytes(b"no array"), "its files cannot be read (ValueError"),
    ],
    ids=["missing", "folder", "pipe", "empty", "dangling", "empty-part", "damaged"],
)
def test_a_source_file_that_is_none_is_one_line(change, message):
    found, path = official()
    change(path)
    with pytest.raises(DataError) as told:
        prepare(found)
    text = str(told.value)
    assert text.startswith("dataset 'toy/official': ")
    assert message in text
    assert "\n" not in text


@pytest.mark.skipif(os.getuid() != 0, reason="to become another user needs root")
@pytest.mark.parametrize("closed", ["data.npy", "."])
def test_a_source_file_that_may_not_be_read_is_one_line(tmp_path, closed):
    found, path = official()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    (path.parent / closed).chmod(0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(54321)
            preparation.locate(found)
        except DataError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    text = os.read(reader, 4096).decode()
    os.close(reader)
    (path.parent / closed).chmod(0o755)
    assert text.startswith("dataset 'toy/official': ")
    assert "cannot be read; its permissions forbid it" in text
