"""A cell's life around its training: what is refused, measured, kept, said and made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import braid_toy.parts
import braidbench
from braidbench import Procedure, determinism, interruption
from braidbench.cell import Request, make_cell, now
from braidbench.data import open_split
from braidbench.errors import NewerVersionError, StorageError, UndefinedScoreError
from braidbench.execution import ended, execute
from braidbench.plan import make_plan
from braidbench.preparation import prepare
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.results import Result
from braidbench.store import Store
from braidbench.testing import check_component
from braidbench.testing.kit import Subject
from braidbench.training import train


def run(folder, row="toy/join", **options) -> Result:
    return braidbench.run("toy/pair", row, results=folder, device="cpu", **options)


def folder_of(results: Path) -> Path:
    [folder] = results.glob("toy*")
    return folder


def stored(results: Path) -> dict:
    return json.loads((folder_of(results) / "result.json").read_text())


def predictions(results: Path) -> np.ndarray:
    table = pq.read_table(folder_of(results) / "predictions.parquet")
    return np.array(table["prediction"].to_pylist(), np.float32)


# --- the test split ---------------------------------------------------------------------------------------------------


def prepared():
    return prepare(registry().find("datasets", "toy/pair").spec)


def by_the_loader():
    open_split(prepared(), "test", prepared().spec.tasks[0])


def by_its_files():
    next(prepared().folder.glob("test/*.arrow")).open("rb").close()


def by_a_name_from_within():
    with contextlib.chdir(prepared().folder):
        open(next(Path("test").glob("*.arrow")), "rb").close()


def and_says_nothing():
    with contextlib.suppress(Exception):
        by_the_loader()


def in_a_thread():
    thread = threading.Thread(target=and_says_nothing)
    thread.start()
    thread.join()


REACHES = [by_the_loader, by_its_files, by_a_name_from_within, and_says_nothing, in_a_thread]


@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.__name__)
def test_a_procedure_that_reaches_for_the_test_split_fails(tmp_path, monkeypatch, reach):
    def fit(self, model, data, settings):
        train(model, data, settings)
        reach()
        return model

    prepared()
    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    result = run(tmp_path)
    assert (result.status, result.failure) == ("failed", "plugin")
    assert result.reason.startswith("method 'toy/join' reaches for the test split")
    assert result.scores == {}


def test_the_kit_names_a_procedure_that_reaches_for_the_test_split(monkeypatch):
    def fit(self, model, data, settings):
        train(model, data, settings)
        and_says_nothing()
        return model

    prepared()
    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    report = check_component(Subject("procedures", Procedure("toy/fit", "braid_toy.parts:Fit"), registry()))
    failed = [outcome.check for outcome in report.outcomes if outcome.status == "failed"]
    assert failed == ["leaves_the_test_split_alone"]


def test_the_training_and_the_validation_split_are_open_to_whoever_is_trained(tmp_path, monkeypatch):
    seen = []

    def fit(self, model, data, settings):
        seen.append(len(open_split(prepared(), "valid", prepared().spec.tasks[0])))
        train(model, data, settings)
        return model

    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    assert run(tmp_path).status == "ok"
    assert seen == [80]


# --- the budget -------------------------------------------------------------------------------------------------------


def test_the_harness_measures_seconds_and_epochs_whatever_the_procedure_says(tmp_path, monkeypatch):
    def fit(self, model, data, settings):
        """Three passes of its own, of which its history knows nothing, and a pause."""
        optimiser = torch.optim.SGD(model.parameters(), 0.01)
        for _ in range(3):
            for batch in data.train.batches(60):
                loss = sum(settings.objective(model(batch.inputs, batch.lengths), batch, model).values())
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        for batch in data.train.batches(60):
            with torch.no_grad():
                model(batch.inputs, batch.lengths)
        time.sleep(0.5)
        return model

    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    began = time.perf_counter()
    result = run(tmp_path)
    assert result.status == "ok", result.reason
    assert result.cost.epochs == 3
    assert 0.5 <= result.cost.train_seconds <= time.perf_counter() - began
    assert "trained for 3 of the budget's 4 epochs" in result.deviations


def test_training_twice_is_a_deviation_and_once_is_none(tmp_path, monkeypatch):
    assert run(tmp_path / "once").deviations == []

    def fit(self, model, data, settings):
        train(model, data, settings.phase("first"))
        train(model, data, settings.phase("second"))
        return model

    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    result = run(tmp_path / "twice")
    assert result.cost.epochs == 8
    assert result.deviations == ["trained for 8 epochs where the budget is 4"]


def test_the_datasets_own_number_of_epochs_is_no_override(tmp_path):
    plain = run(tmp_path)
    same = run(tmp_path, overrides={"training.epochs": 4, "training.lr": 0.02})
    assert same.cached
    assert same.cell == plain.cell
    assert same.overrides == {}
    assert run(tmp_path, overrides={"training.epochs": 3}).overrides == {"training.epochs": 3}


# --- selection and scores ---------------------------------------------------------------------------------------------


def test_a_validation_score_that_is_never_defined_leaves_the_choice_to_the_loss_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(braid_toy.parts, "accuracy", lambda prediction, target: float("nan"))
    result = run(tmp_path, overrides={"training.lr": 0.3, "training.epochs": 8})
    assert [note for note in result.deviations if "undefined in every epoch" in note]
    history = json.loads((folder_of(tmp_path) / "history.json").read_text())
    losses = [epoch["valid_loss"] for epoch in history["epochs"]]
    assert result.best_epoch == history["best"] == losses.index(min(losses))
    assert losses.index(min(losses)) != 0, "the first epoch would be chosen by nothing"

    # The weights that were kept have that loss.
    from braidbench.assembly import restore
    from braidbench.training import predict

    cell = make_cell(
        request := Request("toy/pair", "toy/join", 0, {"training.lr": 0.3, "training.epochs": 8}, tmp_path, "cpu"),
        resolve(registry(), request.dataset, request.row, request.overrides),
    )
    model = restore(cell.recipe, folder_of(tmp_path) / "model.safetensors")
    task = cell.recipe.task
    probabilities, target = predict(model, open_split(cell.prepared, "valid", task), task, 80)
    cross_entropy = -np.log(probabilities[np.arange(len(target)), target]).mean()
    assert cross_entropy == pytest.approx(min(losses), rel=1e-5)


def test_an_undefined_metric_is_empty_with_its_reason_and_the_others_stay(tmp_path, monkeypatch):
    def undefined(prediction, target):
        raise UndefinedScoreError("no pair of rows differs")

    monkeypatch.setattr(braid_toy.parts, "error", undefined)
    result = run(tmp_path, robustness=True)
    assert result.status == "ok"
    assert result.scores["toy/error"] is None
    assert result.undefined == {"toy/error": "no pair of rows differs"}
    assert result.scores["toy/accuracy"] > 0.5
    assert {c.scores[0] for c in result.robustness if c.metric == "toy/error"} == {None}


# --- precision and kernels --------------------------------------------------------------------------------------------


def test_bf16_is_another_cell_in_which_everything_is_under_autocast(tmp_path, monkeypatch):
    seen: dict[bool, set] = {True: set(), False: set()}
    real = braid_toy.parts.Join.forward

    def forward(self, values):
        fused = real(self, values)
        seen[self.training].add(self.layer(torch.cat(values, dim=1)).dtype)
        return fused

    full = run(tmp_path / "full")
    monkeypatch.setattr(braid_toy.parts.Join, "forward", forward)
    half = run(tmp_path / "half", precision="bf16", robustness=True)
    assert half.status == "ok", half.reason
    assert seen == {True: {torch.bfloat16}, False: {torch.bfloat16}}
    assert half.cell != full.cell
    assert (full.precision, half.precision) == ("fp32", "bf16")
    assert half.identity["precision"] == "bf16"
    assert "precision" not in full.identity
    assert half.command == "braidbench run toy/pair toy/join --seed 0 --precision bf16 --robustness"
    difference = np.abs(predictions(tmp_path / "full") - predictions(tmp_path / "half")).max()
    assert 0 < difference < 0.1, "other arithmetic, the same model"


def test_an_objective_that_declares_full_precision_gets_it(tmp_path, monkeypatch):
    from dataclasses import replace

    seen = []
    real = braid_toy.parts.Loss.__call__

    def call(self, output, batch, model):
        seen.append((output.prediction.dtype, torch.is_autocast_enabled("cpu")))
        return real(self, output, batch, model)

    monkeypatch.setattr(braid_toy.parts.Loss, "__call__", call)
    assert run(tmp_path / "a", precision="bf16").status == "ok"
    assert set(seen) == {(torch.bfloat16, True)}
    seen.clear()
    registered = registry().find("objectives", "toy/loss")
    exempt = replace(registered, spec=replace(registered.spec, full_precision=True))
    find = type(registry()).find
    monkeypatch.setattr(
        type(registry()), "find",
        lambda self, kind, name: exempt if (kind, name) == ("objectives", "toy/loss") else find(self, kind, name),
    )  # fmt: skip
    assert run(tmp_path / "b", precision="bf16").status == "ok"
    assert set(seen) == {(torch.float32, False)}


def test_a_kernel_without_a_deterministic_form_is_named_and_a_deterministic_cell_says_so(tmp_path, monkeypatch):
    plain = run(tmp_path / "a")
    assert plain.environment.deterministic
    assert plain.environment.nondeterministic == []
    real = braid_toy.parts.Join.forward

    def forward(self, values):
        kept = torch.zeros(4)
        kept.put_(torch.tensor([0, 1]), torch.ones(2))
        return real(self, values) + 0 * kept.sum()

    monkeypatch.setattr(braid_toy.parts.Join, "forward", forward)
    result = run(tmp_path / "b")
    assert result.status == "ok", result.reason
    assert not result.environment.deterministic
    assert len(result.environment.nondeterministic) == 1
    assert "put_" in result.environment.nondeterministic[0]
    assert np.array_equal(predictions(tmp_path / "a"), predictions(tmp_path / "b"))


def test_what_others_set_in_the_environment_changes_no_bit_and_is_recorded(cli, tmp_path):
    command = ("run", "toy/pair", "toy/join", "--device", "cpu", "--results")
    foreign = {
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "ACCELERATE_DYNAMO_BACKEND": "eager",
        "ACCELERATE_DOWNCAST_BF16": "true",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "NVIDIA_TF32_OVERRIDE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":0:0",
    }
    assert cli(*command, "plain").returncode == 0
    done = cli(*command, "foreign", **foreign)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(predictions(tmp_path / "plain"), predictions(tmp_path / "foreign"))
    recorded = stored(tmp_path / "foreign")["environment"]["variables"]
    assert recorded["ACCELERATE_MIXED_PRECISION"] == "bf16"


# --- a plan and what runs of it ---------------------------------------------------------------------------------------


def test_the_planned_cell_is_the_one_that_runs_or_none_does(tmp_path):
    request = Request("toy/pair", "toy/join", 0, {}, tmp_path, "cpu", planned="0" * 64)
    result = execute(request)
    assert (result.status, result.failure) == ("failed", "plugin")
    assert "changed after it was planned" in result.reason
    assert not list(tmp_path.glob("*/result.json"))


def test_of_two_requests_for_one_cell_the_one_with_robustness_runs(tmp_path):
    def request(robustness, **overrides):
        return Request("toy/pair", "toy/join", 0, overrides, tmp_path, "cpu", robustness=robustness)

    for order in ((False, True), (True, False), (True, True)):
        plan = make_plan(registry(), [request(wanted) for wanted in order], lenient=True)
        [planned] = plan.cells
        assert planned.request.robustness
        assert planned.cell.request.planned == planned.cell.id
    # The same cell in other words.
    plan = make_plan(registry(), [request(False), request(True, **{"training.epochs": 4})], lenient=True)
    assert [planned.request.robustness for planned in plan.cells] == [True]


# --- nothing is lost --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    results = tmp_path_factory.mktemp("whole")
    assert run(results, robustness=True).status == "ok"
    return results


def copy_of(whole: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def digests(results: Path) -> dict[str, str]:
    names = ("model.safetensors", "predictions.parquet", "result.json")
    return {name: hashlib.sha256((folder_of(results) / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("predictions.parquet", "removed"),
        ("predictions.parquet", "a folder"),
        ("model.safetensors", "removed"),
        ("model.safetensors", "cut short"),
        ("history.json", "a folder"),
    ],
)
def test_a_file_that_an_ok_cell_has_lost_is_made_again(whole, tmp_path, name, damage):
    results = copy_of(whole, tmp_path)
    before, kept = digests(results), stored(results)
    path = folder_of(results) / name
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
        (path / "mine.txt").write_text("keep me")
    elif damage == "cut short":
        path.write_bytes(content[: len(content) // 2])
    plan = make_plan(registry(), [Request("toy/pair", "toy/join", 0, {}, results, "cpu")], lenient=True)
    assert [name in note for note in plan.notes] == [True], "it is said"
    assert plan.cells[0].state == "to run"
    result = run(results)
    assert result.scores == kept["scores"]
    assert {key: value for key, value in digests(results).items() if key != "result.json"} == {
        key: value for key, value in before.items() if key != "result.json"
    }
    assert stored(results)["robustness"] == kept["robustness"], "curves of the same weights stay"
    assert json.loads((folder_of(results) / "history.json").read_text())["best"] == result.best_epoch
    if name == "predictions.parquet":
        assert result.finished == kept["finished"], "nothing is trained for that"
    if damage == "a folder":
        [aside] = folder_of(results).glob(f"{name}.*/mine.txt")
        assert aside.read_text() == "keep me"


def test_lost_weights_that_cannot_be_made_again_are_a_failure_and_cost_no_score(cli, tmp_path, plugin):
    source = """
        import os

        import braidbench


        @braidbench.hookimpl
        def register_procedures():
            yield braidbench.Procedure("moody/fit", "moody_parts:Moody")


        @braidbench.hookimpl
        def register_methods():
            yield braidbench.Method("moody/join", fusion="toy/join", objective="toy/loss", procedure="moody/fit")
    """
    parts = """
        import os

        from braid_toy.parts import Fit


        class Moody(Fit):
            def fit(self, model, data, settings):
                if os.environ.get("MOOD"):
                    raise ValueError("not today")
                os.chdir("/")
                return super().fit(model, data, settings)
    """
    _, environment = plugin("moody", "1.0", moody=source, moody_parts=parts)
    command = ("run", "toy/pair", "moody/join", "--device", "cpu", "--json", "--results", "here")
    done = cli(*command, **environment)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    folder = folder_of_any(tmp_path / "here")
    assert {"result.json", "model.safetensors", "predictions.parquet"} <= {path.name for path in folder.iterdir()}, (
        "where a component has gone makes no difference to where results lie"
    )
    (folder / "model.safetensors").unlink()
    again = cli(*command, **environment, MOOD="bad")
    assert again.returncode == 1, again.stderr
    assert "model.safetensors could not be made again" in again.stderr
    [kept] = json.loads(again.stdout)
    assert kept["scores"] == row["scores"]
    assert cli(*command, **environment).returncode == 0
    assert (folder / "model.safetensors").exists()


def folder_of_any(results: Path) -> Path:
    [folder] = results.glob("[!.]*")
    return folder


def test_a_result_that_is_a_folder_is_put_aside(whole, tmp_path):
    results = copy_of(whole, tmp_path)
    before = digests(results)
    path = folder_of(results) / "result.json"
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("keep me")
    assert run(results).status == "ok"
    assert digests(results)["model.safetensors"] == before["model.safetensors"]
    assert len(list(folder_of(results).glob("result.json.*/mine.txt"))) == 1


def test_a_result_of_a_newer_version_is_left_alone(whole, tmp_path, cli):
    results = copy_of(whole, tmp_path)
    path = folder_of(results) / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99, "invented_later": 1}))
    before = {p.name: p.read_bytes() for p in folder_of(results).iterdir()}
    with pytest.raises(NewerVersionError, match="newer"):
        run(results)
    with pytest.raises(NewerVersionError):
        execute(Request("toy/pair", "toy/join", 0, {}, results, "cpu"))
    done = cli("run", "toy/pair", "toy/join", "--device", "cpu", "--results", str(results))
    assert "newer" in done.stderr
    assert "Traceback" not in done.stderr
    cell = make_cell(
        request := Request("toy/pair", "toy/join", 0, {}, results, "cpu"),
        resolve(registry(), request.dataset, request.row, request.overrides),
    )
    assert ended(cell, now(), "crash", "it died", "").status == "failed"
    assert {p.name: p.read_bytes() for p in folder_of(results).iterdir()} == before


def test_a_process_that_dies_takes_no_scores_along(whole, tmp_path):
    results = copy_of(whole, tmp_path)
    kept = stored(results)
    request = Request("toy/pair", "toy/join", 0, {}, results, "cpu", robustness=True)
    cell = make_cell(request, resolve(registry(), request.dataset, request.row, request.overrides))
    row = ended(cell, now(), "timeout", "stopped after 1 s", "", ("toy/noise", "series"))
    assert row.status == "ok"
    after = stored(results)
    assert after["scores"] == kept["scores"]
    assert after["robustness"] == kept["robustness"]
    [failed] = after["robustness_failures"]
    assert (failed["corruption"], failed["modality"], failed["failure"]) == ("toy/noise", "series", "timeout")
    assert failed["plugin"] == "braid-toy 0.1"


# --- curves that fail -------------------------------------------------------------------------------------------------

FAULTY = """
    import ctypes
    import os
    import sys
    import time

    import torch

    import braidbench


    @braidbench.hookimpl
    def register_corruptions():
        yield braidbench.Corruption("faulty/broken", "faulty:broken", kinds=("tabular",))


    def broken(x, severity, generator):
        if severity > 0.25:
            fault = os.environ.get("FAULT")
            if fault == "raises":
                raise ValueError("no\\nway")
            if fault == "exits":
                sys.exit("enough")
            if fault == "memory":
                torch.empty(1 << 50)
            if fault == "crash":
                ctypes.string_at(0)
            if fault == "hangs":
                time.sleep(600)
        return x.clone()
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The scores and toy/noise's curves of the cell, where nothing is faulty."""
    results = tmp_path_factory.mktemp("reference")
    return run(results, robustness=True)


def leaves(error):
    raise SystemExit(str(error))


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        (lambda: int("no\nway"), "plugin", "ValueError: invalid literal for int() with base 10: 'no\\nway'"),
        (lambda: leaves("enough"), "plugin", "SystemExit: enough"),
        (lambda: torch.empty(1 << 50), "oom", "can't allocate memory"),
    ],
    ids=["raises", "exits", "memory"],
)
def test_a_corruption_that_raises_is_a_failed_curve_of_an_ok_cell(
    tmp_path, monkeypatch, reference, fault, kind, reason
):
    real = braid_toy.parts.noise

    def noise(x, severity, generator):
        if severity > 0.25 and x.ndim == 2:
            fault()
        return real(x, severity, generator)

    monkeypatch.setattr(braid_toy.parts, "noise", noise)
    noise.__module__ = "braid_toy.parts"
    result = run(tmp_path, robustness=True)
    assert result.status == "ok"
    assert result.scores == reference.scores
    [failed] = result.robustness_failures
    assert (failed.corruption, failed.modality, failed.failure) == ("toy/noise", "vector", kind)
    assert reason in failed.reason
    assert failed.plugin == "braid-toy 0.1"
    expected = [c for c in reference.robustness if (c.corruption, c.modality) != ("toy/noise", "vector")]
    assert result.robustness == expected
    assert stored(tmp_path)["robustness_failures"] == [failed.model_dump()]


def test_a_corruption_that_works_in_place_changes_no_other_curve(tmp_path, monkeypatch, reference):
    real = braid_toy.parts.noise

    def noise(x, severity, generator):
        return x.copy_(real(x, severity, generator))

    monkeypatch.setattr(braid_toy.parts, "noise", noise)
    noise.__module__ = "braid_toy.parts"
    assert run(tmp_path, robustness=True).robustness == reference.robustness


def test_a_metric_that_works_in_place_changes_no_other_score_and_no_prediction(tmp_path, monkeypatch, reference):
    real = braid_toy.parts.accuracy

    def accuracy(prediction, target):
        found = real(prediction, target)
        prediction *= 0
        target *= 0
        return found

    monkeypatch.setattr(braid_toy.parts, "accuracy", accuracy)
    accuracy.__module__ = "braid_toy.parts"
    result = run(tmp_path)
    assert result.scores == reference.scores
    assert result.files["predictions.parquet"] == reference.files["predictions.parquet"]


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [Odd, KeyboardInterrupt, GeneratorExit])
def test_a_component_that_raises_what_is_no_exception_is_a_row(tmp_path, monkeypatch, error):
    def fit(self, model, data, settings):
        raise error("its own")

    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    # As on the command line, where Ctrl-C raises something else.
    monkeypatch.setattr(interruption._state, "installed", True)
    result = run(tmp_path)
    assert (result.status, result.failure) == ("failed", "plugin")
    assert result.reason.startswith(f"{error.__name__}: its own")


def test_half_a_character_in_what_a_component_says_is_escaped(tmp_path, monkeypatch):
    def fit(self, model, data, settings):
        raise ValueError("half: \ud800")

    monkeypatch.setattr(braid_toy.parts.Fit, "fit", fit)
    result = run(tmp_path)
    assert result.reason.startswith("ValueError: half: \\ud800")
    assert stored(tmp_path)["log_tail"][-1] == "ValueError: half: \\ud800"


def test_what_is_called_like_a_checkpoint_and_is_none_stays(tmp_path):
    run(tmp_path)
    [folder] = tmp_path.glob("*seed0*")
    (folder / "result.json").unlink()
    for name in ("checkpoints.txt", "checkpoint.pt.md", "checkpoint-notes.md", "checkpoint.pt", "checkpoint-audio.pt"):
        (folder / name).touch()
    assert run(tmp_path).status == "ok"
    assert {path.name for path in folder.glob("checkpoint*")} == {
        "checkpoints.txt", "checkpoint.pt.md", "checkpoint-notes.md",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_default_device("meta"),
    ],
    ids=["legacy", "precision", "dtype", "grad", "device"],
)
def test_what_a_plugin_sets_for_the_process_reaches_no_other_cell(tmp_path, reference, change):
    with deterministically_restored():
        change()
        assert run(tmp_path).files["model.safetensors"] == reference.files["model.safetensors"]


@contextlib.contextmanager
def deterministically_restored():
    """Whatever the block sets of these is as it was afterwards."""
    with determinism._settings(1):
        try:
            yield
        finally:
            torch.set_default_device(None)


def test_the_result_of_another_cell_is_neither_taken_for_this_one_nor_lost(whole, tmp_path):
    other = run(tmp_path, seed=1)
    [folder] = tmp_path.glob("*seed1*")
    place = folder.with_name(next(whole.glob("*seed0*")).name)
    folder.rename(place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(StorageError, match=f"another cell .{other.cell[:12]}"):
        run(tmp_path)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_corruption_that_hangs_leaves_the_scores(cli, plugin, reference):
    _, environment = plugin("faulty", "1.0", faulty=FAULTY)
    command = ["run", "toy/pair", "toy/join", "--device", "cpu", "--robustness", "--json", "--timeout", "8"]
    done = cli(*command, **environment, FAULT="hangs")
    assert done.returncode == 1, (done.stdout, done.stderr)
    [row] = json.loads(done.stdout)
    assert (row["status"], row["scores"]) == ("ok", reference.scores)
    [failed] = row["robustness_failures"]
    assert (failed["corruption"], failed["modality"], failed["failure"]) == ("faulty/broken", "vector", "timeout")
    assert failed["reason"] == "stopped after 8 s; raise --timeout"


def own(row: dict) -> list[dict]:
    """The curves of what is installed for all tests."""
    return [c for c in row["robustness"] if c["corruption"] not in ("faulty/broken", "a/broken")]


def test_a_failed_curve_is_measured_by_the_same_command_and_stays_when_its_plugin_goes(
    cli, tmp_path, plugin, reference
):
    _, environment = plugin("faulty", "1.0", faulty=FAULTY)
    command = ("run", "toy/pair", "toy/join", "--device", "cpu", "--robustness", "--json")
    assert cli(*command, **environment, FAULT="raises").returncode == 1
    again = cli(*command, **environment)
    assert again.returncode == 0, again.stderr
    [row] = json.loads(again.stdout)
    assert row["robustness_failures"] == []
    assert own(row) == [c.model_dump() for c in reference.robustness]
    accuracy = next(c for c in row["robustness"] if (c["corruption"], c["metric"]) == ("faulty/broken", "toy/accuracy"))
    assert accuracy["scores"] == 11 * [reference.scores["toy/accuracy"]], "it changes nothing when it works"
    without = cli(*command)
    [kept] = json.loads(without.stdout)
    assert kept["cached"]
    assert kept["robustness"] == row["robustness"]


def test_curves_after_one_that_kills_the_process_are_measured_by_the_same_command(cli, tmp_path, plugin, reference):
    # "a/…" stands before toy/noise: the crash comes first.
    source = FAULTY.replace("faulty/broken", "a/broken")
    _, environment = plugin("faulty", "1.0", faulty=source)
    command = ["run", "toy/pair", "toy/join", "--device", "cpu", "--executor", "process", "--robustness", "--json"]
    for _ in range(2):
        done = cli(*command, **environment, FAULT="crash")
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert "robustness to a/broken of vector was not measured: crash" in done.stderr
        [row] = json.loads(done.stdout)
        assert (row["status"], row["scores"]) == ("ok", reference.scores)
        [failed] = row["robustness_failures"]
        assert (failed["corruption"], failed["failure"], failed["plugin"]) == ("a/broken", "crash", "faulty 1.0")
        assert "SIGSEGV" in failed["reason"]
    assert own(row) == [c.model_dump() for c in reference.robustness]
    assert Store(tmp_path / "results").all().results[0][1].status == "ok"
