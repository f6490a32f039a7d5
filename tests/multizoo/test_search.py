"""Architecture search: the fusion against numpy, the search against an oracle, the whole of it on real data."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from braidbench.assembly import build
from braidbench.data import open_split
from braidbench.errors import UsageError
from braidbench.preparation import prepare
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench_multizoo.fusions.searchable import Searchable
from braidbench_multizoo.search import MFAS, Recurrent, Schedule, Searched, cached, search

SPACE = (4, 5, 3)
"""Stages of two modalities, and activations: 60 architectures of one level, 216,000 of three."""


def test_the_levels_are_the_equation():
    rng = np.random.default_rng(3)
    fusion = Searchable([4, 2], width=3).over([[5, 4], [2, 6, 2]])
    fusion.adopt([(1, 1, 0), (0, 2, 1), (-1, 0, 2)])
    first = [torch.tensor(rng.normal(size=(7, size)), dtype=torch.float32) for size in (5, 4)]
    second = [torch.tensor(rng.normal(size=(7, size)), dtype=torch.float32) for size in (2, 6, 2)]
    found = fusion([first, second]).detach().numpy()

    def linear(level, *parts):
        layer = fusion.levels[level]
        return np.concatenate(parts, 1) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    a, b = [x.numpy() for x in first], [x.numpy() for x in second]
    h = np.maximum(linear(0, a[1], b[1]), 0)
    h = 1 / (1 + np.exp(-linear(1, a[0], b[2], h)))
    h = linear(2, a[1], b[0], h)
    np.testing.assert_allclose(found, np.where(h > 0, h, 0.01 * h), rtol=1e-5, atol=1e-6)


def test_without_stages_it_is_one_layer_over_the_representations():
    fusion = Searchable([3, 4], width=5)
    x = [torch.randn(6, 3), torch.randn(6, 4)]
    assert torch.equal(fusion(x), torch.relu(fusion.levels[0](torch.cat(x, 1))))
    given = Searchable([3, 4], width=5, architecture=((0, 0, 1), (0, 0, 2)))
    assert [level.in_features for level in given.levels] == [7, 12]


def test_weights_carry_their_architecture():
    fusion = Searchable([4, 2], width=3).over([[5, 4], [2, 6]])
    fusion.adopt([(0, 1, 1), (1, 0, 2)])
    fresh = Searchable([4, 2], width=3).over([[5, 4], [2, 6]])
    fresh.load_state_dict(fusion.state_dict())
    x = [[torch.randn(6, 5), torch.randn(6, 4)], [torch.randn(6, 2), torch.randn(6, 6)]]
    assert fresh.architecture == ((0, 1, 1), (1, 0, 2))
    assert torch.equal(fresh(x), fusion(x))


@pytest.mark.parametrize(
    ("row", "said"), [((0, 0), "needs 3 numbers"), ((2, 0, 0), "wants stage 2"), ((0, 0, 3), "is not one of")]
)
def test_a_row_that_does_not_fit_is_refused(row, said):
    with pytest.raises(UsageError, match=said):
        Searchable([3, 4], architecture=(row,))


class _Oracle:
    def __init__(self, truth):
        self.truth = truth

    def fit(self, architectures, scores):
        assert scores == pytest.approx([self.truth(a) for a in architectures])

    def predict(self, architectures):
        return np.array([self.truth(a) for a in architectures])


def _planted(seed):
    """(the score of an architecture, the best one): each level adds what a table says."""
    tables = np.random.default_rng(seed).random((3, *SPACE))
    best = tuple(tuple(int(i) for i in np.unravel_index(table.argmax(), SPACE)) for table in tables)
    return lambda a: float(sum(table[row] for table, row in zip(tables, a, strict=False))), best


def _defaults():
    return MFAS().schedule


@pytest.mark.parametrize("seed", range(20))
def test_with_an_oracle_the_planted_best_is_found(seed):
    truth, best = _planted(seed)
    measured = search(SPACE, truth, _Oracle(truth), _defaults(), np.random.default_rng(seed))
    assert max(measured, key=measured.get) == best
    assert len(measured) < 200, "of 219,660"
    assert {row for (row,) in (a for a in measured if len(a) == 1)} == set(np.ndindex(*SPACE)), "all of one level"


def test_a_learned_surrogate_beats_chance():
    """The mean over ten spaces of the best that was found, against as many drawn at random."""
    led, drawn = [], []
    for seed in range(10):
        truth, _ = _planted(seed)
        measured = search(SPACE, truth, Recurrent(SPACE, seed), _defaults(), np.random.default_rng(seed))
        led.append(max(measured.values()))
        random = np.random.default_rng(100 + seed)
        picks = [tuple(tuple(int(random.integers(n)) for n in SPACE) for _ in range(3)) for _ in measured]
        drawn.append(max(map(truth, picks)))
    assert np.mean(led) > np.mean(drawn)


def test_the_surrogate_learns_scores_that_are_not_all_finite():
    surrogate = Recurrent(SPACE, 0, epochs=300)
    architectures = [((i, j, 0),) for i in range(4) for j in range(5)]
    scores = np.array([i - j if i else -math.inf for i in range(4) for j in range(5)], dtype=float)
    surrogate.fit(architectures, scores)
    kept = np.isfinite(scores)
    assert np.corrcoef(surrogate.predict(architectures)[kept], scores[kept])[0, 1] > 0.99
    surrogate.fit(architectures[:2], np.array([-math.inf, -math.inf]))


def test_the_temperature_falls_over_iterations_and_levels():
    schedule = Schedule(levels=4, iterations=3, samples=5, initial_temperature=10.0, final_temperature=0.2, decay=4.0)
    found = [schedule.temperature(i, level) for i in range(3) for level in range(4)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 12, "multiplying by the iterations would give (0, 3) and (1, 0) one temperature"
    assert schedule.temperature(1, 0) == pytest.approx(0.2 + 9.8 * math.exp(-((5 / 4) ** 2)))


def test_too_large_a_space_is_sampled():
    seen = []

    class Ends:
        def fit(self, architectures, scores):
            pass

        def predict(self, architectures):
            seen.append(len(architectures))
            return np.zeros(len(architectures))

    schedule = Schedule(2, 1, 5, 1.0, 0.1, 1.0)
    measured = search((9,) * 6, lambda a: 0.0, Ends(), schedule, np.random.default_rng(0))
    assert len(measured) == 10
    assert len(seen) == 1
    assert 4900 < seen[0] <= 5000


def test_stages_are_cached_in_evaluation_mode():
    recipe = resolve(registry(), "digits", "mfas", {})
    model, _ = build(recipe)
    split = open_split(prepare(recipe.dataset), "valid", recipe.task)
    kept = cached(model.train(), split, 50)
    batch = split.batch(torch.arange(30))
    with torch.no_grad():
        wanted = model.eval().stages(batch.inputs, batch.lengths)
    for name, stages in wanted.items():
        for index, value in enumerate(stages):
            torch.testing.assert_close(kept.columns[f"{name}:{index}"].all()[:30], value, rtol=1e-4, atol=1e-5)
    assert [len(stages) for stages in wanted.values()] == [len(sizes) for sizes in model.fusion.stage_dims]
    output = model(batch.inputs, batch.lengths)
    torch.testing.assert_close(output.representations["image"], wanted["image"][-1])


SMALL = {
    "training.epochs": 2, "procedure.samples": 3, "procedure.iterations": 2, "procedure.levels": 2,
    "procedure.candidate_epochs": 1,
}  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_finds_an_architecture_that_a_fresh_model_loads(cli, tmp_path, frozen):
    changes = SMALL | {"procedure.frozen": frozen}
    options = [part for key, value in changes.items() for part in ("--set", f"{key}={str(value).lower()}")]
    done = cli("run", "cohort", "mfas", *options, "--results", "r", "--device", "cpu", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    model, _ = build(resolve(registry(), "cohort", "mfas", changes))
    weights = load_file(tmp_path / row["path"] / "model.safetensors")
    model.load_state_dict(weights)
    assert isinstance(model, Searched)
    assert list(map(list, model.fusion.architecture)) == weights["fusion.rows"].tolist()
    assert len(model.fusion.architecture) in (1, 2)
    assert row["cost"]["parameters_total"] == sum(p.numel() for p in model.parameters()), (
        "of what was found, not of all"
    )
    assert not list((tmp_path / row["path"]).glob("checkpoint*"))


def test_mfas_needs_its_model():
    model, _ = build(resolve(registry(), "cohort", "late-fusion", {}))
    with pytest.raises(UsageError, match="use a method with the model"):
        MFAS().fit(model, None, None)
    with pytest.raises(UsageError, match="must be 1 or more"):
        MFAS(levels=0)
