"""What the plugin declares: every target exists, nothing heavy is imported, every name and field is filled."""

from __future__ import annotations

import subprocess
import sys

import pytest

from braidbench.registry import load_target
from braidbench.specs import Dataset
from braidbench_multibench import register_corruptions, register_datasets, register_metrics

NAMES = {"digits", "cohort", "sp500-food", "sp500-health", "sp500-tech", "numerals", "wrist", "av-mnist"}
AREAS = {"affective computing", "healthcare", "robotics", "finance", "hci", "multimedia", "simulation"}


def test_names() -> None:
    assert {spec.name for spec in register_datasets()} == NAMES
    assert {spec.name for spec in register_metrics()} == {
        "accuracy", "macro-f1", "micro-f1", "auroc", "auprc", "mse", "mae", "pearson",
    }  # fmt: skip
    kinds = {kind for spec in register_corruptions() for kind in spec.kinds or ("any",)}
    assert kinds == {"image", "audio", "time_series", "tabular", "any"}


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'pandas', 'scipy', 'sklearn', 'datasets', 'pyarrow'}"
    code = (
        "import sys, braidbench_multibench as p\n"
        "for hook in (p.register_datasets, p.register_metrics, p.register_corruptions): list(hook())\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "spec", [*register_datasets(), *register_metrics(), *register_corruptions()], ids=lambda spec: spec.name
)
def test_targets_resolve(spec: object) -> None:
    assert callable(load_target(spec))  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", list(register_datasets()), ids=lambda spec: spec.name)
def test_datasets_say_what_a_reader_needs(spec: Dataset) -> None:
    assert spec.area in AREAS
    for field in ("summary", "licence", "homepage", "citation", "recipe"):
        assert getattr(spec, field), field
    assert set(spec.encoders) == {modality.name for modality in spec.modalities}
    metrics = {metric.name: metric for metric in register_metrics()}
    for task in spec.tasks:
        assert all(task.kind in metrics[name].tasks for name in task.metrics)
    if spec.source == "official":
        assert spec.files
        assert spec.obtain
    else:
        assert spec.packages
        assert set(spec.splits) == {"train", "valid", "test"}
