"""Identity, seeds, determinism, failure rows, robustness on a trained cell."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import braidbench
from braidbench.cell import Request, differences, make_cell, seeds
from braidbench.errors import UsageError
from braidbench.execution import execute
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.results import parse
from braidbench.store import Store


def cell(results, row="toy/join", seed=0, overrides=None, **options):
    request = Request("toy/pair", row, seed, overrides or {}, results, "cpu", **options)
    return make_cell(request, resolve(registry(), request.dataset, request.row, request.overrides))


def predictions(folder):
    return np.array(pq.read_table(folder / "predictions.parquet")["prediction"].to_pylist(), np.float32)


def test_seeds_are_one_an_axis_and_do_not_depend_on_each_other():
    first = seeds(3)
    assert set(first) == {"data", "init", "order", "corruption"}
    assert len(set(first.values())) == 4
    expected = int.from_bytes(hashlib.sha256(b"order:3").digest()[:8], "big") >> 1
    assert first["order"] == expected, "the derivation is part of the protocol and must never move"
    assert not set(first.values()) & set(seeds(4).values())


def test_identity_ignores_how_and_where_and_in_what_order(tmp_path):
    one = cell(tmp_path / "a", overrides={"fusion.width": 4, "head.hidden": 8})
    other = cell(tmp_path / "b", overrides={"head.hidden": 8, "fusion.width": 4}, threads=2, robustness=True, timeout=9)
    assert one.id == other.id
    assert len(one.id) == 64


def test_identity_is_the_hash_of_canonical_json(tmp_path):
    found = cell(tmp_path)
    text = json.dumps(found.identity, sort_keys=True, separators=(",", ":"))
    assert found.id == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"seed": 1}, "seed"),
        ({"overrides": {"fusion.width": 9}}, "fusion.parameters.width"),
        ({"overrides": {"training.lr": 0.5}}, "training.lr"),
        ({"overrides": {"encoder.series.dropout": 0.0}}, "encoders.series.parameters.dropout"),
        ({"row": "toy/each[series]"}, "modalities"),
    ],
)
def test_identity_follows_what_decides_the_result_and_says_which_part(tmp_path, changed, place):
    before, after = cell(tmp_path), cell(tmp_path, **changed)
    assert before.id != after.id
    assert any(line.startswith(place) for line in differences(before.identity, after.identity))


def test_identity_follows_the_code_of_its_parts(tmp_path, monkeypatch):
    from braidbench import recipe

    before = cell(tmp_path)
    real = recipe.source_hash
    monkeypatch.setattr(recipe, "source_hash", lambda target: "0" * 16 if target.endswith("Join") else real(target))
    after = cell(tmp_path)
    assert [line.partition(":")[0] for line in differences(before.identity, after.identity)] == ["fusion.source"]


def test_a_result_holds_everything_that_is_promised(tmp_path):
    result = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu")
    assert result.status == "ok"
    folder = tmp_path / next(p.name for p in tmp_path.iterdir() if p.name.startswith("toy"))
    assert str(folder) == result.path
    assert {p.name for p in folder.iterdir()} == {
        "result.json", "predictions.parquet", "history.json", "model.safetensors", "log.txt",
    }  # fmt: skip
    for name, digest in result.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert result.directions == {"toy/accuracy": "higher", "toy/error": "lower"}
    assert result.in_domain
    assert result.environment.packages["torch"] == importlib.metadata.version("torch")
    assert result.environment.plugins["toy"] == "braid-toy 0.1"
    assert result.command == "braidbench run toy/pair toy/join --seed 0"
    assert parse((folder / "result.json").read_bytes(), "x").cell == result.cell
    table = pq.read_table(folder / "predictions.parquet")
    assert table["index"].to_pylist() == list(range(80))
    hits = predictions(folder).argmax(1) == np.array(table["target"].to_pylist())
    assert hits.mean() == pytest.approx(result.scores["toy/accuracy"]), "scores follow from the stored predictions"
    again = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu")
    assert again.cached
    assert again.scores == result.scores


def test_parameters_and_flops_of_a_hand_counted_model(tmp_path):
    """vector 8→8, series 3→8 at 12 steps, join 16→8, head 8→64→2: weights and biases, then two per multiply-add."""
    result = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu")
    parameters = (8 * 8 + 8) + (3 * 8 + 8) + (16 * 8 + 8) + (8 * 64 + 64) + (64 * 2 + 2)
    assert result.cost.parameters_total == result.cost.parameters_trained == parameters
    assert result.cost.flops_per_sample == 2 * (8 * 8 + 12 * 3 * 8 + 16 * 8 + 8 * 64 + 64 * 2)


def test_same_cell_same_bits_and_another_seed_other_bits(tmp_path):
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        done = braidbench.run("toy/pair", "toy/join", seed=seed, results=tmp_path / name, device="cpu")
        runs[name] = predictions(tmp_path / name / done.path.rpartition("/")[2])
    assert np.array_equal(runs["a"], runs["b"])
    assert not np.array_equal(runs["a"], runs["c"])


def test_a_method_does_not_reshuffle_anothers_data(tmp_path):
    """The order of the training samples is the seed's, whatever the model draws before and between."""
    from braidbench.data import open_split
    from braidbench.preparation import prepare

    spec = registry().find("datasets", "toy/pair").spec
    split = open_split(prepare(spec), "train", spec.tasks[0])

    def order():
        return torch.cat([batch.index for batch in split.shuffled(32, seeds(0)["order"], epoch=2)])

    first = order()
    torch.rand(1000)
    assert torch.equal(order(), first)
    assert sorted(first.tolist()) == list(range(240))
    other = torch.cat([batch.index for batch in split.shuffled(32, seeds(0)["order"], epoch=3)])
    assert not torch.equal(other, first)


def test_processes_share_every_batch_without_overlap():
    from braidbench.data import open_split
    from braidbench.preparation import prepare

    spec = registry().find("datasets", "toy/pair").spec
    split = open_split(prepare(spec), "train", spec.tasks[0])
    whole = [batch.index for batch in split.shuffled(32, 5, 0)]
    shares = [[batch.index for batch in split.shuffled(32, 5, 0, rank, 2)] for rank in (0, 1)]
    for all_of_it, one, other in zip(whole, *shares, strict=True):
        assert sorted(torch.cat([one, other]).tolist()) == sorted(all_of_it.tolist())
        assert len(one) == len(other)


def test_padding_changes_no_prediction(tmp_path):
    from braidbench.assembly import build
    from braidbench.data import open_split

    found = cell(tmp_path)
    model, _ = build(found.recipe)
    model.eval()
    split = open_split(found.prepared, "test", found.recipe.task)
    together = model(*_inputs(split.batch(torch.arange(80)))).prediction
    for row in (0, 17, 79):
        alone = model(*_inputs(split.batch(torch.tensor([row])))).prediction
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def _inputs(batch):
    return batch.inputs, batch.lengths


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        ("toy/raises", "plugin", "ValueError: the fusion has a bug"),
        ("toy/nan", "nan", "the training loss is nan in epoch 1"),
        ("toy/memory", "oom", "can't allocate memory"),
    ],
)
def test_a_failure_is_a_row_with_the_end_of_its_log(tmp_path, row, kind, reason):
    result = execute(Request("toy/pair", row, 0, {}, tmp_path, "cpu"))
    assert (result.status, result.failure) == ("failed", kind)
    assert reason in result.reason
    assert "Traceback" in result.log_tail[0] or len(result.log_tail) == 20
    assert result.scores == {}
    stored = Store(tmp_path).all().results[0][1]
    assert stored.failure == kind


def test_a_failed_cell_runs_again(tmp_path, monkeypatch):
    import braid_toy.faults

    request = Request("toy/pair", "toy/raises", 0, {}, tmp_path, "cpu")
    assert execute(request).status == "failed"
    monkeypatch.setattr(braid_toy.faults.Raises, "fault", lambda self: None)
    assert execute(request).status == "ok"


def test_robustness_is_added_to_a_trained_cell_without_training(tmp_path):
    plain = braidbench.run("toy/pair", "toy/join", results=tmp_path / "a", device="cpu")
    later = braidbench.run("toy/pair", "toy/join", results=tmp_path / "a", device="cpu", robustness=True)
    at_once = braidbench.run("toy/pair", "toy/join", results=tmp_path / "b", device="cpu", robustness=True)
    assert later.finished == plain.finished
    assert later.robustness == at_once.robustness
    curve = next(c for c in later.robustness if (c.corruption, c.metric) == ("toy/noise", "toy/accuracy"))
    assert curve.scores[0] == plain.scores["toy/accuracy"]
    assert curve.severities == [step / 10 for step in range(11)]
    area = sum((a + b) / 2 * 0.1 for a, b in zip(curve.scores, curve.scores[1:], strict=False))
    assert curve.relative == pytest.approx(area)
    error = next(c for c in later.robustness if (c.corruption, c.metric) == ("toy/noise", "toy/error"))
    assert error.relative < 0, "lower is better, so the area counts against"
    assert error.scores[-1] > error.scores[0]


def test_weights_that_do_not_belong_are_not_used(tmp_path):
    result = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu")
    path = tmp_path / result.path.rpartition("/")[2] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    again = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu", robustness=True)
    assert again.files == result.files, "trained again, to the same bits"
    assert again.robustness[0].scores[0] == result.scores["toy/accuracy"]


def test_regression_runs_and_selects_on_the_lower_error(tmp_path):
    result = braidbench.run(
        "toy/pair/level", "toy/join", results=tmp_path, device="cpu", overrides={"training.epochs": 25}
    )
    history = json.loads((tmp_path / result.path.rpartition("/")[2] / "history.json").read_text())
    scores = [epoch["valid"] for epoch in history["epochs"]]
    assert history["best"] == scores.index(min(scores))
    assert result.scores["toy/error"] < 0.5, "the variance of the target is 1"


def test_the_library_refuses_what_it_cannot_mean(tmp_path):
    with pytest.raises(UsageError, match="one row a modality"):
        braidbench.run("toy/pair", "toy/each", results=tmp_path)
    with pytest.raises(UsageError, match="no kind 'fusoin'"):
        braidbench.load("fusoin", "toy/join")
    with pytest.raises(UsageError, match="a seed is between"):
        braidbench.run("toy/pair", "toy/join", seed=-1, results=tmp_path)
    assert braidbench.load("fusion", "toy/join").__name__ == "Join"


def test_a_result_is_frozen_and_its_schema_strict(tmp_path):
    result = braidbench.run("toy/pair", "toy/join", results=tmp_path, device="cpu")
    content = json.loads((tmp_path / result.path.rpartition("/")[2] / "result.json").read_text())
    from braidbench.errors import DataError

    for change in ({"surprise": 1}, {"cell": "x"}, {"schema_version": 0}, {"status": "fine"}):
        with pytest.raises(DataError, match=next(iter(change))):
            parse(json.dumps({**content, **change}), "somewhere")
    with pytest.raises(DataError, match="somewhere"):
        parse("{", "somewhere")
    assert dataclasses.is_dataclass(Request)
