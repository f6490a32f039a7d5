"""Methods that are more than parts: a model, preprocessing, an objective with modules of its own, phases, reasons.

A stranger's plugin declares one of each; everything runs through the real command line.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from braidbench.data import open_split
from braidbench.errors import DataError, PluginError
from braidbench.preparation import prepare
from braidbench.specs import Dataset, Modality, Task

HOOKS = """
    import braidbench
    from braidbench import Modality, Part, Task

    LINEAR = Part("mlp", hidden=(), out_dim=8)

    @braidbench.hookimpl
    def register_datasets():
        yield braidbench.Dataset(
            "woven/timed", "woven_parts:load", summary="words and frames with times",
            modalities=(
                Modality("words", "text", (2,), length=6, times=True),
                Modality("frames", "video", (3,), length=24, times=True),
            ),
            tasks=(Task("label", "classification", ("accuracy",), classes=("no", "yes")),),
            splits={"train": 96, "valid": 32, "test": 32}, area="simulation", licence="CC0-1.0", citation="drawn",
            recipe="drawn at random", training=braidbench.Training(epochs=4, batch_size=16, lr=0.01),
        )

    @braidbench.hookimpl
    def register_preprocessings():
        yield braidbench.Preprocessing("woven/thin", "woven_parts:Thin", summary="every n-th step")

    @braidbench.hookimpl
    def register_fusions():
        yield braidbench.Fusion("woven/equal", "woven_parts:Equal", takes="sequences", summary="needs equal lengths")

    @braidbench.hookimpl
    def register_objectives():
        yield braidbench.Objective(
            "woven/rebuild", "woven_parts:Rebuild", summary="the loss, and the input again", tasks=("classification",)
        )

    @braidbench.hookimpl
    def register_procedures():
        yield braidbench.Procedure("woven/twice", "woven_parts:Twice", summary="trains in two phases")

    @braidbench.hookimpl
    def register_methods():
        yield braidbench.Method(
            "woven/whole", "woven_parts:Scaled", summary="all at once", objective="woven/rebuild",
            procedure="woven/twice", preprocessing="woven/thin", model={"scale": 0.5}, encoders={"*": "gru"},
        )
        yield braidbench.Method("woven/equal", summary="equal lengths", fusion="woven/equal", encoders={"*": "gru"})
    """

PARTS = """
    import time
    from dataclasses import replace

    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    from braidbench.data import Column, Split
    from braidbench.model import MultimodalModel
    from braidbench.training import train

    def load(files):
        rng = np.random.default_rng(3)
        splits = {}
        for name, rows in (("train", 96), ("valid", 32), ("test", 32)):
            label = np.arange(rows) % 2
            words = [rng.normal(size=(rng.integers(1, 7), 2)) + y for y in label]
            frames = [rng.normal(size=(4 * len(word), 3)) for word in words]
            splits[name] = {
                "words": words, "frames": frames, "label": label,
                "words:times": [np.stack([np.arange(len(w)), np.arange(len(w)) + 1.0], 1) for w in words],
                "frames:times": [np.stack([np.arange(len(f)) / 4, np.arange(len(f)) / 4 + 0.25], 1) for f in frames],
            }
        return splits

    class Thin:
        def __init__(self, step: int = 2):
            self.step = step

        @staticmethod
        def skip(modalities, task):
            return None if any(m.is_sequence for m in modalities) else "it needs a sequence"

        def modalities(self, modalities):
            return tuple(replace(m, length=-(-m.length // self.step)) if m.is_sequence else m for m in modalities)

        def __call__(self, split):
            columns = {}
            for name, column in split.columns.items():
                if column.lengths is None:
                    columns[name] = column
                else:
                    columns[name] = Column.of(column.all()[:, :: self.step], -(-column.lengths // self.step))
            return Split(columns, split.target, self.modalities(split.modalities), split.times)

    class Scaled(MultimodalModel):
        def __init__(self, encoders, fusion, head, task, takes, scale: float = 1.0):
            super().__init__(encoders, fusion, head, task, takes)
            self.scale = scale

        def forward(self, inputs, lengths):
            output = super().forward(inputs, lengths)
            return replace(output, prediction=self.scale * output.prediction)

    class Rebuild(nn.Module):
        def bind(self, model, modalities, task):
            self.first = modalities[0]
            self.decoder = nn.Linear(model.fusion.out_dim, self.first.shape[0])

        def forward(self, output, batch, model):
            x, n = batch.inputs[self.first.name], batch.lengths[self.first.name]
            mean = x.sum(1) / n.clamp(min=1)[:, None]
            return {
                "task": functional.cross_entropy(output.prediction, batch.target),
                "rebuild": 0.1 * functional.mse_loss(self.decoder(output.fused), mean),
            }

    class Twice:
        def __init__(self, pause: float = 0.0):
            self.pause = pause

        def fit(self, model, data, settings):
            def progress(epoch, epochs, score):
                time.sleep(self.pause)
            first = replace(settings.training, epochs=2)
            train(model, data, settings.phase("first", training=first, progress=progress))
            train(model, data, settings.phase("second", progress=progress))
            return model

    class Equal(nn.Module):
        def __init__(self, in_dims):
            super().__init__()
            self.out_dim = sum(in_dims)

        @staticmethod
        def skip(modalities, task):
            if len({m.length for m in modalities}) > 1:
                return "it needs sequences of equal length"

        def forward(self, values, lengths):
            keep = [
                v if n is None else v * (torch.arange(v.shape[1], device=v.device) < n[:, None])[..., None]
                for v, n in zip(values, lengths)
            ]
            return torch.cat([v.sum(1) for v in keep], 1)
    """

RUN = ("run", "woven/timed", "woven/whole", "--device", "cpu")


@pytest.fixture
def env(plugin) -> dict[str, str]:
    return plugin("woven", "1.0", woven=HOOKS, woven_parts=PARTS)[1]


def predictions(folder: Path) -> np.ndarray:
    [path] = folder.glob("*/predictions.parquet")
    return np.array(pq.read_table(path)["prediction"].to_pylist(), np.float32)


def test_a_method_of_all_of_them_runs_is_stored_and_measured(cli, env, tmp_path):
    done = cli(*RUN, "--robustness", "--json", **env)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["status"] == "ok"
    assert row["scores"]["accuracy"] > 0.7
    folder = tmp_path / row["path"]
    weights = load_file(folder / "model.safetensors")
    assert weights["objective.decoder.weight"].shape == (2, 128), "what the objective made is stored"
    assert row["cost"]["parameters_total"] == sum(value.size for value in weights.values())
    history = json.loads((folder / "history.json").read_text())
    assert len(history["epochs"]) == row["cost"]["epochs"] == 2 + 4, "both phases count"
    assert not list(folder.glob("checkpoint*"))
    assert row["identity"]["model"]["parameters"] == {"scale": 0.5}
    assert row["identity"]["preprocessing"]["name"] == "woven/thin"
    assert {curve["scores"][0] for curve in row["robustness"]} == {row["scores"]["accuracy"]}
    again = cli(*RUN, "--robustness", "--json", **env)
    assert json.loads(again.stdout)[0]["cached"]
    # The curves again, on the stored weights: the newly built model has the decoder too.
    stored = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**stored, "robustness": []}))
    once_more = json.loads(cli(*RUN, "--robustness", "--json", **env).stdout)[0]
    assert once_more["robustness"] == row["robustness"]


def test_their_parameters_are_checked_and_change_the_cell(cli, env):
    base = json.loads(cli("plan", *RUN[1:], "--json", **env).stdout)[0]["cell"]
    for setting in ("model.scale=2.0", "preprocessing.step=3", "procedure.pause=0.001"):
        other = json.loads(cli("plan", *RUN[1:], "--set", setting, "--json", **env).stdout)[0]["cell"]
        assert other != base, setting
    for setting, part in (
        ("model.scal=2", "Did you mean 'scale'?"),
        ("preprocessing.step=often", "step: int = 2"),
    ):
        done = cli(*RUN, "--set", setting, **env)
        assert done.returncode == 2
        assert part in done.stderr
    done = cli("run", "toy/pair", "toy/join", "--set", "preprocessing.step=2", **env)
    assert done.returncode == 2
    assert "has no preprocessing" in done.stderr
    done = cli("run", "toy/pair", "toy/join", "--set", "model.scale=2", **env)
    assert done.returncode == 2
    assert "has no parameter 'scale'" in done.stderr


def test_a_component_says_why_it_cannot_serve(cli, env, tmp_path):
    done = cli("run", "woven/timed", "woven/equal", **env)
    assert done.returncode == 2
    assert "fusion 'woven/equal': it needs sequences of equal length" in done.stderr
    (tmp_path / "study.toml").write_text(
        """
        [[run]]
        datasets = ["woven/timed"]
        methods = ["woven/equal", "woven/whole"]
        epochs = 1
        """
    )
    done = cli("run", "study.toml", "--json", **env)
    assert done.returncode == 0, done.stderr
    skipped, ran = json.loads(done.stdout)
    assert (skipped["status"], ran["status"]) == ("skipped", "ok")
    assert "it needs sequences of equal length" in skipped["reason"]


def test_kill_9_in_the_second_phase_then_the_same_bits(cli, env, tmp_path):
    slow = (*RUN, "--set", "procedure.pause=0.4")
    assert cli(*slow, "--results", "whole", **env).returncode == 0
    run = cli.start(*slow, "--results", "killed", **env)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("killed/*/checkpoint-second.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert not list(tmp_path.glob("killed/*/result.json"))
    again = cli(*slow, "--results", "killed", **env)
    assert again.returncode == 0, again.stderr
    [history] = tmp_path.glob("killed/*/history.json")
    assert json.loads(history.read_text())["resumed_at"] > 2, "it did not go on in the second phase"
    assert np.array_equal(predictions(tmp_path / "whole"), predictions(tmp_path / "killed"))
    assert not list(tmp_path.glob("killed/*/checkpoint*"))


def test_they_pass_the_kit(cli, env):
    done = cli("check", "preprocessing:woven/thin", "method:woven/whole", "dataset:woven/timed", **env)
    assert done.returncode == 0, done.stdout
    assert "3 components: ran 19 checks, 0 failed" in done.stdout


@pytest.mark.parametrize(
    ("change", "wrong", "check"),
    [
        ("split.target, self", "split.target.flip(0), self", "gives_what_it_declares"),
        ("[:, :: self.step]", "[:, :: self.step, :1]", "gives_what_it_declares"),
        ("columns = {}", "columns = {}; [c.all().zero_() for c in split.columns.values()]", "input_is_not_modified"),
        (".all()[:, :: self.step]", ".all()[:, :: self.step] + torch.rand(1)", "same_input_same_output"),
    ],
)
def test_the_kit_finds_what_is_wrong_with_a_preprocessing(cli, plugin, change, wrong, check):
    assert change in PARTS
    _, env = plugin("woven", "1.0", woven=HOOKS, woven_parts=PARTS.replace(change, wrong))
    done = cli("check", "preprocessing:woven/thin", **env)
    assert done.returncode == 1
    assert f"failed   {check}" in done.stdout or f"FAILED   {check}" in done.stdout, done.stdout


# --- times ------------------------------------------------------------------------------------------------------------


def timed(change=lambda splits: None) -> Dataset:
    """A dataset of two steps a row, one a second, whose loader is this module's."""
    global made
    made = {
        name: {
            "x": [rng.normal(size=(2, 1)) for _ in range(3)],
            "x:times": [np.array([[0.0, 1.0], [1.0, 2.0]]) for _ in range(3)],
            "y": np.array([0, 1, 0]),
        }
        for name, rng in ((name, np.random.default_rng(place)) for place, name in enumerate(("train", "valid", "test")))
    }
    change(made)
    return Dataset(
        "timed", "woven_loader:load", modalities=(Modality("x", "text", (1,), length=2, times=True),),
        tasks=(Task("y", "classification", ("accuracy",), classes=("a", "b")),),
    )  # fmt: skip


@pytest.fixture
def loader(tmp_path, monkeypatch) -> None:
    (tmp_path / "woven_loader.py").write_text("splits = {}\n\n\ndef load(files):\n    return splits\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path / "data"))


def test_times_arrive_beside_the_steps(loader):
    import woven_loader

    spec = timed(lambda splits: splits["test"]["x"].__setitem__(1, np.ones((1, 1))))
    made["test"]["x:times"][1] = np.array([[0.5, 0.75]])
    woven_loader.splits = made
    split = open_split(prepare(spec), "test", spec.tasks[0])
    assert split.times["x"].shape == (3, 2, 2)
    assert split.times["x"][1].tolist() == [[0.5, 0.75], [0.0, 0.0]]
    assert split.times["x"][0].tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert split.only(("x",)).times["x"].shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda splits: splits["train"].pop("x:times"), "column 'x:times' is missing"),
        (
            lambda splits: splits["valid"]["x:times"].__setitem__(2, np.zeros((1, 2))),
            "row 2: shape (1, 2) where (2, 2)",
        ),
        (lambda splits: splits["test"]["x:times"].__setitem__(0, np.array([[0, 1], [3, 2]])), "ends before it starts"),
        (lambda splits: splits["test"]["x:times"].__setitem__(0, np.full((2, 2), np.nan)), "does not end"),
    ],
)
def test_wrong_times_are_refused(loader, change, part):
    import woven_loader

    spec = timed(change)
    woven_loader.splits = made
    with pytest.raises(DataError) as caught:
        prepare(spec)
    assert part in str(caught.value)


def test_times_are_for_sequences():
    with pytest.raises(PluginError, match="is for a sequence"):
        Modality("x", "text", (1,), times=True)
