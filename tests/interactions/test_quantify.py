"""From a dataset of the harness to a table, a chart and advice."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from braidbench import measurements
from braidbench.data import Column
from braidbench.errors import UsageError
from braidbench.specs import Task
from braidbench_interactions import truth
from braidbench_interactions.advise import advice, check, neighbours, recorded_scores, shares
from braidbench_interactions.chart import COLOURS, stacked_bars
from braidbench_interactions.cli import advise, quantify
from braidbench_interactions.estimation import Estimate, Term
from braidbench_interactions.generators import LATENTS, TEN
from braidbench_interactions.pictures import check_picture
from braidbench_interactions.reading import SEGMENTS, _label, flatten


def _estimate(values, spread=0.05):
    terms = [Term(v, max(v - spread, 0.0), v + spread, v, 0.0) for v in values]
    return Estimate(*terms, estimator="cvx", base=2, confidence=0.95, gap=0.0, rows=9, cells=8, classes=2,
                    label_entropy=1.0)  # fmt: skip


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_sequence_becomes_moments_of_equal_parts_whatever_its_length():
    values = torch.zeros(3, 16, 1)
    values[0, :, 0] = torch.arange(16)
    values[1, :8, 0] = torch.arange(8)
    values[2, :3, 0] = torch.tensor([5.0, 6.0, 7.0])
    flat = flatten(Column.of(values, torch.tensor([16, 8, 3])))
    assert flat.shape == (3, 2 * SEGMENTS)
    assert flat[0] == pytest.approx(np.concatenate([np.arange(8) * 2 + 0.5, np.full(8, 0.5)]))
    assert flat[1] == pytest.approx(np.concatenate([np.arange(8), np.zeros(8)]))
    # Three steps are repeated; the zeros behind the end are no part of it.
    assert set(flat[2, :SEGMENTS]) == {5.0, 6.0, 7.0}


def test_an_image_becomes_its_pixels():
    assert flatten(Column.of(torch.arange(24.0).reshape(2, 1, 3, 4))).tolist()[1] == list(range(12, 24))


def test_labels_of_every_kind_of_task():
    train = np.array([True] * 6 + [False] * 2)
    regression = Task("height", "regression", ("mae",))
    heights = np.array([[1.0], [2], [3], [4], [5], [6], [0], [9]])
    decide, choose, said = _label(regression, heights[train], 3, None)
    assert choose(heights).tolist() == decide(heights).tolist()
    assert decide(heights).tolist() == [0, 0, 1, 1, 2, 2, 0, 2]
    assert "3 training quantiles" in said
    genres = Task("genre", "multilabel", ("micro-f1",), classes=("drama", "war"))
    targets = np.array([[1, 0], [1, 1], [1, 0], [1, 1], [1, 0], [1, 1], [0, 1], [0, 0]])
    assert _label(genres, targets[train], 2, None)[2] == "genre: war"
    assert _label(genres, targets[train], 2, "drama")[0](targets).tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


# --- chart ------------------------------------------------------------------------------------------------------------


def test_the_bar_is_well_formed_and_to_scale():
    document = stacked_bars('a <"b"> & c', [("x + y", _estimate((0.1, 0.2, 0.0, 0.3))), ("z", _estimate((0, 0, 0, 0)))])
    root = ElementTree.fromstring(document)
    space = "{http://www.w3.org/2000/svg}"
    bars = [r for r in root.iter(f"{space}rect") if r.find(f"{space}title") is not None]
    widths = [float(r.get("width")) for r in bars]
    assert len(widths) == 8
    assert np.array(widths[:4]) / sum(widths[:4]) == pytest.approx([1 / 6, 1 / 3, 0, 1 / 2], abs=1e-3)
    ends = [float(r.get("x")) + float(r.get("width")) for r in bars]
    starts = [float(r.get("x")) for r in bars]
    assert starts[1:4] == pytest.approx(ends[:3], abs=0.02)
    assert root.find(f"{space}title").text == 'a <"b"> & c'
    assert max(float(line.get("x2")) for line in root.iter(f"{space}line")) <= float(root.get("width"))


# --- advice -----------------------------------------------------------------------------------------------------------


def test_each_of_the_ten_is_its_own_nearest():
    for name in TEN:
        nearest, second = neighbours(truth.truth(name).terms)[:2]
        assert nearest.dataset == f"synthetic/{name}"
        assert nearest.distance == pytest.approx(0, abs=1e-12)
        assert second.distance > 0


def test_shares():
    assert shares([1, 1, 0, 2]) == pytest.approx([0.25, 0.25, 0, 0.5])
    assert shares([0, 0, 0, 0]).tolist() == [0, 0, 0, 0]


def test_the_distance_is_between_normalised_terms():
    far = {n.dataset: n.distance for n in neighbours((0.0, 7.0, 0.0, 0.0))}
    assert far["synthetic/unique1"] == pytest.approx(0, abs=1e-9)
    assert far["synthetic/redundancy"] == pytest.approx(2)


def test_advice_shows_its_evidence_and_names_modalities():
    given = advice(_estimate((0, 0.4, 0, 0)), ("image", "audio"))
    assert given.neighbours[0].dataset == "synthetic/unique1"
    assert given.recommended == tuple(given.scores)[:3]
    assert list(given.scores.values()) == sorted(given.scores.values(), reverse=True)
    assert "unimodal[image]" in given.scores
    assert given.scores["unimodal[image]"] > given.scores["unimodal[audio]"] + 0.2
    json.dumps(given.as_plain())


def test_what_noise_decides_is_said():
    """On 3,000 rows an accuracy of 0.85 has a standard error of 0.0065."""
    scores, _ = recorded_scores()
    best = max(scores["synthetic/unique1"].values())
    alike = sum(best - score <= 0.01304 for score in scores["synthetic/unique1"].values())
    [note] = [note for note in advice(_estimate((0, 0.4, 0, 0))).notes if "noise" in note]
    assert note.startswith(f"{alike} methods")
    assert not any("noise" in note for note in advice(_estimate((0, 0.4, 0, 0)), top=alike).notes)


def test_a_modality_that_suffices_is_said():
    """R + U1 is 0.96 of the information, R + U2 is 0.64."""
    notes = advice(_estimate((0.3, 0.18, 0.02, 0)), ("image", "audio")).notes
    assert [note for note in notes if "alone holds" in note] == [
        "image alone holds 96% of the information: hold every fusion against unimodal[image]"
    ]


def test_little_information_is_said():
    assert any("too little" in note for note in advice(_estimate((0.004, 0.004, 0, 0))).notes)
    with pytest.raises(UsageError, match="one method or more"):
        advice(_estimate((1, 0, 0, 0)), top=0)


def test_recommended_methods_on_the_unseen_synthetic_datasets():
    """Table 3.5's first column: the best of three recommended methods against the best of all."""
    scores, _ = recorded_scores()
    for name in LATENTS:
        if name in TEN:
            continue
        given = advice(_estimate(truth.truth(name).terms))
        assert check(given.recommended, scores[f"synthetic/{name}"]).share > 0.97


def test_advice_is_judged_by_hand():
    scores = {"a": 0.8, "b": 0.6, "c": 0.4}
    found = check(["b", "c", "unknown"], scores)
    assert (found.share, found.best, found.tried, found.methods) == (pytest.approx(0.75), "a", ("b", "c"), 3)
    assert found.by_chance == pytest.approx((1 + 1 + 0.75) / 3), "of the pairs ab, ac and bc"
    errors = {"a": -0.5, "b": -1.0}
    assert check(["b"], errors).share == pytest.approx(0.5)
    assert check(["a"], errors).share == 1.0
    with pytest.raises(UsageError, match="none of the recommended"):
        check(["x"], scores)


def test_advice_among_the_methods_that_can_be_had():
    given = advice(_estimate((0, 0.4, 0, 0)), among=["early-fusion", "unimodal[second]"])
    assert set(given.recommended) == {"early-fusion", "unimodal[second]"}
    with pytest.raises(UsageError, match="none of the methods that can be had"):
        advice(_estimate((0, 0.4, 0, 0)), among=["x"])


# --- the commands -----------------------------------------------------------------------------------------------------


def _run(command, *arguments):
    """A command in this process, with its output; errors come out as exceptions."""
    return CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False).stdout


def test_quantify_as_a_user_runs_it(cli, tmp_path):
    done = cli("quantify", "synthetic/and", "--estimator", "cvx", "--bootstrap", "10", "-o", "bar.svg")
    assert done.returncode == 0, done.stderr
    assert "first, second" in done.stdout
    assert "bits" in done.stdout
    ElementTree.parse(tmp_path / "bar.svg")


def test_png_shows_what_the_svg_does(tmp_path):
    pytest.importorskip("vl_convert")
    image = pytest.importorskip("PIL.Image")
    for name in ("bar.svg", "bar.png"):
        _run(quantify, "synthetic/and", "--estimator", "cvx", "--bootstrap", "0", "-o", str(tmp_path / name))
    svg = ElementTree.parse(tmp_path / "bar.svg").getroot()
    picture = image.open(tmp_path / "bar.png").convert("RGB")
    assert picture.size == (2 * int(svg.get("width")), 2 * int(svg.get("height")))
    seen = {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in picture.getcolors(1 << 24)}
    assert set(COLOURS.values()) <= seen
    # There are letters: without the texts far fewer pixels are dark.
    dark = sum(number for number, colour in picture.getcolors(1 << 24) if max(colour) < 100)
    assert dark > 1000


def test_png_without_a_renderer_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'braidbench\[png\]'"):
        check_picture(Path("bar.png"))


def test_saved_terms_are_those_that_are_printed(tmp_path):
    asked = ("digits", "--estimator", "cvx", "--bootstrap", "5", "--quantiles", "3")
    [row] = json.loads(_run(quantify, *asked, "--json", "--save", "--results", str(tmp_path)))
    [kept] = measurements.read([tmp_path]).measurements
    [bar] = kept.bars
    assert (kept.dataset, kept.task, kept.unit, bar.name) == ("digits", "digit", "bits", "image + audio")
    for part, term in zip(bar.parts, ("redundancy", "unique1", "unique2", "synergy"), strict=True):
        assert (part.value, part.low, part.high) == tuple(row[term][key] for key in ("value", "low", "high"))
    assert "3,000 samples for 4,000 cells" in " ".join(kept.notes)
    assert kept.command.startswith("braidbench quantify digits/digit --estimator cvx --clusters 20 --bootstrap 5 ")
    assert kept.command.endswith("--seed 0 --quantiles 3")


def test_the_measure_says_what_quantify_saves(cli, tmp_path):
    done = cli("measure", "synthetic/and", "interactions", "--set", "estimator=cvx", "--set", "bootstrap=5", "--json")
    assert done.returncode == 0, done.stderr
    asked = ("synthetic/and", "--estimator", "cvx", "--bootstrap", "5", "--save", "--results", str(tmp_path / "other"))
    _run(quantify, *asked)
    [saved] = measurements.read([tmp_path / "other"]).measurements
    measured = measurements.Measurement.model_validate_json(done.stdout)
    assert measured.bars == saved.bars
    assert (measured.notes, measured.label, measured.measure) == (saved.notes, saved.label, saved.measure)


def test_quantify_gives_json():
    [row] = json.loads(
        _run(quantify, "synthetic/and", "--estimator", "cvx", "--bootstrap", "0", "--permutations", "0", "--json")
    )
    assert row["pair"] == ["first", "second"]
    assert row["synergy"]["value"] == pytest.approx(0.5, abs=0.01)
    assert row["unit"] == "bits"


def test_semi_supervised_bounds_enclose_the_synergy():
    [row] = json.loads(_run(quantify, "synthetic/and", "--semi-supervised", "--json"))
    # The bounds are those of the sample: 0.5 to within what 20,000 rows of four equally frequent inputs leave.
    assert row["synergy_lower"] <= 0.5 + 1e-3
    assert row["synergy_upper"] >= 0.5 - 1e-3
    assert row["redundancy"] == pytest.approx(0.311, abs=0.005)
    assert row["accuracy_lower"] <= 1.0 <= row["accuracy_upper"] + 1e-9


def test_every_measure_of_an_and():
    """Of two fair bits: I(X_i; Y) = 0.311, I(X1, X2; Y) = H(Y) = 0.811, I(X1; X2) = 0, I(X1; X2 | Y) = 0.189 bits."""
    [row] = json.loads(_run(quantify, "synthetic/and", "--measures", "--json"))
    alone, both, hidden = 0.311278, 0.811278, 0.188722
    expected = {
        "PID": (alone, 0, 0, both - alone),
        "I-min": (alone, 0, 0, both - alone),
        "WMS": (0, alone, alone, both - 2 * alone),
        "co-training": (-hidden, alone + hidden, alone + hidden, 0),
    }
    for name, terms in expected.items():
        assert row["measures"][name] == pytest.approx(terms, abs=0.006), name
    for terms in row["measures"].values():
        assert sum(terms) == pytest.approx(both, abs=0.006), "whatever the measure, the terms add up to the whole"
    assert abs(row["canonical_correlations"][0]) < 0.05
    assert "co-training" in _run(quantify, "synthetic/and", "--measures")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (quantify, ["synthetic/and", "--pair", "first,thrid"], "no modality 'thrid'"),
        (quantify, ["synthetic/and", "--pair", "first"], "a pair is two modalities"),
        (quantify, ["synthetic/nand"], "Did you mean 'synthetic/"),
        (quantify, ["synthetic/and", "-o", "bar.pdf"], r"\.svg or \.png"),
        (quantify, ["synthetic/and", "--save", "--semi-supervised"], "no stacked bar"),
        (quantify, ["synthetic/and", "--measures", "--save"], "prints several"),
        (quantify, ["synthetic/and", "-o", "bar.svg", "--semi-supervised"], "no stacked bar"),
        (quantify, ["synthetic/and", "--measures", "--semi-supervised"], "needs the labels"),
        (quantify, ["synthetic/and", "--measures", "-o", "bar.svg"], "prints several"),
        (quantify, ["synthetic/and", "--label", "x"], "no label 'x'"),
        (quantify, ["synthetic/and", "--quantiles", "1"], "two quantiles or more"),
        (advise, ["synthetic/and", "--results", "nowhere"], "nowhere"),
    ],
)
def test_bad_requests_are_refused(command, arguments, message):
    with pytest.raises((UsageError, click.UsageError), match=message):
        _run(command, *arguments)


def test_advise_shows_distances_scores_and_methods():
    text = _run(advise, "synthetic/and", "--estimator", "cvx")
    assert text.index("synthetic/synergy") < text.index("synthetic/redundancy")
    assert "late-fusion" in text
    assert "Try " in text
