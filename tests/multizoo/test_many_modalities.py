"""Datasets of many modalities: a method serves them, or says in a plan why it does not; none fails in a run."""

from __future__ import annotations

import importlib.metadata
import itertools
import resource
import sys
import time
import types
from collections.abc import Iterator

import pytest
import torch

import braidbench
from braidbench import Dataset, Modality, Task
from braidbench.assembly import build
from braidbench.data import Batch
from braidbench.recipe import CannotServeError, Recipe, resolve, rows_of
from braidbench.registry import Registry
from braidbench_multizoo.fusions.attention.mult import MulT, MulTOfVectors, _weights
from braidbench_multizoo.fusions.interactions import MultiplicativeInteractions
from braidbench_multizoo.fusions.tensor import TensorFusion

TASK = Task("y", "classification", ("accuracy",), classes=("u", "v"))
COUNTS = (2, 3, 5, 6, 8, 12, 18, 30, 60)
KINDS = {"tabular": None, "time_series": 20}
LARGEST = 1 << 26
"""Parameters: 0.27 GB."""


def modalities(kind: str, count: int) -> tuple[Modality, ...]:
    return tuple(Modality(f"m{index:02d}", kind, (3,), length=KINDS[kind]) for index in range(count))


@pytest.fixture(scope="module")
def found() -> Iterator[Registry]:
    """The plugins that are installed, and one with a dataset for every kind and number of modalities."""
    module = types.ModuleType("many_modalities")

    @braidbench.hookimpl
    def register_datasets() -> Iterator[Dataset]:
        for kind, count in itertools.product(KINDS, COUNTS):
            yield Dataset(
                f"many/{kind}{count}", "many_modalities:load", modalities=modalities(kind, count), tasks=(TASK,)
            )

    module.register_datasets = register_datasets  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    ours = importlib.metadata.EntryPoint("many", module.__name__, "braidbench.v1")
    yield Registry([*importlib.metadata.entry_points(group="braidbench.v1"), ours])
    del sys.modules[module.__name__]


def planned(found: Registry, dataset: str) -> Iterator[tuple[str, Recipe | str]]:
    """Each of our methods with its recipe, or with the reason why it is skipped."""
    spec = found.find("datasets", dataset).spec
    for registered in found.all("methods"):
        if registered.plugin.module == "braidbench_multizoo":
            name = registered.spec.name
            try:
                yield name, resolve(found, dataset, rows_of(found, name, spec)[0], {})
            except CannotServeError as error:
                yield name, str(error)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_is_skipped_with_its_reason_or_its_model_is_built(found, kind, count):
    seen = 0
    for name, recipe in planned(found, f"many/{kind}{count}"):
        start, seen = time.process_time(), seen + 1
        if isinstance(recipe, str):
            assert name in recipe or "fusion" in recipe or "encoder" in recipe or "preprocessing" in recipe, recipe
            assert len(recipe) < 3_000, name
            continue
        with torch.device("meta"):
            model, _ = build(recipe)
        assert sum(parameter.numel() for parameter in model.parameters()) < LARGEST, name
        assert time.process_time() - start < 5, name
    assert seen == 47


def test_what_is_built_for_thirty_also_learns(found):
    """A loss over all subsets would build, and never come to its end."""
    rows, done = 4, []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, recipe in planned(found, "many/tabular30"):
        if isinstance(recipe, str):
            continue
        start = time.process_time()
        torch.manual_seed(0)
        model, objective = build(recipe)
        inputs = {m.name: torch.rand(rows, *m.shape) for m in recipe.modalities}
        lengths: dict[str, torch.Tensor | None] = dict.fromkeys(inputs)
        batch = Batch(inputs, lengths, torch.arange(rows) % 2, torch.arange(rows))
        output = model.train()(inputs, lengths)
        losses = objective(output, batch, model)
        total = sum(losses.values()) if isinstance(losses, dict) else losses
        assert torch.isfinite(total), name
        total.backward()
        assert time.process_time() - start < 10, name
        done.append(name)
    assert {"late-fusion", "low-rank-tensor-fusion", "mvae", "mfm", "contrastive", "cca"} <= set(done)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 1e9


def test_the_product_is_refused_exactly_above_its_limit(found):
    """17^4 = 83,521 and 17^5 = 1,419,857 around 2^18 = 262,144, whatever is set."""

    def reason(count: int, **overrides: object) -> str | None:
        try:
            recipe = resolve(
                found, f"many/tabular{count}", "tensor-fusion", {f"fusion.{k}": v for k, v in overrides.items()}
            )
        except CannotServeError as error:
            return str(error)
        with torch.device("meta"):
            assert build(recipe)[0].fusion.out_dim <= recipe.fusion.parameters.get("limit", 1 << 18)
        return None

    assert reason(3) is None
    assert "1,419,857 numbers wide, 17^5" in str(reason(5))
    assert "--set fusion.project=11" in str(reason(5)), "12^5 = 248,832"
    assert reason(5, project=11) is None
    assert reason(5, project=12) is not None
    assert reason(5, limit=1_419_857) is None
    assert reason(5, limit=1_419_856) is not None
    assert reason(18, project=1) is None, "2^18"
    assert "use low-rank-tensor-fusion" in str(reason(30, project=1))
    assert "2^30" in str(TensorFusion.skip(modalities("tabular", 30), TASK)), "of widths that nobody knows"


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize(("count", "targets"), [(4, None), (4, (0,)), (10, None)])
def test_a_multimodal_transformer_counts_its_weights(count, targets, self_pairs):
    with torch.device("meta"):
        built = MulT([3] * count, width=32, layers=2, self_layers=3, targets=targets, self_pairs=self_pairs)
    actual = sum(parameter.numel() for parameter in built.parameters())
    counted = _weights(count, 32, 2, 3, len(targets or range(count)), self_pairs)
    # Shifts, gains and the embeddings are the rest.
    assert 0.95 * actual < counted < actual


def test_a_multimodal_transformer_is_refused_exactly_above_its_limit(found):
    most = _weights(8, 32, 2, 2, 8, False)
    many = modalities("time_series", 8)
    assert MulT.skip(many, TASK, limit=most) is None
    assert f"{most:,} weights" in str(MulT.skip(many, TASK, limit=most - 1))
    assert MulTOfVectors.skip(modalities("tabular", 30), TASK) is not None
    assert MulTOfVectors.skip(modalities("tabular", 30), TASK, targets=(0,)) is None
    with pytest.raises(CannotServeError, match="of which 30 hear 29 each"):
        resolve(found, "many/time_series30", "mult", {})
    resolve(found, "many/time_series30", "mult", {"fusion.width": 4})


def test_multiplicative_interactions_are_refused_exactly_above_their_limit():
    three = modalities("tabular", 3)
    # 101 · 101 · (100 · 64 + 64), and 17 · 17 · (16 · 64 + 64) of 16 numbers each.
    assert MultiplicativeInteractions.skip(three, TASK, [100] * 3, limit=101 * 101 * 6464) is None
    assert "65,939,264 weights" in str(
        MultiplicativeInteractions.skip(three, TASK, [100] * 3, limit=101 * 101 * 6464 - 1)
    )
    assert MultiplicativeInteractions.skip(three, TASK, [512] * 3) is not None
    assert MultiplicativeInteractions.skip(three, TASK, [512] * 3, project=16) is None
