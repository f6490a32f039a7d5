"""What models learned: hand-made predictors on exact data, and real cells through the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from braidbench.data import Column, Split
from braidbench.errors import DataError
from braidbench.results import Result
from braidbench.specs import Modality, Task
from braidbench.store import Store
from braidbench.trained import load_trained, without
from braidbench_interactions.evidence import Options
from braidbench_interactions.figures import relation_panels
from braidbench_interactions.models import Learned, _drawn, _terms, correlate, families, relations
from braidbench_interactions.reading import Table, _label

OPTIONS = Options("posterior", bootstrap=0, permutations=0)


def _bits(rows=4000, seed=0):
    """Two fair bits with a little noise, as a table whose label is their XOR."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (rows, 2))
    seen = bits + rng.uniform(-0.2, 0.2, bits.shape)
    task = Task("y", "classification", ("accuracy",), classes=("0", "1"))
    decide, choose, said = _label(task, np.zeros(1), 2, None)
    features = {"a": seen[:, :1], "b": seen[:, 1:]}
    return bits, Table(features, bits[:, 0] ^ bits[:, 1], np.arange(rows) % 3, said, decide, choose)


@pytest.mark.parametrize(
    ("predict", "dominant"),
    [
        (lambda a, b: a, 1),
        (lambda a, b: b, 2),
        (lambda a, b: a ^ b, 3),
    ],
)
def test_a_predictor_that_reads_one_bit_learned_one_bit_of_that_kind(predict, dominant):
    bits, table = _bits()
    terms = _terms(table, predict(bits[:, 0], bits[:, 1]), OPTIONS)
    expected = np.zeros(4)
    expected[dominant] = 1.0
    np.testing.assert_allclose(terms, expected, atol=0.03)


def test_a_constant_predictor_learned_nothing():
    _, table = _bits()
    assert _terms(table, np.ones(4000, dtype=np.int64), OPTIONS).tolist() == [0, 0, 0, 0]
    rare = np.ones(4000, dtype=np.int64)
    rare[np.flatnonzero(table.split == 2)[:3]] = 0
    assert _terms(table, rare, OPTIONS).tolist() == [0, 0, 0, 0], "a label that no training row has cannot be learned"


def test_labels_are_drawn_as_often_as_the_model_believes_in_them():
    given = np.tile([[0.2, 0.5, 0.3]], (20_000, 1))
    shares = np.bincount(_drawn(given, "classification", 0), minlength=3) / 20_000
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.015)
    assert set(_drawn(np.array([[0.0, 1.0], [1.0, 0.0]]), "classification", 0)) == {0, 1}
    with pytest.raises(Exception, match="classes"):
        _drawn(given, "regression", 0)


def test_predictions_become_labels_as_targets_do():
    regression = Task("r", "regression", ("mse",))
    decide, choose, _ = _label(regression, np.array([0.0, 1.0, 2.0, 3.0]), 2, None)
    assert decide(np.array([1.0, 2.0])).tolist() == choose(np.array([[1.0], [2.0]])).tolist() == [0, 1]
    several = Task("m", "multilabel", ("macro-f1",), classes=("x", "y"))
    decide, choose, said = _label(several, np.array([[1, 0], [1, 1]]), 2, None)
    assert said == "m: y"
    assert choose(np.array([[0.9, 0.2], [0.1, 0.8]])).tolist() == [0, 1]


def test_a_missing_modality_is_the_training_mean_step_by_step():
    lengths = torch.tensor([2, 3])
    series = torch.tensor([[[1.0], [2.0], [0.0]], [[3.0], [6.0], [9.0]]])
    modality = Modality("s", "time_series", (1,), length=3)
    split = Split({"s": Column.of(series, lengths)}, torch.zeros(2), (modality,))
    found = without(split, "s", split).columns["s"].all()
    assert found.squeeze(2).tolist() == [[2.0, 4.0, 0.0], [2.0, 4.0, 9.0]]
    flat = Split({"s": Column.of(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))}, torch.zeros(2), ())
    assert without(flat, "s", flat).columns["s"].all().tolist() == [[2.0, 4.0]] * 2


def _learned(dataset, method, score, needed, terms, drops=(0.0, 0.0)):
    return Learned(dataset, method, 0, "accuracy", score, needed, terms, drops)


def test_the_table_of_families_by_hand():
    models = [
        _learned("d", "m", 0.8, (0.5, 0, 0, 0), (0.4, 0.1, 0.2, 0.0)),
        _learned("e", "m", 0.6, (0, 0, 0, 0.5), (0.2, 0.0, 0.0, 0.6)),
        _learned("e", "n", 0.5, (0, 0, 0, 0.5), (0.1, 0.0, 0.0, 0.0)),
    ]
    first, second = families(models)
    assert first.terms == pytest.approx({"R": 0.3, "U": 0.15, "S": 0.3})
    assert first.scores == {"R": 0.8, "S": 0.6}
    assert second.scores == {"S": 0.5}


def test_correlations_against_numpy():
    rng = np.random.default_rng(0)
    models = []
    for dataset in ("d", "e"):
        for method in "klmn":
            terms = tuple(rng.random(4))
            models.append(
                _learned(dataset, method, float(rng.random()), (0.1, 0.2, 0.3, 0.4), terms, tuple(rng.random(2)))
            )
    related = relations(models)
    found = {c.what: c for c in map(correlate, related)}
    alphas = [np.dot([0.1, 0.2, 0.3, 0.4], m.terms) for m in models]
    scores = [m.score for m in models]
    assert found["α, accuracy"].value == pytest.approx(np.corrcoef(alphas, scores)[0, 1])
    inside = [np.array(v).reshape(2, 4) for v in (alphas, scores)]
    x, y = ((v - v.mean(1, keepdims=True)).ravel() for v in inside)
    assert found["α, accuracy, within datasets"].value == pytest.approx(np.corrcoef(x, y)[0, 1])
    unique = [m.terms[i] for m in models for i in (1, 2)]
    drops = [d for m in models for d in m.drops]
    assert found["U_i, loss without modality i"].value == pytest.approx(np.corrcoef(unique, drops)[0, 1])
    assert found["U_i, loss without modality i"].points == 16
    alone = _learned("d", "unimodal[first]", 0.1, (0.1, 0.2, 0.3, 0.4), (1, 0, 0, 0), (0, 0))
    assert relations([*models, alone])[2].xs == pytest.approx(related[2].xs), "of both modalities only"
    assert len(relations([*models, alone])[1].xs) == 9
    little = relation_panels([r for r in related if r.x == "S"])
    assert [panel.title for panel in relation_panels(related[:3])] == [
        f"ρ = {found[name].value:.2f} over {found[name].points}" for name in list(found)[:3]
    ]
    # No U_i here is as little as that, so nothing is said of S and nothing is drawn.
    assert (found["S, loss without modality i, where U_i ≤ 0.05"].points < 4) == (little == [])


# --- real cells -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    from braidbench import run

    folder = tmp_path_factory.mktemp("learned")
    for method in ("late-fusion", "unimodal[static]"):
        done = run("cohort", method, overrides={}, results=folder, device="cpu")
        assert done.status == "ok", done.reason
    return folder


def test_a_trained_model_gives_the_stored_predictions_again(results):
    import pyarrow.parquet as pq

    for folder, result in Store(results).all().results:
        trained = load_trained(folder, result)
        prediction, target = trained.predict(trained.split("test"))
        stored = pq.read_table(folder / "predictions.parquet")
        np.testing.assert_allclose(prediction, np.array(stored["prediction"].to_pylist()), rtol=1e-6)
        assert target.tolist() == stored["target"].to_pylist()


def test_agreement_through_the_command_line(results, cli):
    done = cli("agreement", "cohort", "--results", str(results), "--attributions", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    late, static = found["models"]
    assert (late["method"], static["method"]) == ("late-fusion", "unimodal[static]")
    assert static["drops"][1] == 0.0, "it does not read the laboratory values"
    assert static["drops"][0] == pytest.approx(static["score"] - 0.5, abs=0.02), "without its input it knows nothing"
    assert static["terms"][2] < 0.02
    assert static["shapley"] is None, "it has one modality"
    assert late["shapley"]["first"] > late["shapley"]["second"] > late["shapley"]["interaction"] > 0
    assert late["gradients"]["first"] > late["gradients"]["second"] > 0
    assert late["drops"][0] > late["drops"][1] > 0
    needed = np.array(late["needed"])
    assert late["agreement"] == pytest.approx(float(needed / needed.sum() @ late["terms"]))


def test_the_tables_are_printed(capsys):
    from braidbench_interactions.attributions import Attribution
    from braidbench_interactions.cli_models import _print

    models = [_learned("d", "m", 0.8, (0.5, 0, 0, 0), (0.4, 0.1, 0.2, 0.0), (0.25, 0.125))]
    models += [replace(models[0], method="n", shapley=Attribution(1, 2, 3, 9), gradients=Attribution(4, 5, 6, 9))]
    _print(models, families(models), [correlate(r) for r in relations(models)])
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert ["m", "0.400", "0.100", "0.200", "0.000", "0.400", "0.8000", "0.2500", "0.1250"] in lines
    assert ["d", "n", "1.000", "2.000", "3.000", "4.000", "5.000", "6.000"] in lines
    assert ["m", "0.400", "0.300", "0.000", "0.8000"] in lines


def test_what_cannot_be_served_is_said(results, cli, tmp_path):
    done = cli("agreement", "digits", "--results", str(results))
    assert (done.returncode, "no result on digits" in done.stderr) == (3, True), done.stderr
    done = cli("agreement", "--results", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    done = cli("agreement", "cohort", "--results", str(results), "--jobs", "0")
    assert done.returncode == 2


def test_weights_of_another_model_are_refused(results):
    folder, result = Store(results).all().results[0]
    changed = {**result.identity, "method": {"name": "late-fusion", "version": 99}}
    other = Result.model_validate({**result.model_dump(), "identity": changed, "cell": "0" * 64})
    with pytest.raises(DataError, match="made by something else"):
        load_trained(folder, other)
    with pytest.raises(DataError, match="not the file"):
        load_trained(folder, Result.model_validate({**result.model_dump(), "files": {"model.safetensors": "0" * 64}}))
    with pytest.raises(DataError, match="no trained model"):
        load_trained(folder.parent, result)
