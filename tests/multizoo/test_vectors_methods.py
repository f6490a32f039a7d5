"""The methods of the vectors family: built on every dataset that they serve, skipped with a reason on the others."""

from __future__ import annotations

import pytest
import torch

from braidbench.assembly import build
from braidbench.recipe import CannotServeError, resolve
from braidbench.registry import registry

DATASETS = ("digits", "cohort", "sp500-food", "sp500-health", "sp500-tech", "numerals", "wrist", "av-mnist")
SKIPPED = {
    **{
        (method, dataset): "takes 2 to 3 modalities; there are"
        for method in ("mi-matrix", "mi-vector", "mi-scalar")
        for dataset in ("sp500-food", "sp500-health", "numerals")
    },
    ("nl-gate", "av-mnist"): "'image' would attend to 'audio', which is one step",
}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", ["mi-matrix", "mi-vector", "mi-scalar", "film", "nl-gate"])
def test_every_dataset_is_served_or_refused_with_a_reason(method: str, dataset: str) -> None:
    reason = SKIPPED.get((method, dataset))
    if reason is not None:
        with pytest.raises(CannotServeError, match=reason):
            resolve(registry(), dataset, method, {})
        return
    recipe = resolve(registry(), dataset, method, {})
    torch.manual_seed(0)
    model, _ = build(recipe)
    inputs, lengths = {}, {}
    for m in recipe.modalities:
        steps = () if m.length is None else (min(m.length, 12),)
        inputs[m.name] = torch.rand(3, *steps, *m.shape)
        lengths[m.name] = torch.tensor([12, 3, 7]) if steps else None
    output = model.train()(inputs, lengths)
    assert output.prediction.shape == (3, recipe.task.width)
    output.prediction.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_settings_of_the_published_experiments() -> None:
    """AV-MNIST with MI-matrix: LeNets of 48 and 192 numbers, 240 fused ones, a perceptron 240-100-10."""
    recipe = resolve(registry(), "av-mnist", "mi-matrix", {})
    training = recipe.training
    assert (training.optimizer, training.lr, training.weight_decay, training.epochs) == ("SGD", 0.05, 1e-4, 20)
    model, _ = build(recipe)
    lenets = sum(p.numel() for p in model.encoders.parameters())
    assert sum(p.numel() for p in model.parameters()) == (
        lenets + 49 * 193 * 240 + 240 * 100 + 100 + 100 * 10 + 10
    )  # fmt: skip


@pytest.mark.parametrize(("fusion", "expected"), [("film", 4), ("mi-vector", 4), ("mi-scalar", 4), ("mi-matrix", 64)])
def test_the_modulated_modality_can_be_chosen(fusion: str, expected: int) -> None:
    overrides = {"encoder.static.out_dim": 4, "encoder.labs.out_dim": 8, "fusion.modulated": 0}
    model, _ = build(resolve(registry(), "cohort", fusion, overrides))
    assert model.fusion.out_dim == expected
    assert model.fusion.modulated == 0


def test_what_the_papers_proposed_them_on() -> None:
    found = registry()
    proposed = {name: found.find("methods", name).spec.proposed_on for name in ("film", "nl-gate", "mi-matrix")}
    assert proposed == {"film": ("clevr",), "nl-gate": ("kinetics400",), "mi-matrix": ()}
