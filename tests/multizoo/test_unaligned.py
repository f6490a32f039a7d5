"""Cyclic translation and the CTC front: against loops in numpy, properties, and runs through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from braidbench.assembly import build
from braidbench.data import Batch
from braidbench.errors import DataError, UsageError
from braidbench.model import Head, Output
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.specs import Modality, Task
from braidbench_multizoo.ctc import CTC, CTCAligned, Positions, aligned, pace_of
from braidbench_multizoo.encoders.dense import Identity
from braidbench_multizoo.fusions.recurrent.stacked import EarlyLSTM
from braidbench_multizoo.losses.translation import Translation
from braidbench_multizoo.translation import MCTN, Translator

CLASSES = Task("c", "classification", ("accuracy",), classes=("a", "b"))
WORDS = Modality("words", "text", (3,), length=4)
SOUND = Modality("sound", "audio", (2,), length=9)
FACE = Modality("face", "video", (5,), length=6)
TABLE = Modality("table", "tabular", (2,))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def batch_of(modalities, rows: int = 3) -> Batch:
    inputs, lengths = {}, {}
    for m in modalities:
        if m.is_sequence:
            n = torch.tensor([m.length, max(m.length - 2, 1), 1][:rows])
            x = torch.randn(rows, m.length, *m.shape)
            inputs[m.name] = x * (torch.arange(m.length) < n[:, None])[..., None]
            lengths[m.name] = n
        else:
            inputs[m.name], lengths[m.name] = torch.randn(rows, *m.shape), None
    return Batch(inputs, lengths, torch.arange(rows) % 2, torch.arange(rows))


def mctn(modalities, **parameters) -> MCTN:
    return MCTN({}, torch.nn.Identity(), Head(1, 2, 8), CLASSES, modalities=modalities, **parameters)


# --- translation ------------------------------------------------------------------------------------------------------


def test_decoding_step_by_step():
    translator = Translator(2, 4, 0.0).double().eval()
    states, lengths = torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([3, 1])
    states[1, 1:] = 0
    found = translator.decode(states, lengths, torch.zeros(2, 5, 2, dtype=torch.float64)).detach().numpy()
    w = {name: value.detach().numpy() for name, value in translator.state_dict().items()}

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    for row, n in enumerate((3, 1)):
        own = states[row, :n].numpy()
        h = np.tanh(w["start.weight"] @ own.mean(0) + w["start.bias"])
        y = np.zeros(2)
        for place in range(5):
            keys = own @ w["of_step.weight"].T + w["of_step.bias"]
            scores = np.tanh(keys + w["of_state.weight"] @ h) @ w["score.weight"][0]
            weights = np.exp(scores - scores.max())
            context = weights / weights.sum() @ own
            x = np.concatenate([y, context])
            r, z, n_in = np.split(w["cell.weight_ih"] @ x + w["cell.bias_ih"], 3)
            hr, hz, hn = np.split(w["cell.weight_hh"] @ h + w["cell.bias_hh"], 3)
            r, z = sigmoid(r + hr), sigmoid(z + hz)
            h = (1 - z) * np.tanh(n_in + r * hn) + z * h
            y = w["give.weight"] @ np.concatenate([h, context]) + w["give.bias"]
            np.testing.assert_allclose(found[row, place], y, atol=1e-10)


@pytest.mark.parametrize("modalities", [(SOUND, WORDS), (SOUND, WORDS, FACE), (TABLE, SOUND)])
def test_the_prediction_needs_the_source_alone_in_training_and_in_evaluation(modalities):
    model = mctn(modalities)
    assert model.source == ("words" if WORDS in modalities else "table"), "the first text, or the first"
    batch = batch_of(modalities)
    for mode in (True, False):
        model.train(mode)
        whole = model(batch.inputs, batch.lengths)
        alone = model({model.source: batch.inputs[model.source]}, {model.source: batch.lengths[model.source]})
        assert torch.equal(whole.prediction, alone.prediction)
    with torch.no_grad():
        trained = model.train()(batch.inputs, batch.lengths).prediction
        assert torch.equal(model.eval()(batch.inputs, batch.lengths).prediction, trained), "one path for both"
    changed = {**batch.inputs, model.source: batch.inputs[model.source] + 1}
    assert not torch.equal(model(changed, batch.lengths).prediction, trained)


def test_teachers_are_heard_in_training_only():
    translator = Translator(2, 4, 1.0)
    states, one, other = torch.randn(2, 3, 4), torch.randn(2, 4, 2), torch.randn(2, 4, 2)
    translator.train()
    assert not torch.equal(translator.decode(states, None, one), translator.decode(states, None, other))
    translator.eval()
    assert torch.equal(translator.decode(states, None, one), translator.decode(states, None, other))


def test_errors_are_over_real_steps_and_in_the_targets_own_width():
    modalities = (WORDS, SOUND, FACE)
    model, batch = mctn(modalities, teacher_forcing=0.0).eval(), batch_of(modalities)
    errors = model.translations(batch)
    assert set(errors) == {"to-sound", "back", "to-face"}
    states, spans = model.joint(model.steps("words", batch.inputs, batch.lengths))[1]
    given = model.translators[1].decode(states, spans, torch.zeros(3, 6, 32))
    total = count = 0.0
    for row, n in enumerate(batch.lengths["face"].tolist()):
        total += ((given[row, :n, :5] - batch.inputs["face"][row, :n]) ** 2).sum().item()
        count += 5 * n
    assert errors["to-face"].item() == pytest.approx(total / count, rel=1e-5)
    spoiled = {name: x.clone() for name, x in batch.inputs.items()}
    for name, n in batch.lengths.items():
        spoiled[name][torch.arange(spoiled[name].shape[1]) >= n[:, None]] = 1e3
    again = model.translations(Batch(spoiled, batch.lengths, batch.target, batch.index))
    for name, value in errors.items():
        assert again[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_long_sequences_are_averaged_in_windows():
    model = mctn((WORDS, SOUND), steps=3)
    x = torch.arange(18.0).reshape(1, 9, 2)
    values, lengths = model.steps("sound", {"sound": x}, {"sound": torch.tensor([7])})
    assert lengths.tolist() == [3]
    expected = [x[0, :3].mean(0), x[0, 3:6].mean(0), x[0, 6]]
    torch.testing.assert_close(values[0], torch.stack(expected))


def test_what_cannot_be_translated_is_refused():
    with pytest.raises(UsageError, match="no modality; there are words, sound"):
        mctn((WORDS, SOUND), source="face")
    with pytest.raises(DataError, match="holds integers"):
        mctn((WORDS, SOUND)).steps("words", {"words": torch.ones(1, 2, 3, dtype=torch.int64)}, {"words": None})
    assert MCTN.skip((WORDS,), CLASSES)
    with pytest.raises(UsageError, match="use the method 'mctn'"):
        Translation().bind(torch.nn.Identity(), (WORDS, SOUND), CLASSES)


def test_mctn_through_the_command_line(cli):
    done = cli("run", "cohort", "mctn", "--epochs", "3", "--robustness", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["scores"]["auroc"] > 0.75, "the table, which is the source, alone gives .87"
    labs = [c["scores"] for c in row["robustness"] if c["modality"] == "labs"]
    assert all(len(set(scores)) == 1 for scores in labs), "whatever happens to the other modality changes nothing"


# --- the CTC front ----------------------------------------------------------------------------------------------------


def test_aligned_steps_are_means_by_shares():
    x, logits = torch.randn(2, 5, 3, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    found = aligned(x, Positions(logits, torch.tensor([5, 2]), torch.tensor([3, 2]))).numpy()
    for row, (steps, length) in enumerate(((5, 3), (2, 2))):
        weights = np.exp(logits[row, :steps, : length + 1].numpy())
        weights /= weights.sum(1, keepdims=True)
        for place in range(length):
            expected = np.average(x[row, :steps].numpy(), axis=0, weights=weights[:, place + 1])
            np.testing.assert_allclose(found[row, place], expected, atol=1e-12)
    assert (found[1, 2] == 0).all()


def front(modalities=(SOUND, WORDS)) -> CTCAligned:
    encoders = {m.name: Identity(m, form="sequence") for m in modalities}
    fusion = EarlyLSTM([m.shape[0] for m in modalities], hidden=6)
    return CTCAligned(encoders, fusion, Head(6, 2, 0), CLASSES, modalities=modalities, hidden=4)


def test_the_words_set_the_pace_and_padding_changes_nothing():
    modalities = (SOUND, WORDS)
    assert pace_of(modalities) is WORDS
    assert pace_of((SOUND, FACE, TABLE)) is FACE
    model, batch = front().eval(), batch_of(modalities)
    output = model(batch.inputs, batch.lengths)
    assert output.representations["sound"].shape == (3, 4, 2)
    for row in range(3):
        cut = {m.name: batch.inputs[m.name][row : row + 1, : batch.lengths[m.name][row]] for m in modalities}
        alone = model(cut, {m.name: batch.lengths[m.name][row : row + 1] for m in modalities})
        torch.testing.assert_close(alone.prediction[0], output.prediction[row])
    spoiled = {
        name: x + 50 * (torch.arange(x.shape[1]) >= batch.lengths[name][:, None])[..., None]
        for name, x in batch.inputs.items()
    }
    torch.testing.assert_close(model(spoiled, batch.lengths).prediction, output.prediction)


def test_the_loss_is_that_of_all_paths():
    """Two positions, three steps: the probability is the sum over the alignments 0/1/2 that read 1 2."""
    logits = torch.randn(1, 3, 3, dtype=torch.float64)
    p = logits.softmax(2)[0].numpy()
    paths = [(1, 2, 0), (1, 0, 2), (0, 1, 2), (1, 1, 2), (1, 2, 2)]
    expected = -np.log(sum(p[0, a] * p[1, b] * p[2, c] for a, b, c in paths))
    positions = {"sound": Positions(logits, torch.tensor([3]), torch.tensor([2]))}
    from braidbench_multizoo.ctc import AlignedOutput

    output = AlignedOutput(torch.zeros(1, 2), torch.zeros(1, 2), {}, positions)
    found = CTC(weight=2.0).terms(output, None, None)["positions"].item()
    assert found == pytest.approx(2 * expected / 2, rel=1e-6), "the mean is over the positions, as torch has it"


def test_rows_that_are_too_short_to_align_are_finite():
    model, batch = front(), batch_of((SOUND, WORDS))
    lengths = {"sound": torch.tensor([1, 0, 2]), "words": torch.tensor([4, 0, 4])}
    output = model(batch.inputs, lengths)
    terms = CTC()(output, batch, model)
    torch.stack(tuple(terms.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert terms["positions"].isfinite()


def test_ctc_is_for_models_with_a_front():
    with pytest.raises(UsageError, match="alignment front"):
        CTC().bind(torch.nn.Identity(), (), CLASSES)
    assert "there is one" in CTCAligned.skip((WORDS, TABLE), CLASSES)
    model, _ = build(resolve(registry(), "wrist", "ctc-ef-lstm", {}))
    assert isinstance(model, CTCAligned)
    assert isinstance(model(*_two(model)), Output)


def _two(model):
    x = {name: torch.randn(2, 6, 3 if "acc" in name or "gyr" in name else 1) for name in model.names}
    return x, {name: torch.tensor([6, 3]) for name in model.names}


HOOKS = """
    import braidbench
    from braidbench import Modality, Task

    @braidbench.hookimpl
    def register_datasets():
        yield braidbench.Dataset(
            "drift/words", "drift_parts:load", summary="words and sound without times",
            modalities=(
                Modality("words", "text", (2,), length=4),
                Modality("sound", "audio", (2,), length=16),
            ),
            tasks=(Task("label", "classification", ("accuracy",), classes=("no", "yes")),),
            training=braidbench.Training(epochs=30, batch_size=32, lr=0.01),
        )
    """

PARTS = """
    import numpy as np

    def load(files):
        # Words last three to five frames, so that the place of a frame is learned from the sound itself.
        rng = np.random.default_rng(0)
        splits = {}
        for name, rows in (("train", 400), ("valid", 100), ("test", 200)):
            label, marked = rng.integers(0, 2, rows), rng.integers(0, 4, rows)
            words = rng.normal(0, 0.1, (rows, 4, 2))
            words[np.arange(rows), marked, 0] += 1
            sounds = []
            for row in range(rows):
                loud = rng.integers(0, 2, 4)
                loud[marked[row]] = label[row]
                spans = rng.integers(3, 5, 4)
                frames = np.repeat(loud, spans)[:, None]
                onset = np.zeros((spans.sum(), 1))
                onset[np.cumsum(spans) - spans] = 1
                sounds.append(np.concatenate([frames, onset], 1) + rng.normal(0, 0.1, (spans.sum(), 2)))
            splits[name] = {"words": words, "sound": sounds, "label": label}
        return splits
    """


def test_unaligned_sequences_train_through_the_command_line(cli, plugin):
    _, env = plugin("drift", "1.0", drift=HOOKS, drift_parts=PARTS)
    done = cli("run", "drift/words", "ctc-ef-lstm", "--json", timeout=600, **env)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["scores"]["accuracy"] > 0.7, "half is chance"
    done = cli("run", "cohort", "ctc-ef-lstm", **env)
    assert done.returncode == 2
    assert "there is one" in done.stderr
