"""``table`` and ``compare`` on stored cells with hand-made predictions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from braidbench.cell import seeds
from braidbench.files import sha256_file, sha256_json
from braidbench.results import Result
from braidbench.stats import holm

LABELS = np.arange(60) % 3


def write_cell(root: Path, method: str, seed: int, prediction: Any, target: Any, kind: str = "classification",
               index: Any = None, score: float | None = None, **fields: Any) -> Path:  # fmt: skip
    identity = {
        "dataset": {"name": "d", "task": "t"}, "method": {"name": method}, "seed": seed, "seeds": seeds(seed), **fields,
    }  # fmt: skip
    cell = sha256_json(identity)
    folder = root / cell[:12]
    folder.mkdir(parents=True)
    table = pa.table({
        "index": pa.array(range(len(target)) if index is None else index, pa.int64()),
        "prediction": pa.array([list(row) for row in prediction], pa.list_(pa.float32())),
        "target": pa.array(target) if np.ndim(target) == 1 else pa.array([list(row) for row in target]),
    })  # fmt: skip
    path = folder / "predictions.parquet"
    pq.write_table(table, path)
    result = Result(
        cell=cell, dataset="d", task="t", method=method, seed=seed, status="ok", scores=scores_of(path, kind, score),
        task_kind=kind, identity=identity, command="braidbench run", started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:00+00:00", files={path.name: sha256_file(path)}, **fields,
    )  # fmt: skip
    (folder / "result.json").write_text(result.model_dump_json())
    if score is not None:
        path.unlink()
    return path


def scores_of(path: Path, kind: str, score: float | None) -> dict[str, float]:
    """What the predictions give by a metric of the kind; ``score`` if there are to be none beside the result."""
    if score is not None:
        return {"accuracy": score}
    table = pq.read_table(path).sort_by("index").to_pydict()
    prediction, target = np.array(table["prediction"]), np.array(table["target"])
    if kind == "classification":
        return {"accuracy": float((prediction.argmax(1) == target).mean())}
    return {"mse": float(((prediction - target) ** 2).mean())}


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(3)[labels]


def wrong_at(*rows: int) -> np.ndarray:
    labels = LABELS.copy()
    labels[list(rows)] = (labels[list(rows)] + 1) % 3
    return one_hot(labels)


def compared(cli: Any, *arguments: str) -> list[dict[str, Any]]:
    done = cli("compare", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_classification_is_mcnemars_test_with_holms_adjustment(cli, tmp_path):
    root = tmp_path / "results"
    write_cell(root, "a", 0, wrong_at(*range(14)), LABELS)
    write_cell(root, "b", 0, wrong_at(0, 20, 21), LABELS)
    write_cell(root, "c", 0, wrong_at(*range(14)), LABELS)
    rows = compared(cli, "a", "b", "c")
    assert [(row["first"], row["second"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    # b is right on 13 samples where a is wrong, and wrong on 2 where a is right.
    expected = scipy.stats.binomtest(13, 15).pvalue
    assert rows[0]["difference"] == pytest.approx(11 / 60)
    assert rows[0]["p"] == pytest.approx(expected)
    assert [row["p_holm"] for row in rows] == pytest.approx(holm([expected, 1.0, expected]))
    assert [row["verdict"] for row in rows] == ["better", "tie", "worse"]


def test_rows_are_joined_on_the_index_and_not_on_their_order(cli, tmp_path):
    root = tmp_path / "results"
    order = np.random.default_rng(0).permutation(60)
    write_cell(root, "a", 0, wrong_at(1, 2), LABELS)
    write_cell(root, "b", 0, wrong_at(1, 2)[order], LABELS[order], index=order)
    [row] = compared(cli, "a", "b")
    assert (row["difference"], row["p"]) == (0, 1)


def test_multilabel_and_regression_scores_by_hand(cli, tmp_path):
    target = np.array([[1, 0], [0, 1], [1, 1]], np.float64)
    write_cell(tmp_path / "m", "a", 0, [[0.9, 0.9], [0.1, 0.1], [0.1, 0.1]], target, "multilabel")
    write_cell(tmp_path / "m", "b", 0, [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1]], target, "multilabel")
    [row] = compared(cli, "a", "b", "--results", "m")
    assert row["difference"] == pytest.approx(np.mean([1, 1, 0.5]) - np.mean([0.5, 0.5, 0]))
    values = np.array([[1.0], [2.0], [3.0]])
    write_cell(tmp_path / "r", "a", 0, values + 2, values, "regression")
    write_cell(tmp_path / "r", "b", 0, values + 1, values, "regression")
    [row] = compared(cli, "a", "b", "--results", "r")
    assert row["difference"] == pytest.approx(-1 - -4), "squared error with its sign turned"


def test_only_shared_seeds_are_compared(cli, tmp_path):
    root = tmp_path / "results"
    for seed in (0, 1, 2):
        write_cell(root, "a", seed, wrong_at(0), LABELS)
    for seed in (1, 2, 3):
        write_cell(root, "b", seed, wrong_at(0), LABELS)
    [row] = compared(cli, "a", "b")
    assert (row["seeds"], row["samples"]) == (2, 60)


@pytest.mark.parametrize(
    ("prediction", "target", "index"),
    [(wrong_at(0), (LABELS + 1) % 3, None), (wrong_at(0)[:40], LABELS[:40], None)],
    ids=["targets", "fewer"],
)
def test_predictions_of_different_data_are_never_paired(cli, tmp_path, prediction, target, index):
    root = tmp_path / "results"
    write_cell(root, "a", 0, wrong_at(0), LABELS)
    path = write_cell(root, "b", 0, prediction, target, index=index)
    done = cli("compare", "a", "b")
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert path.parent.name in line
    assert "different rows or targets" in line


def test_predictions_of_a_part_of_the_rows_stand_apart(cli, tmp_path):
    root = tmp_path / "results"
    write_cell(root, "a", 0, wrong_at(0), LABELS)
    write_cell(root, "b", 0, wrong_at(0), LABELS, index=range(1, 61))
    done = cli("compare", "a", "b")
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert "'b' stands apart" in line
    assert "other split" in line


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1"])
def test_a_damaged_predictions_file_is_one_line(cli, tmp_path, content):
    root = tmp_path / "results"
    write_cell(root, "a", 0, wrong_at(0), LABELS)
    write_cell(root, "b", 0, wrong_at(1), LABELS).write_bytes(content)
    done = cli("compare", "a", "b")
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert "its predictions.parquet is not the file that it names" in line


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(("a",), "two different methods"), (("a", "a"), "two different methods"), (("a", "aa"), "Did you mean 'a'")],
)
def test_wrong_requests_are_one_line(cli, tmp_path, arguments, part):
    write_cell(tmp_path / "results", "a", 0, wrong_at(0), LABELS)
    done = cli("compare", *arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert part in line


def test_the_table_has_the_same_numbers_in_every_format(cli, tmp_path):
    for seed, score in enumerate((0.7, 0.8, 0.9)):
        write_cell(tmp_path / "results", "a_b", seed, wrong_at(0), LABELS, score=score)
    half = scipy.stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    wanted = f"0.8000 ± {half:.4f}"
    [header, row] = csv.reader(io.StringIO(cli("table", "--format", "csv").stdout))
    assert dict(zip(header, row, strict=True))["accuracy ↑"] == wanted
    assert row[1] == "a_b"
    latex = cli("table", "--format", "latex").stdout
    assert r" a\_b & " in latex
    assert "\\toprule" in latex
    assert wanted.replace("±", r"$\pm$") in latex
    for form in ("github", "rich"):
        assert wanted in cli("table", "--format", form).stdout
    [table] = json.loads(cli("table", "--json").stdout)
    assert table["rows"][0]["scores"]["accuracy"]["mean"] == pytest.approx(0.8)


def test_a_gate_fails_where_the_second_is_worse(cli, tmp_path):
    root = tmp_path / "results"
    write_cell(root, "good", 0, wrong_at(0), LABELS)
    write_cell(root, "bad", 0, wrong_at(*range(20)), LABELS)
    assert cli("compare", "good", "bad").returncode == 0
    assert cli("compare", "good", "bad", "--fail-if", "worse", "--json").returncode == 1
    assert cli("compare", "bad", "good", "--fail-if", "worse").returncode == 0
