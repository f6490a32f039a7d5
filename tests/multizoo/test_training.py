"""Ensembles, gradient blending and word alignment: hand-worked cases, numpy, and runs through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.special
import torch
from safetensors.torch import load_file

from braidbench.assembly import build
from braidbench.data import Column, Split
from braidbench.errors import DataError, UsageError
from braidbench.preparation import prepare
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.specs import Modality, Task
from braidbench_multizoo.alignment import WordAlign, averages
from braidbench_multizoo.blending import (
    MULTIMODAL,
    Blend,
    Blended,
    GradientBlend,
    Losses,
    blend_weights,
    released_weights,
    shares,
)
from braidbench_multizoo.ensembles import Ensemble, Separately, vote
from braidbench_multizoo.objectives import Supervised

CLASSES = Task("c", "classification", ("accuracy",), classes=("a", "b", "c"))
LABELS = Task("l", "multilabel", ("macro-f1",), classes=("a", "b"))


# --- ensembles --------------------------------------------------------------------------------------------------------


def test_a_majority_wins_and_a_tie_goes_to_the_more_probable():
    majority = torch.tensor([[[3.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]], [[0.0, 0.0, 9.0]]])
    shares_of = vote(majority, CLASSES).softmax(1)[0].numpy()
    probabilities = scipy.special.softmax(majority.numpy()[:, 0], axis=1).mean(0)
    np.testing.assert_allclose(shares_of, (np.array([2, 0, 1]) + 0.5 * probabilities) / 3.5, rtol=1e-5)
    assert shares_of.argmax() == 0, "two weak votes against a sure one: adding logits would say c"
    assert majority.sum(0).argmax() == 2
    tie = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 5.0, 0.0]]])
    assert vote(tie, CLASSES).argmax() == 1
    labels = torch.tensor([[[1.0, -1.0]], [[2.0, -3.0]], [[-1.0, 4.0]]])
    assert (vote(labels, LABELS) > 0).tolist() == [[True, False]]


def test_each_part_of_an_ensemble_is_the_unimodal_row_and_addition_adds_their_logits(cli, tmp_path):
    options = ("--epochs", "2", "--results", "r", "--device", "cpu")
    done = cli("run", "cohort", "ensemble-additive", *options, "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["cost"]["epochs"] == 4, "two for each modality"
    recipe = resolve(registry(), "cohort", "ensemble-additive", {"training.epochs": 2})
    model, _ = build(recipe)
    assert isinstance(model, Ensemble)
    model.load_state_dict(load_file(tmp_path / row["path"] / "model.safetensors"))
    split = _split(recipe, "test")
    batch = split.batch(torch.arange(40))
    output = model.eval()(batch.inputs, batch.lengths)
    logits = [single(batch.inputs, batch.lengths).prediction for single in model.singles]
    torch.testing.assert_close(output.prediction, logits[0] + logits[1])
    other = {name: x.clone() for name, x in batch.inputs.items()}
    other["labs"] += 1.0
    assert torch.equal(model.singles[0](other, batch.lengths).prediction, logits[0]), "it reads its own modality alone"
    model.combine = "vote"
    assert torch.equal(model(batch.inputs, batch.lengths).prediction, vote(torch.stack(logits), recipe.task))


def _split(recipe, name):
    from braidbench.data import open_split

    return open_split(prepare(recipe.dataset), name, recipe.task)


def test_separately_needs_an_ensemble():
    model, _ = build(resolve(registry(), "cohort", "late-fusion", {}))
    with pytest.raises(UsageError, match="use a method with the model"):
        Separately().fit(model, None, None)


# --- gradient blending ------------------------------------------------------------------------------------------------


def test_weights_by_hand():
    """ΔG = .4, .3, .6; ΔO = .2, .1, .4: raw weights 10, 30, 3.75."""
    before = [Losses(1.0, 1.0), Losses(1.0, 1.1), Losses(1.0, 1.0)]
    after = [Losses(0.4, 0.6), Losses(0.6, 0.8), Losses(0.0, 0.4)]
    np.testing.assert_allclose(blend_weights(before, after), np.array([10, 30, 3.75]) / 43.75, rtol=1e-9)


def test_weights_where_nothing_overfits_or_nothing_generalises():
    start = [Losses(1.0, 1.0)] * 2
    found = blend_weights(start, [Losses(0.5, 0.4), Losses(0.5, 0.6)], floor=0.1)
    np.testing.assert_allclose(found, np.array([60, 40]) / 100, rtol=1e-9)  # .6 / .1², .4 / .1²
    assert blend_weights(start, [Losses(0.5, 1.2), Losses(0.4, 0.9)]) == [0.0, 1.0]
    assert blend_weights(start, [Losses(0.5, 1.2), Losses(0.4, 1.3)]) == [0.5, 0.5]


def test_released_weights_by_hand():
    """L / O² = .6 / .04 = 15 and .8 / .16 = 5; without a gap a branch takes nearly all, as it does there."""
    np.testing.assert_allclose(released_weights([Losses(0.4, 0.6), Losses(0.4, 0.8)]), [0.75, 0.25], rtol=1e-9)
    assert released_weights([Losses(0.4, 0.6), Losses(0.5, 0.4)])[1] > 0.999


def test_the_blended_loss_is_the_weighted_sum_and_reaches_what_it_should():
    recipe = resolve(registry(), "cohort", "gradient-blend", {})
    torch.manual_seed(0)
    model, objective = build(recipe)
    assert isinstance(model, Blended)
    batch = _split(recipe, "train").batch(torch.arange(32))
    output = model(batch.inputs, batch.lengths)
    weights = {"static": 0.5, "labs": 0.0, MULTIMODAL: 2.0}
    terms = Blend(objective, weights)(output, batch, model)
    branches = model.branches(output, batch.lengths)
    expected = {
        f"{name}-task": weight * torch.nn.functional.cross_entropy(branches[name], batch.target)
        for name, weight in weights.items()
        if weight
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    alone = Blend(Supervised(), {"static": 1.0})(output, batch, model)
    torch.stack(tuple(alone.values())).sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters() if name.startswith(("encoders.static", "heads.0"))}


def test_super_epochs_share_the_budget():
    assert shares(7, 2) == [4, 3]
    assert shares(20, 3) == [7, 7, 6]
    assert shares(1, 4) == [1]


def test_blending_runs_in_phases_and_keeps_the_best_epoch(cli, tmp_path):
    done = cli("run", "cohort", "gradient-blend", "--epochs", "4", "--robustness", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["scores"]["auroc"] > 0.8
    # Two super-epochs, each of three estimates and the blended training, two epochs each.
    assert row["cost"]["epochs"] == 2 * 4 * 2
    history = json.loads((tmp_path / row["path"] / "history.json").read_text())["epochs"]
    blended = [history[i]["valid"] for i in (6, 7, 14, 15)]
    assert row["valid_scores"]["auroc"] == pytest.approx(max(blended), abs=1e-9)
    assert {curve["scores"][0] for curve in row["robustness"] if curve["metric"] == "auroc"} == {row["scores"]["auroc"]}


def test_what_cannot_be_blended_is_refused():
    assert "nothing to blend" in GradientBlend.skip((Modality("x", "tabular", (2,)),), CLASSES)
    model, _ = build(resolve(registry(), "cohort", "late-fusion", {}))
    with pytest.raises(UsageError, match="a head for each modality"):
        GradientBlend().fit(model, None, None)
    with pytest.raises(UsageError, match="super_epochs=0"):
        GradientBlend(super_epochs=0)


# --- word alignment ---------------------------------------------------------------------------------------------------


def by_loops(x, lengths, times, words, word_lengths):
    result = np.zeros((len(x), words.shape[1], x.shape[2]))
    for n in range(len(x)):
        for w in range(word_lengths[n]):
            begin, end = words[n, w]
            weights = [max(0.0, min(e, end) - max(s, begin)) for s, e in times[n, : lengths[n]]]
            if sum(weights) > 0:
                result[n, w] = np.average(x[n, : lengths[n]], axis=0, weights=weights)
    return result


def test_averages_are_those_of_a_loop_over_words_and_frames():
    rng = np.random.default_rng(0)
    rows, frames, words = 300, 12, 5
    x = rng.normal(size=(rows, frames, 3))
    edges = np.sort(rng.uniform(0, 4, (rows, frames + 1)), axis=1)
    times = np.stack([edges[:, :-1], edges[:, 1:]], axis=2)
    cuts = np.sort(rng.uniform(-0.5, 5, (rows, 2 * words)), axis=1).reshape(rows, words, 2)
    lengths, word_lengths = rng.integers(0, frames + 1, rows), rng.integers(0, words + 1, rows)
    spoiled = x.copy()
    spoiled[np.arange(frames) >= lengths[:, None]] = 1e6
    tensors = [torch.from_numpy(v) for v in (spoiled, lengths, times, cuts, word_lengths)]
    np.testing.assert_allclose(averages(*tensors).numpy(), by_loops(x, lengths, times, cuts, word_lengths), atol=1e-9)


def test_a_moment_counts_where_it_lies():
    x = torch.tensor([[[1.0], [5.0]]])
    times = torch.tensor([[[0.5, 0.5], [1.5, 1.5]]])
    words = torch.tensor([[[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]])
    assert averages(x, torch.tensor([2]), times, words, torch.tensor([3])).flatten().tolist() == [1.0, 5.0, 0.0]


def timed_split() -> Split:
    modalities = (
        Modality("sound", "audio", (1,), length=4, times=True),
        Modality("words", "text", (2,), length=2, times=True),
        Modality("table", "tabular", (2,)),
    )
    columns = {
        "sound": Column.of(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), torch.tensor([4])),
        "words": Column.of(torch.ones(1, 2, 2), torch.tensor([2])),
        "table": Column.of(torch.ones(1, 2)),
    }
    steps = torch.arange(4.0)
    times = {
        "sound": torch.stack([steps, steps + 1], 1)[None],
        "words": torch.tensor([[[0.0, 2.0], [2.0, 4.0]]]),
    }
    return Split(columns, torch.zeros(1, dtype=torch.int64), modalities, times)


def test_every_sequence_gets_the_words_steps():
    split = timed_split()
    aligned = WordAlign()(split)
    assert [m.length for m in aligned.modalities] == [2, 2, None]
    values, lengths = aligned.columns["sound"].take(torch.tensor([0]))
    assert values.flatten().tolist() == [1.5, 3.5]
    assert lengths.tolist() == [2]
    assert torch.equal(aligned.times["sound"], split.times["words"])
    assert torch.equal(aligned.columns["table"].all(), split.columns["table"].all())
    by_sound = WordAlign(pace="sound")(split)
    assert by_sound.columns["words"].all().shape == (1, 4, 2)
    with pytest.raises(UsageError, match="pace='table'"):
        WordAlign(pace="table").modalities(split.modalities)


def test_integers_are_not_averaged():
    split = timed_split()
    split.columns["sound"] = Column.of(torch.ones(1, 4, 1, dtype=torch.int64), torch.tensor([4]))
    with pytest.raises(DataError, match="holds integers"):
        WordAlign()(split)


def test_without_timestamps_the_method_is_refused_with_the_reason(cli):
    done = cli("run", "wrist", "word-align")
    assert done.returncode == 2
    assert "needs timestamps; accelerometer, gyroscope has none" in done.stderr


HOOKS = """
    import braidbench
    from braidbench import Modality, Task

    @braidbench.hookimpl
    def register_datasets():
        yield braidbench.Dataset(
            "spoken/words", "spoken_parts:load", summary="words and sound with times",
            modalities=(
                Modality("words", "text", (2,), length=4, times=True),
                Modality("sound", "audio", (1,), length=16, times=True),
            ),
            tasks=(Task("label", "classification", ("accuracy",), classes=("no", "yes")),),
            training=braidbench.Training(epochs=30, batch_size=32, lr=0.01),
        )
    """

PARTS = """
    import numpy as np

    def load(files):
        # The label is whether the sound is loud while the marked word is said: its place decides, not its mean.
        rng = np.random.default_rng(0)
        splits = {}
        for name, rows in (("train", 400), ("valid", 100), ("test", 200)):
            label, marked = rng.integers(0, 2, rows), rng.integers(0, 4, rows)
            words = rng.normal(0, 0.1, (rows, 4, 2))
            words[np.arange(rows), marked, 0] += 1
            loud = rng.integers(0, 2, (rows, 4))
            loud[np.arange(rows), marked] = label
            sound = np.repeat(loud, 4, axis=1)[..., None] + rng.normal(0, 0.3, (rows, 16, 1))
            steps = np.arange(16) / 4
            splits[name] = {
                "words": words, "sound": sound, "label": label,
                "words:times": np.tile(np.stack([np.arange(4.0), np.arange(4.0) + 1], 1), (rows, 1, 1)),
                "sound:times": np.tile(np.stack([steps, steps + 0.25], 1), (rows, 1, 1)),
            }
        return splits
    """


def test_alignment_finds_what_lies_at_one_time(cli, plugin):
    _, env = plugin("spoken", "1.0", spoken=HOOKS, spoken_parts=PARTS)
    done = cli("run", "spoken/words", "word-align", "--robustness", "--json", timeout=600, **env)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["scores"]["accuracy"] > 0.9
    assert all(curve["scores"][0] == row["scores"][curve["metric"]] for curve in row["robustness"])
    done = cli("run", "spoken/words", "ef-lstm", **env)
    assert done.returncode == 2
    assert "word-align" in done.stderr, "unaligned sequences are refused, and the way out is named"
