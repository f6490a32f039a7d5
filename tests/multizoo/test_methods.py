"""The declarations: light, complete, and every method builds and answers on every dataset that is there."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from braidbench.assembly import build
from braidbench.errors import UsageError
from braidbench.recipe import Recipe, resolve, rows_of
from braidbench.registry import registry
from braidbench_multizoo import register_methods

METHOD_NAMES = ("unimodal", "early-fusion", "late-fusion", "tensor-fusion", "low-rank-tensor-fusion")
DATASETS = ("digits", "cohort", "sp500-food", "sp500-health", "sp500-tech", "numerals", "wrist", "av-mnist")


def test_declarations_import_nothing_heavy() -> None:
    program = (
        "import sys, braidbench_multizoo as plugin\n"
        "for hook in ('encoders', 'fusions', 'objectives', 'procedures', 'methods'):\n"
        "    assert list(getattr(plugin, f'register_{hook}')())\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_every_component_is_registered_and_its_target_exists() -> None:
    found = registry()
    for kind, names in {
        "encoders": ("identity", "mlp", "lenet", "gru", "lstm", "conv1d", "transformer"),
        "fusions": ("concat", "concat-early", "tensor", "low-rank-tensor"),
        "objectives": ("supervised",),
        "procedures": ("supervised",),
        "methods": METHOD_NAMES,
    }.items():
        for name in names:
            assert found.find(kind, name).spec.summary, f"{kind} {name} has no summary"
            if kind != "methods":
                assert callable(found.load(kind, name))


def test_one_default_encoder_a_kind() -> None:
    """Two would leave a dataset without a default; kinds without one must name an encoder."""
    ours = [r.spec for r in registry().all("encoders") if r.plugin.module == "braidbench_multizoo"]
    kinds = [kind for spec in ours for kind in spec.default_for]
    assert len(kinds) == len(set(kinds))
    assert {"image", "audio", "text", "time_series", "tabular"} <= set(kinds)


def test_methods_say_where_they_come_from() -> None:
    by_name = {method.name: method for method in register_methods() if method.name in METHOD_NAMES}
    assert tuple(by_name) == METHOD_NAMES
    assert all(method.citation for method in by_name.values())
    assert [name for name, method in by_name.items() if method.reference] == ["late-fusion"]
    assert [name for name, method in by_name.items() if method.each_modality] == ["unimodal"]
    assert by_name["tensor-fusion"].proposed_on == ("mosi",)
    assert by_name["low-rank-tensor-fusion"].proposed_on == ("mosi", "pom", "iemocap")


def random_batch(recipe: Recipe, rows: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor | None]]:
    inputs: dict[str, torch.Tensor] = {}
    lengths: dict[str, torch.Tensor | None] = {}
    for m in recipe.modalities:
        steps = () if m.length is None else (min(m.length, 20),)
        inputs[m.name] = torch.rand(rows, *steps, *m.shape)
        lengths[m.name] = torch.randint(1, steps[0] + 1, (rows,)) if steps else None
    return inputs, lengths


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_method_answers_on_every_dataset(dataset: str, method: str) -> None:
    """Its defaults are accepted, the model has the task's width, and a gradient reaches every parameter."""
    found = registry()
    for row in rows_of(found, method, found.find("datasets", dataset).spec)[:2]:
        recipe = resolve(found, dataset, row, {})
        torch.manual_seed(0)
        model, _ = build(recipe)
        output = model.train()(*random_batch(recipe, 3))
        assert output.prediction.shape == (3, recipe.task.width)
        output.prediction.square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_settings_of_the_published_experiments() -> None:
    recipe = resolve(registry(), "av-mnist", "low-rank-tensor-fusion", {})
    assert dict(recipe.fusion.parameters) == {"rank": 40, "out_dim": 120}
    assert dict(recipe.head) == {"hidden": 100}
    assert (recipe.training.optimizer, recipe.training.lr, recipe.training.weight_decay) == ("SGD", 0.05, 2e-4)
    model, _ = build(recipe)
    # LeNets of 48 and 192 outputs, factors and mixing, and a perceptron 120-100-10.
    lenets = sum(p.numel() for p in model.encoders.parameters())
    assert sum(p.numel() for p in model.parameters()) == (
        lenets + 40 * 120 * (49 + 193) + 40 + 120 + 120 * 100 + 100 + 100 * 10 + 10
    )


@pytest.mark.parametrize("dataset", DATASETS)
def test_early_fusion_reads_every_input_as_it_is(dataset: str) -> None:
    """Also where a modality has the name of its kind, as image and audio of digits."""
    recipe = resolve(registry(), dataset, "early-fusion", {})
    assert {name: chosen.spec.name for name, chosen in recipe.encoders.items()} == {
        m.name: "identity" for m in recipe.modalities
    }
    model, _ = build(recipe)
    assert not list(model.encoders.parameters())


def test_early_fusion_says_that_it_leaves_the_encoders_out() -> None:
    assert resolve(registry(), "digits", "early-fusion", {}).deviations == (
        "encoders by the method's definition (*: identity)",
    )


@pytest.mark.parametrize(("key", "value", "kept"), [
    ("fusion.hidden", [32, 16], (32, 16)),
    ("fusion.dropout", 0.5, 0.5),
])  # fmt: skip
def test_parameters_can_be_set(key: str, value: object, kept: object) -> None:
    recipe = resolve(registry(), "digits", "early-fusion", {key: value})
    assert recipe.fusion.parameters == {key.partition(".")[2]: kept}
    build(recipe)


@pytest.mark.parametrize(("method", "key", "value", "message"), [
    ("tensor-fusion", "fusion.projet", 4, "no parameter 'projet'. Did you mean 'project'"),
    ("tensor-fusion", "fusion.project", "four", "project"),
    ("late-fusion", "encoder.audio.layers", "two", "layers"),
    ("late-fusion", "objective.regression", "huber", "regression"),
])  # fmt: skip
def test_wrong_parameters_are_named(method: str, key: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(registry(), "digits", method, {key: value})
