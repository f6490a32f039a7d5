"""AV-MNIST from small files of the official format, and each way in which they can be wrong."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from braidbench import preparation
from braidbench.errors import DataError
from braidbench.specs import Dataset
from braidbench_multibench.loaders import av_mnist

TRAIN, TEST = 36, 10


def write(folder: Path, dtype: type = np.float64) -> dict[str, np.ndarray]:
    """Files as published (float64, 0 to 255), with 36 and 10 rows."""
    rng = np.random.default_rng(0)
    arrays = {}
    for half, rows in (("train", TRAIN), ("test", TEST)):
        arrays[f"image/{half}_data.npy"] = rng.integers(0, 256, (rows, 784)).astype(dtype)
        arrays[f"audio/{half}_data.npy"] = rng.integers(0, 256, (rows, 112, 112)).astype(dtype)
        arrays[f"{half}_labels.npy"] = (np.arange(rows) % 10).astype(np.int64)
    for name, array in arrays.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, array)
    return arrays


@pytest.fixture
def spec(specs: dict[str, Dataset]) -> Dataset:
    return specs["av-mnist"]


@pytest.fixture
def folder(spec: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path))
    return preparation.official_folder(spec)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_reads_the_published_format(spec: Dataset, folder: Path, dtype: type) -> None:
    arrays = write(folder, dtype)
    splits = av_mnist.load(preparation.locate(spec))
    assert {name: len(columns["digit"]) for name, columns in splits.items()} == {"train": 33, "valid": 3, "test": 10}
    valid = splits["valid"]
    assert valid["image"].shape == (3, 1, 28, 28)
    assert valid["audio"].shape == (3, 1, 112, 112)
    assert valid["image"].dtype == valid["audio"].dtype == np.float32
    assert valid["digit"].dtype == np.int64
    # Validation is the end of the training files, in their order; pixels stand row by row.
    np.testing.assert_allclose(valid["image"][0, 0, 2, 5], arrays["image/train_data.npy"][33, 2 * 28 + 5] / 255, 1e-6)
    np.testing.assert_allclose(valid["audio"][:, 0], arrays["audio/train_data.npy"][33:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(valid["digit"], arrays["train_labels.npy"][33:])
    np.testing.assert_allclose(splits["test"]["audio"][:, 0], arrays["audio/test_data.npy"] / 255, rtol=1e-6)


def test_the_published_sizes_give_the_published_split() -> None:
    assert 60_000 * av_mnist.VALID_ROWS // av_mnist.TRAINING_ROWS == 5_000


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (25, 784)).astype(np.float64)
    whole = av_mnist.scaled(rows, (1, 28, 28), Path("x"))
    monkeypatch.setattr(av_mnist, "BLOCK", 7)
    assert np.array_equal(av_mnist.scaled(rows, (1, 28, 28), Path("x")), whole)
    np.testing.assert_allclose(whole.reshape(25, 784), rows / 255, rtol=1e-6)


def test_no_second_copy_of_a_file_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((4000, 784)))
    rows = av_mnist.read(tmp_path / "rows.npy", (784,))
    monkeypatch.setattr(av_mnist, "BLOCK", 100)
    tracemalloc.start()
    result = av_mnist.scaled(rows, (1, 28, 28), tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.nbytes <= peak < 1.2 * result.nbytes


def test_it_is_prepared_by_the_core(spec: Dataset, folder: Path) -> None:
    write(folder)
    assert preparation.prepare(spec).meta["splits"] == {"train": 33, "valid": 3, "test": 10}


def test_missing_files_say_which_and_how_to_get_them(spec: Dataset, folder: Path) -> None:
    write(folder)
    (folder / "audio/test_data.npy").unlink()
    with pytest.raises(DataError, match=r"missing: audio/test_data\.npy .*Google Drive.*Put them in .*av-mnist"):
        preparation.locate(spec)
    with pytest.raises(DataError, match=r"no such file; expected an array \(rows, 784\)"):
        av_mnist.read(folder / "nowhere.npy", (784,))


def damaged(folder: Path, name: str, spec: Dataset) -> str:
    with pytest.raises(DataError) as caught:
        av_mnist.load(preparation.locate(spec))
    message = str(caught.value)
    assert str(folder / name) in message
    assert "Get it again from its publisher" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["image/train_data.npy", "audio/test_data.npy", "train_labels.npy"])
@pytest.mark.parametrize("keep", [0, 40, 0.5])
def test_truncated_files(spec: Dataset, folder: Path, name: str, keep: float) -> None:
    write(folder)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    message = damaged(folder, name, spec)
    assert ("not a whole .npy file" if keep else "is empty") in message
    # An empty file is told by the core, before the loader has seen it.
    assert not keep or "expected an array (rows" in message


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("image/train_data.npy", (36, 28, 28), "shape (36, 28, 28); expected (rows, 784)"),
        ("audio/train_data.npy", (36, 20, 20), "shape (36, 20, 20); expected (rows, 112, 112)"),
        ("test_labels.npy", (10, 10), "shape (10, 10); expected (rows,)"),
        ("test_labels.npy", (), "shape (); expected (rows,)"),
        ("audio/test_data.npy", (9, 112, 112), "9 rows where test_labels.npy has 10"),
        ("image/test_data.npy", (0, 784), "shape (0, 784)"),
    ],
)
def test_wrong_shapes(spec: Dataset, folder: Path, name: str, shape: tuple[int, ...], expected: str) -> None:
    write(folder)
    np.save(folder / name, np.zeros(shape))
    assert expected in damaged(folder, name, spec)


def test_pickled_arrays_are_refused(spec: Dataset, folder: Path) -> None:
    write(folder)
    np.save(folder / "image/test_data.npy", np.array([[None] * 784] * TEST, dtype=object), allow_pickle=True)
    assert "not a whole .npy file of numbers" in damaged(folder, "image/test_data.npy", spec)
    (folder / "image/test_data.npy").write_bytes(pickle.dumps([1, 2, 3]))
    assert "not a whole .npy file of numbers" in damaged(folder, "image/test_data.npy", spec)


@pytest.mark.parametrize(("value", "found"), [(256.0, "to 256"), (-1.0, "from -1"), (np.nan, "nan")])
def test_values_out_of_range(spec: Dataset, folder: Path, value: float, found: str) -> None:
    arrays = write(folder)
    arrays["audio/train_data.npy"][35, 3, 4] = value
    np.save(folder / "audio/train_data.npy", arrays["audio/train_data.npy"])
    message = damaged(folder, "audio/train_data.npy", spec)
    assert found in message
    assert "expected 0 to 255" in message


@pytest.mark.parametrize("label", [10, -1, 2.5, np.nan])
def test_labels_that_are_no_digits(spec: Dataset, folder: Path, label: float) -> None:
    write(folder)
    labels = np.zeros(TEST)
    labels[3] = label
    np.save(folder / "test_labels.npy", labels)
    assert "expected the digits 0 to 9" in damaged(folder, "test_labels.npy", spec)


def test_too_few_rows_to_hold_any_out(spec: Dataset, folder: Path) -> None:
    write(folder)
    for name, shape in (("image/train_data.npy", (5, 784)), ("audio/train_data.npy", (5, 112, 112))):
        np.save(folder / name, np.zeros(shape))
    np.save(folder / "train_labels.npy", np.zeros(5))
    assert "5 rows are too few" in damaged(folder, "train_labels.npy", spec)
