"""``table`` and ``compare`` on stored cells with hand-made predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from braidbench import comparison
from braidbench.cell import seeds
from braidbench.cli import app
from braidbench.errors import UsageError
from braidbench.files import sha256_file, sha256_json
from braidbench.results import Result
from braidbench.stats import holm

LABELS = np.arange(60) % 3


def write_cell(root: Path, method: str, seed: int, prediction: Any, target: Any, kind: str = "classification",
               index: Any = None, score: float | None = None, ids: Any = None,
               told: Mapping[str, Any] = MappingProxyType({}), **fields: Any) -> Path:  # fmt: skip
    """One ok cell with its predictions, whose path is given back. ``told`` goes into its identity, ``fields`` into the
    result."""
    identity = {
        "dataset": {"name": "d", "task": "t"}, "method": {"name": method}, "seed": seed, "seeds": seeds(seed), **told,
    }  # fmt: skip
    cell = sha256_json(identity)
    folder = root / cell[:12]
    folder.mkdir(parents=True)
    table = pa.table({
        "index": pa.array(range(len(target)) if index is None else index, pa.int64()),
        **({} if ids is None else {"id": pa.array(ids)}),
        "prediction": pa.array([list(row) for row in prediction], pa.list_(pa.float32())),
        "target": pa.array(target) if np.ndim(target) == 1 else pa.array([list(row) for row in target]),
    })  # fmt: skip
    path = folder / "predictions.parquet"
    pq.write_table(table, path)
    values: dict[str, Any] = dict(
        cell=cell, dataset="d", task="t", method=method, seed=seed, status="ok", scores=scores_of(path, kind, score),
        task_kind=kind, identity=identity, command="braidbench run", started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:00:00+00:00", files={path.name: sha256_file(path)},
    )  # fmt: skip
    result = Result(**values | fields)
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


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """The command in an empty folder, in this process: these tests are of what it says, not of how it starts."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> Any:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            app.run(list(arguments))
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=stop.value.code, stdout=out, stderr=err)

    return called


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


# --- the gate ---------------------------------------------------------------------------------------------------------


def gate(cli: Any, *arguments: str) -> list[str]:
    """Why the gate stays shut, a line each; nothing if it opens. Its JSON is one document in either case."""
    done = cli("compare", *arguments, "--fail-if", "worse")
    assert done.returncode == bool(done.stderr), "it says why"
    again = cli("compare", *arguments, "--fail-if", "worse", "--json")
    assert again.returncode == done.returncode
    json.loads(again.stdout)
    return done.stderr.splitlines()


def test_a_row_is_compared_with_its_baseline(cli, tmp_path):
    write_cell(tmp_path / "old", "a", 0, wrong_at(0, 20, 21), LABELS)
    write_cell(tmp_path / "old", "b", 0, wrong_at(5), LABELS)
    write_cell(tmp_path / "results", "a", 0, wrong_at(*range(14)), LABELS)
    write_cell(tmp_path / "results", "b", 0, wrong_at(5), LABELS)
    one, other = compared(cli, "--baseline", "old")
    # The new a is right on 2 samples where the old one is wrong, and wrong on 13 where it is right.
    assert (one["first"], one["second"], one["baseline"]) == ("a", "a", "old")
    assert one["difference"] == pytest.approx(-11 / 60)
    assert one["p"] == pytest.approx(scipy.stats.binomtest(2, 15).pvalue)
    assert (one["verdict"], other["verdict"], other["interval"]) == ("worse", "tie", [0, 0])
    [line] = gate(cli, "--baseline", "old")
    assert "d/t  a -> a: worse (accuracy -0.1833, interval from -0." in line
    assert gate(cli, "b", "--baseline", "old") == []
    assert len(compared(cli, "b", "--baseline", "old")) == 1
    [line] = cli("compare", "b", "--baseline", "old").stdout.splitlines()
    assert "b (baseline) -> b" in line


def test_a_baseline_is_another_folder(cli, tmp_path):
    write_cell(tmp_path / "results", "a", 0, wrong_at(0), LABELS)
    (tmp_path / "link").symlink_to("results")
    for name in ("results", "link"):
        done = cli("compare", "a", "--baseline", name, "--fail-if", "worse")
        assert (done.returncode, done.stdout) == (2, "")
        assert "is the results folder itself" in done.stderr
    assert cli("compare", "a", "--baseline", "nowhere", "--fail-if", "worse").returncode == 2


def test_the_margin_is_of_the_intervals_lower_end():
    cases = [
        # interval, adjusted p, margin, verdict
        ((-0.03, -0.01), 0.001, None, "worse"),
        ((-0.03, -0.01), 0.060, None, "tie"),
        ((-0.03, 0.01), 0.001, None, "tie"),
        ((0.01, 0.03), 0.001, None, "better"),
        ((-0.03, -0.01), 0.001, 0.05, "tie"),
        ((-0.03, -0.01), 0.001, 0.03, "tie"),
        ((-0.03, 0.09), 1.0, 0.02, "worse"),
        ((0.01, 0.03), 0.001, 0.0, "better"),
        ((0.0, 0.0), 1.0, 0.0, "tie"),
        ((-1e-9, 0.5), 1.0, 0.0, "worse"),
    ]
    for interval, p, margin, wanted in cases:
        assert comparison.verdict(interval, p, margin) == wanted, (interval, p, margin)


def test_a_margin_lets_a_small_loss_pass_and_a_wide_interval_not(cli, tmp_path):
    labels = np.arange(400) % 3
    worse, noisy = labels.copy(), labels.copy()
    worse[:8] = (worse[:8] + 1) % 3
    noisy[:40] = (noisy[:40] + 1) % 3
    other = labels.copy()
    other[40:80] = (other[40:80] + 1) % 3
    for name, predicted in (("a", labels), ("b", worse), ("c", noisy), ("d", other)):
        write_cell(tmp_path / "results", name, 0, one_hot(predicted), labels)
    # 8 of 400 lost: −0.02, whose standard error is √(0.02 · 0.98 / 400) = 0.007.
    [row] = compared(cli, "a", "b")
    error = np.sqrt(0.02 * 0.98 / 400)
    assert row["interval"] == pytest.approx([-0.02 - 1.96 * error, -0.02 + 1.96 * error], abs=0.002)
    assert row["verdict"] == "worse"
    assert [compared(cli, "a", "b", "--margin", margin)[0]["verdict"] for margin in ("0.01", "0.05")] == [
        "worse",
        "tie",
    ]
    assert gate(cli, "a", "b", "--margin", "0.05") == []
    # As many won as lost, and an interval of ±0.044: no difference, and no proof that there is none.
    assert gate(cli, "c", "d") == []
    [line] = gate(cli, "c", "d", "--margin", "0.01")
    assert "worse" in line


@pytest.mark.parametrize("margin", ["-0.1", "nan", "inf", "1", "2.5", "much"])
def test_a_margin_that_means_nothing_is_one_line(cli, tmp_path, margin):
    write_cell(tmp_path / "results", "a", 0, wrong_at(0), LABELS)
    write_cell(tmp_path / "results", "b", 0, wrong_at(1), LABELS)
    done = cli("compare", "a", "b", "--margin", margin)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "--margin" in line


def put(root: Path, method: str, seed: int, **fields: Any) -> None:
    """A cell without predictions: one that failed or was skipped."""
    identity = {"dataset": {"name": "d", "task": "t"}, "method": {"name": method}, "seed": seed, "seeds": seeds(seed),
                "status": fields["status"]}  # fmt: skip
    moment = fields.pop("finished", "2026-01-01T00:00:00+00:00")
    result = Result(cell=sha256_json(identity), dataset="d", task="t", method=method, seed=seed, identity=identity,
                    command="", started=moment, finished=moment, **fields)  # fmt: skip
    folder = root / result.cell[:12]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(result.model_dump_json())


def missing_row(root: Path) -> str:
    write_cell(root, "other", 0, wrong_at(0), LABELS)
    return "there is no 'a' in"


def missing_seed(root: Path) -> str:
    write_cell(root, "a", 0, wrong_at(0), LABELS)
    return "there is no seed 1 of 'a' in"


def undefined_metric(root: Path) -> str:
    for seed in (0, 1):
        path = write_cell(root, "a", seed, wrong_at(0), LABELS, score=0.5).parent
        document = json.loads((path / "result.json").read_text())
        document |= {"scores": {"accuracy": None}, "undefined": {"accuracy": "one class"}, "files": {}}
        (path / "result.json").write_text(json.dumps(document))
    return "accuracy is undefined for seed 0 of 'a' in results: one class"


def failed_cell(root: Path) -> str:
    write_cell(root, "a", 0, wrong_at(0), LABELS)
    put(root, "a", 1, status="failed", failure="oom", reason="out of memory")
    return "seed 1 of 'a' in results failed: out of memory"


def failed_after(root: Path) -> str:
    """Newer code crashes, and what older code has left still counts in a table."""
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), LABELS)
    put(root, "a", 1, status="failed", failure="crash", reason="died", finished="2026-02-01T00:00:00+00:00")
    return "seed 1 of 'a' in results failed after the one that counts: died"


def skipped_row(root: Path) -> str:
    for seed in (0, 1):
        put(root, "a", seed, status="skipped", reason="no sequences")
    return "skipped: no sequences"


def forged(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), LABELS, scores={"accuracy": 1.0})
    return "'a' in results stands apart: accuracy 1"


def forged_in_part(root: Path) -> str:
    for seed in (0, 1, 2):
        write_cell(root, "a", seed, wrong_at(0), LABELS, **({"scores": {"accuracy": 1.0}} if seed == 2 else {}))
    return "'a' in results stands apart: accuracy 1"


def other_data(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), LABELS, told={"fingerprint": "f" * 64})
    return "predictions of different data"


def other_protocol(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), LABELS, told={"protocol_version": 0})
    return "another version of the protocol"


def other_targets(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), (LABELS + 1) % 3)
    return "different rows or targets"


def fewer_rows(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0)[:30], LABELS[:30])
    return "different rows or targets"


def no_predictions(root: Path) -> str:
    for seed in (0, 1):
        write_cell(root, "a", seed, wrong_at(0), LABELS).unlink()
    return "seed 0 of 'a' in results has no predictions.parquet"


def unreadable(root: Path) -> str:
    for seed in (0, 1, 2):
        path = write_cell(root, "a", seed, wrong_at(0), LABELS).parent / "result.json"
    path.write_text("{")
    return "1 of its folder's results could not be read and may be of 'a'"


def nothing(root: Path) -> str:
    root.mkdir()
    return "there is no 'a' in"


TROUBLES = [
    missing_row, missing_seed, undefined_metric, failed_cell, failed_after, skipped_row, forged, forged_in_part,
    other_data, other_protocol, other_targets, fewer_rows, no_predictions, unreadable, nothing,
]  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_a_gate_never_opens_on_what_is_not_whole(cli, tmp_path, trouble):
    """Whichever side it is on, with a method named and without."""
    for seed in (0, 1):
        write_cell(tmp_path / "old", "a", seed, wrong_at(0), LABELS)
    part = trouble(tmp_path / "results")
    lines = gate(cli, "a", "--baseline", "old")
    assert any(part in line for line in lines), lines
    assert all("Traceback" not in line for line in lines)
    assert gate(cli, "--baseline", "old")
    swapped = gate(cli, "a", "--baseline", "results", "--results", "old")
    assert any(part in line for line in swapped), swapped


def test_a_gate_on_nothing_stays_shut(cli, tmp_path):
    for name in ("old", "results"):
        (tmp_path / name).mkdir()
    assert gate(cli, "--baseline", "old") == ["fails: nothing was compared: there are no such results"]
    for name in ("old", "results"):
        write_cell(tmp_path / name, "a", 0, wrong_at(0), LABELS)
    assert gate(cli, "--baseline", "old") == []
    assert gate(cli, "--baseline", "old", "--dataset", "e") != []
    assert any("there are no results of 'aa'" in line for line in gate(cli, "a", "aa", "--baseline", "old"))
    # A row that is new has nothing to be compared with, which is not the same as being no worse.
    write_cell(tmp_path / "results", "b", 0, wrong_at(0), LABELS)
    [line] = gate(cli, "--baseline", "old")
    assert "there is no 'b' in old" in line
    [line] = gate(cli, "a", "b", "--results", "old")
    assert "there is no 'b' in old" in line


def test_a_row_with_overrides_is_asked_for_by_its_whole_name(cli, tmp_path):
    for name in ("old", "results"):
        write_cell(tmp_path / name, "a", 0, wrong_at(0), LABELS, overrides={"training.epochs": 1})
    done = cli("compare", "a", "--baseline", "old")
    assert done.returncode == 2
    assert "Did you mean 'a {training.epochs=1}'?" in done.stderr
    assert gate(cli, "a {training.epochs=1}", "--baseline", "old") == []
    assert "Did you mean 'a {training.epochs=1}'?" in gate(cli, "a", "--baseline", "old")[-1]


def test_a_metric_that_only_one_side_has_a_value_of(cli, tmp_path):
    """Undefined in both, a metric that does not rank says nothing of a change."""
    both, one = {"accuracy": 0.5, "auroc": None}, {"accuracy": 0.5, "auroc": 0.9}
    for name, scores in (("old", both), ("same", both), ("gained", one), ("also", one)):
        write_cell(tmp_path / name, "a", 0, wrong_at(0), LABELS, score=0.5, scores=scores)

    def told(before: str, after: str) -> list[str]:
        return [line for line in gate(cli, "--baseline", before, "--results", after) if "undefined" in line]

    assert told("old", "same") == told("gained", "also") == []
    assert "auroc is undefined for seed 0 of 'a' in old" in told("old", "gained")[0]
    assert "auroc is undefined for seed 0 of 'a' in same" in told("gained", "same")[0]


def test_samples_are_paired_by_their_ids_exactly(cli, tmp_path):
    names = np.array([f"{'vV'[i % 2]}ideo{i // 2}" for i in range(60)])
    order = np.random.default_rng(0).permutation(60)
    write_cell(tmp_path / "results", "a", 0, wrong_at(1, 2), LABELS, ids=names)
    # The same samples with the same predictions in another order, one named V and the other v for every number.
    write_cell(tmp_path / "results", "b", 0, wrong_at(1, 2)[order], LABELS[order], ids=names[order])
    [row] = compared(cli, "a", "b")
    assert (row["difference"], row["p"], row["interval"]) == (0, 1, [0, 0])
    # Ids in one of the two only: by row.
    write_cell(tmp_path / "results", "c", 0, wrong_at(2, 4), LABELS)
    [row] = compared(cli, "a", "c")
    assert (row["difference"], row["p"]) == (0, 1)
    assert row["interval"][0] < 0 < row["interval"][1], "different samples are wrong"


@pytest.mark.parametrize(
    ("ids", "part"),
    [
        ([f"V{i}" for i in range(60)], "different rows or targets"),
        (["v0"] * 60, "no list of different names"),
        ([None, *(f"v{i}" for i in range(59))], "a name is missing"),
        (list(range(60)), "column 'id' has type int64"),
    ],
    ids=["case", "repeated", "missing", "numbers"],
)
def test_other_ids_are_never_paired(cli, tmp_path, ids, part):
    write_cell(tmp_path / "results", "a", 0, wrong_at(0), LABELS, ids=[f"v{i}" for i in range(60)])
    write_cell(tmp_path / "results", "b", 0, wrong_at(0), LABELS, ids=ids)
    done = cli("compare", "a", "b")
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert part in line
    assert any(part in line for line in gate(cli, "a", "b"))


def test_seeds_are_of_the_same_samples(cli, tmp_path):
    """Sign flips are of a sample's mean over seeds, so every seed must have its samples in one order."""
    for method in ("a", "b"):
        write_cell(tmp_path / "results", method, 0, wrong_at(0), LABELS, ids=[f"v{i:02d}" for i in range(60)])
        write_cell(tmp_path / "results", method, 1, wrong_at(0), LABELS, ids=[f"w{i:02d}" for i in range(60)])
    done = cli("compare", "a", "b")
    assert (done.returncode, done.stdout) == (3, "")
    assert "is of other samples" in done.stderr


def test_a_pair_without_a_baseline_takes_a_margin_and_no_single_method(cli, tmp_path):
    write_cell(tmp_path / "results", "a", 0, wrong_at(0), LABELS)
    assert cli("compare", "a", "--margin", "0.1").returncode == 2
    with pytest.raises(UsageError, match="itself"):
        comparison.pairs_with_baseline(*[comparison.stored(tmp_path / "results")] * 2)
