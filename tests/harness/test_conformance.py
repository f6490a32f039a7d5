"""The kit passes what keeps its contract, and of each broken component it fails the one check that names the defect."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from braidbench import (
    Corruption,
    Dataset,
    Encoder,
    Executor,
    Fusion,
    Measure,
    Method,
    Metric,
    Modality,
    Objective,
    Part,
    Procedure,
    Task,
)
from braidbench.errors import UsageError
from braidbench.registry import Registry, registry
from braidbench.specs import KINDS, Spec
from braidbench.testing import KIT_VERSION, check_component, find_components, parametrize_conformance
from braidbench.testing.kit import Report, Subject, checks_of

Run = Callable[..., Report]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Write a module with a component of the given code, and check the spec that points to it.

    A new process takes seconds, so this one is asked instead unless ``new_process`` says that it matters.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path / "data"))
    name = f"part_{tmp_path.name.replace('-', '_')}"

    def here(function: str, *arguments: object, **environment: str) -> object:
        module, _, attribute = function.partition(":")
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            return getattr(importlib.import_module(module), attribute)(*arguments)

    def check(code: str, spec: Callable[[str], Spec], new_process: bool = False, **expected: str) -> Report:
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(PREAMBLE + textwrap.dedent(code))
        importlib.invalidate_caches()
        declared = spec(f"{name}:It")
        kind = next(kind for kind, type_ in KINDS.items() if type_ is type(declared))
        with monkeypatch.context() as patch:
            if not new_process:
                patch.setattr("braidbench.testing.components.in_new_process", here)
                patch.setattr("braidbench.testing.datasets.in_new_process", here)
            return check_component(Subject(kind, declared, registry()), expected)

    yield check
    sys.modules.pop(name, None)


PREAMBLE = """
import math
import random
import numpy as np
import torch
from torch import nn
from braidbench.errors import UsageError
from braidbench.training import train

"""


def failed(report: Report) -> dict[str, str]:
    return {outcome.check: outcome.message for outcome in report.of("failed")}


def fusion(target: str) -> Spec:
    return Fusion("x/it", target)


def encoder(target: str) -> Spec:
    return Encoder("x/it", target, kinds=("time_series",), sequences="only")


def corruption(target: str) -> Spec:
    return Corruption("x/it", target, kinds=("tabular",))


def metric(target: str) -> Spec:
    return Metric("x/it", target, tasks=("classification",))


# --- what keeps its contract ------------------------------------------------------------------------------------------

SOUND_FUSION = """
class It(nn.Module):
    def __init__(self, in_dims, out_dim: int = 6):
        super().__init__()
        self.out_dim = out_dim
        self.layers = nn.ModuleList(nn.Linear(size, out_dim) for size in in_dims)

    def forward(self, values):
        return torch.stack([torch.tanh(layer(x)) for layer, x in zip(self.layers, values)]).sum(0)
"""

SOUND_ENCODER = """
class It(nn.Module):
    def __init__(self, modality, out_dim: int = 6):
        super().__init__()
        self.out_dim = out_dim
        self.layer = nn.Linear(modality.shape[0], out_dim)

    def forward(self, x, lengths):
        keep = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        x = torch.tanh(self.layer(x)).masked_fill(~keep[..., None], 0.0)
        return x.sum(1) / lengths.clamp(min=1)[:, None]
"""

SOUND_CORRUPTION = """
def It(x, severity, generator):
    return x + severity * torch.randn(x.shape, generator=generator)
"""

SOUND_METRIC = """
def It(prediction, target):
    return float((prediction.argmax(1) == target).mean())
"""


@pytest.mark.parametrize(
    ("code", "spec"),
    [
        (SOUND_FUSION, fusion),
        (SOUND_ENCODER, encoder),
        (SOUND_CORRUPTION, corruption),
        (SOUND_METRIC, metric),
    ],
    ids=["fusion", "encoder", "corruption", "metric"],
)
def test_a_sound_component_passes_every_check(run, code, spec):
    report = run(code, spec, new_process=True)
    assert not failed(report)
    assert report.ran >= 8


def test_an_encoder_that_looks_tokens_up_is_given_integers(run):
    code = SOUND_ENCODER.replace("nn.Linear(modality.shape[0], out_dim)", "nn.Embedding(50, out_dim)")
    code = code.replace("self.layer(x)", "self.layer(x[..., 0])")
    report = run(code, lambda target: Encoder("x/it", target, kinds=("text",), sequences="only"))
    assert not failed(report)


@pytest.mark.parametrize("query", ["toy/join", "toy/loss", "toy/fit", "toy/noise", "toy/accuracy", "serial"])
def test_the_toy_plugin_and_the_core_pass(query):
    for subject in find_components(registry(), [query]):
        assert not failed(check_component(subject)), subject.label


# --- what does not: one defect each, and the one check that must fail -------------------------------------------------

FUSIONS = {
    "constructs_from_its_parameters": SOUND_FUSION.replace("out_dim: int = 6", "out_dim: int"),
    "output_has_the_promised_shape": SOUND_FUSION.replace("self.out_dim = out_dim", "self.out_dim = out_dim + 1"),
    "parameters_are_registered": SOUND_FUSION.replace(
        "nn.ModuleList(nn.Linear(size, out_dim) for size in in_dims)", "[nn.Linear(size, out_dim) for size in in_dims]"
    ),
    "gradient_reaches_every_parameter": SOUND_FUSION.replace("layer(x))", "layer(x).detach() + layer.bias)"),
    "inputs_are_not_modified": SOUND_FUSION.replace("layer(x)", "layer(x.mul_(2.0))"),
    "rows_do_not_affect_each_other": SOUND_FUSION.replace("layer(x)", "layer(x - x.mean(0, keepdim=True))"),
    "same_seed_same_output_in_a_new_process": SOUND_FUSION.replace(
        "super().__init__()", "super().__init__(); self.shift = hash('a name') % 997 / 997"
    ).replace("layer(x)", "layer(x) + self.shift"),
    "weights_survive_a_save_and_a_load": SOUND_FUSION.replace(
        "super().__init__()", "super().__init__(); self.shift = torch.randn(out_dim)"
    ).replace("layer(x)", "layer(x) + self.shift"),
    "follows_the_device_of_its_input": SOUND_FUSION.replace("layer(x)", "layer(x) + torch.ones(len(x), 1)"),
    "overfits_sixteen_samples": SOUND_FUSION.replace(
        "torch.tanh(layer(x))", "layer(x) - layer(x).detach() + layer.bias"
    ),
}

ENCODERS = {
    "padding_changes_nothing": SOUND_ENCODER.replace(".masked_fill(~keep[..., None], 0.0)", "").replace(
        "x.sum(1) / lengths.clamp(min=1)[:, None]", "x.mean(1)"
    ),
    "a_sequence_of_no_steps_is_finite": SOUND_ENCODER.replace("lengths.clamp(min=1)", "lengths"),
    "follows_the_device_of_its_input": SOUND_ENCODER.replace(", device=x.device", ""),
    "what_it_declares_was_tried": SOUND_ENCODER.replace(
        "super().__init__()", "super().__init__()\n        if modality.kind == 'audio': raise UsageError('no audio')"
    ),
}

CORRUPTIONS = {
    "keeps_shape_and_type": SOUND_CORRUPTION.replace("return x", "return x.double()"),
    "severity_zero_changes_nothing": SOUND_CORRUPTION.replace("severity *", "(severity + 0.1) *"),
    "input_is_not_modified": SOUND_CORRUPTION.replace(
        "return x + severity * torch.randn(x.shape, generator=generator)",
        "return x.add_(severity * torch.randn(x.shape, generator=generator))",
    ),
    "is_finite_at_full_severity": SOUND_CORRUPTION.replace("severity *", "severity / (1 - severity) *").replace(
        "return x", "if severity == 1: return x / 0 * 0\n    return x"
    ),
    "same_generator_same_output": SOUND_CORRUPTION.replace(", generator=generator", ""),
    "another_seed_another_output": SOUND_CORRUPTION.replace(
        "return", "generator.manual_seed(3)\n    torch.rand(1, generator=generator)\n    return"
    ),
    "grows_with_severity": SOUND_CORRUPTION.replace("severity *", "severity * (1.2 - severity) *"),
}

METRICS = {
    "gives_a_number": SOUND_METRIC.replace("float((", "((").replace(".mean())", ")"),
    "direction_is_right": SOUND_METRIC.replace("==", "!="),
    "perfect_prediction_reaches_the_bound": SOUND_METRIC.replace("float(", "0.5 * float("),
    "stays_within_its_bounds": SOUND_METRIC.replace("float(", "1.5 * float(").replace(".mean())", ".mean()) - 0.5"),
    "order_of_samples_does_not_matter": SOUND_METRIC.replace(
        "(prediction.argmax(1) == target).mean()",
        "np.average(prediction.argmax(1) == target, weights=np.arange(1, len(target) + 1))",
    ),
    "inputs_are_not_modified": SOUND_METRIC.replace("    return", "    prediction *= 2\n    return"),
    "one_class_or_no_variance_does_not_raise": SOUND_METRIC.replace(
        "    return", "    if len(set(target)) == 1: raise ValueError('one class')\n    return"
    ),
}


@pytest.mark.parametrize("check", FUSIONS)
def test_a_broken_fusion_fails_exactly_the_right_check(run, check):
    report = run(FUSIONS[check], fusion, new_process="new_process" in check)
    assert list(failed(report)) == [check]


@pytest.mark.parametrize("check", ENCODERS)
def test_a_broken_encoder_fails_exactly_the_right_check(run, check):
    kinds = ("time_series", "audio") if check == "what_it_declares_was_tried" else ("time_series",)
    report = run(ENCODERS[check], lambda target: Encoder("x/it", target, kinds=kinds, sequences="only"))
    assert list(failed(report)) == [check]


@pytest.mark.parametrize("check", CORRUPTIONS)
def test_a_broken_corruption_fails_exactly_the_right_check(run, check):
    assert list(failed(run(CORRUPTIONS[check], corruption))) == [check]


@pytest.mark.parametrize("check", METRICS)
def test_a_broken_metric_fails_exactly_the_right_check(run, check):
    assert list(failed(run(METRICS[check], metric))) == [check]


LOSS = """
class It:
    def __call__(self, output, batch, model):
        return {"task": nn.functional.cross_entropy(output.prediction, batch.target)}
"""

OBJECTIVES = {
    "builds_from_its_parameters": LOSS.replace(
        "def __call__", "def __init__(self, weight: float): pass\n    def __call__"
    ),
    "terms_are_finite_scalars": LOSS.replace("batch.target)", "batch.target, reduction='none')"),
    "gradient_reaches_the_model": LOSS.replace("output.prediction", "output.prediction.detach()"),
    "batch_and_output_are_not_modified": LOSS.replace(
        "        return", "        for x in batch.inputs.values(): x.zero_()\n        return"
    ),
    "runs_in_bfloat16_or_says_that_it_cannot": LOSS.replace(
        "        return",
        "        rows = torch.arange(len(batch.target), device=batch.target.device)\n"
        "        sums = torch.zeros_like(output.prediction, dtype=torch.float32)\n"
        "        sums.index_add(0, rows, output.prediction)\n        return",
    ),
    "overfits_sixteen_samples": LOSS.replace("batch.target)", "1 - batch.target)"),
}


@pytest.mark.parametrize("check", [None, *OBJECTIVES])
def test_a_broken_objective_fails_exactly_the_right_check(run, check):
    report = run(OBJECTIVES.get(check, LOSS), lambda t: Objective("x/it", t, tasks=("classification",)))
    assert list(failed(report)) == ([check] if check else [])


def test_an_objective_that_needs_float32_says_so_and_passes(run):
    broken = OBJECTIVES["runs_in_bfloat16_or_says_that_it_cannot"]
    report = run(broken, lambda t: Objective("x/it", t, tasks=("classification",), full_precision=True))
    assert failed(report) == {}


FIT = """
class It:
    def fit(self, model, data, settings):
        train(model, data, settings)
        return model
"""

PROCEDURES = {
    "runs_end_to_end": FIT.replace("return model", "pass"),
    "same_seed_same_predictions": FIT.replace(
        "        return",
        "        with torch.no_grad(): model.head.layers[-1].bias[0] += 0.01 * random.random()\n        return",
    ),
    "overfits_sixteen_samples": FIT.replace(
        "        train(",
        "        for p in model.parameters(): p.requires_grad_(p is model.head.layers[-1].bias)\n        train(",
    ),
}


@pytest.mark.parametrize("check", [None, *PROCEDURES])
def test_a_broken_procedure_fails_exactly_the_right_check(run, check):
    report = run(PROCEDURES.get(check, FIT), lambda t: Procedure("x/it", t))
    assert list(failed(report)) == ([check] if check else [])


def test_a_method_of_parts_that_do_not_exist_is_named(run):
    parts = {"objective": "toy/loss", "procedure": "toy/fit"}
    report = run("It = None", lambda _: Method("x/it", fusion="toy/jion", **parts))
    [(check, message)] = failed(report).items()
    assert check == "builds_from_its_parameters"
    assert "toy/join" in message


@pytest.mark.parametrize("name", ["toy/each", "toy/three", "toy/tuned"])
def test_methods_of_one_modality_of_three_and_with_defaults_pass(name):
    [subject] = find_components(registry(), [f"method:{name}"])
    assert not failed(check_component(subject))


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("toy/nan", "runs_end_to_end", "the training loss is nan"),
        ("toy/raises", "builds_from_its_parameters", "it raised"),
    ],
)
def test_a_method_that_goes_wrong_is_named(name, check, said):
    [subject] = find_components(registry(), [f"method:{name}"])
    found = failed(check_component(subject))
    assert list(found) == [check]
    assert said in found[check]


def test_what_needs_a_package_that_is_not_here_is_skipped_and_has_not_passed(cli):
    [subject] = find_components(registry(), ["fusion:toy/absent"])
    report = check_component(subject)
    assert not failed(report)
    assert not report.passed
    done = cli("check", "fusion:toy/absent")
    assert done.returncode == 1
    assert "pip install" in done.stdout
    assert "not checked, so not passed" in done.stdout


DATA = """
def It(files):
    x = np.random.default_rng(4).normal(size=(60, 3)).astype(np.float32)
    y = np.arange(60) % 2
    rows = {"train": slice(0, 30), "valid": slice(30, 45), "test": slice(45, 60)}
    return {split: {"v": x[rows[split]], "y": y[rows[split]]} for split in rows}
"""

DATASETS = {
    "splits_are_disjoint": DATA.replace("slice(45, 60)", "slice(44, 59)"),
    "loads": DATA.replace("slice(30, 45)", "slice(30, 44)"),
    "every_class_can_be_learned": DATA.replace("np.arange(60) % 2", "np.arange(60) % 2 * (np.arange(60) >= 30)"),
    "prepared_twice_is_the_same": DATA.replace("    y =", "    x[0, 0] = random.random()\n    y ="),
}


def dataset(target: str, **changes: object) -> Dataset:
    declared = {
        "modalities": (Modality("v", "tabular", (3,), normalise="standard"),),
        "tasks": (Task("y", "classification", ("toy/accuracy",), classes=("a", "b")),),
        "splits": {"train": 30, "valid": 15, "test": 15},
        "encoders": {"v": Part("toy/linear", out_dim=4)},
        **dict.fromkeys(("summary", "area", "licence", "citation", "recipe"), "some text"),
    }
    return Dataset("x/it", target, **{**declared, **changes})


@pytest.mark.parametrize("check", [None, *DATASETS])
def test_a_broken_dataset_fails_exactly_the_right_check(run, check):
    report = run(DATASETS.get(check, DATA), dataset, new_process=check is None or "twice" in check)
    assert list(failed(report)) == ([check] if check else [])


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"licence": ""}, "says_what_a_reader_needs", "licence"),
        ({"splits": {"train": 30}}, "says_what_a_reader_needs", "valid, test"),
        ({"encoders": {"v": "toy/liner"}}, "its_parts_exist", "toy/linear"),
        ({"tasks": (Task("y", "classification", ("nonsense",), classes=("a", "b")),)}, "its_parts_exist", "nonsense"),
        ({"tasks": (Task("y", "regression", ("toy/accuracy",)),)}, "its_parts_exist", "toy/accuracy"),
    ],
)
def test_a_wrong_declaration_of_a_dataset_is_named(run, changes, check, said):
    [(failed_check, message)] = failed(run(DATA, lambda target: dataset(target, **changes))).items()
    assert failed_check == check
    assert said in message


def test_a_dataset_whose_files_are_not_here_is_skipped_and_says_where_they_belong(run):
    official = {"source": "official", "files": ("data.npy",), "obtain": "Published at https://example.org/x."}
    report = run(DATA, lambda target: dataset(target, **official))
    assert not failed(report)
    [skipped] = [outcome for outcome in report.of("skipped") if outcome.check == "loads"]
    assert "https://example.org/x" in skipped.message
    assert all("loads" in outcome.message for outcome in report.of("skipped") if outcome.check != "loads")


def test_an_executor_that_loses_a_cell_and_a_measure_without_defaults_are_named(run):
    lost = """
        class It:
            def __init__(self, jobs=1): pass
            def run(self, cells, execute, progress, wait=False):
                for cell in cells[1:]:
                    yield cell, execute(cell.request, print, wait)
        """
    assert list(failed(run(lost, lambda t: Executor("x/it", t, summary="…")))) == ["runs_every_cell_once"]


def test_a_measure_without_defaults_is_named(run):
    bare = "def It(data, bins): return {}"
    assert list(failed(run(bare, lambda t: Measure("x/it", t, summary="…")))) == ["takes_data_first"]


# --- what the kit says ------------------------------------------------------------------------------------------------


def test_every_failure_is_one_line_that_says_how_to_mend_it(run):
    report = run(FUSIONS["follows_the_device_of_its_input"], fusion)
    [message] = failed(report).values()
    assert "\n" not in message
    assert "device=x.device" in message


def test_what_a_component_raises_is_a_failure_with_its_place(run):
    code = SOUND_METRIC.replace("return", "return 1 / 0 +")
    [message] = failed(run(code, metric)).values()
    assert "ZeroDivisionError" in message
    assert ".py:" in message


def test_one_defect_is_one_failure_and_the_rest_says_so(run):
    report = run(FUSIONS["parameters_are_registered"], fusion)
    said = {o.message for o in report.of("skipped") if o.root}
    assert said == {"parameters_are_registered failed"}
    assert report.ran + len(report.of("skipped")) == len(checks_of("fusions"))


def test_an_expected_failure_is_counted_apart_and_must_fail(run):
    code = FUSIONS["follows_the_device_of_its_input"]
    report = run(code, fusion, follows_the_device_of_its_input="only ever on the CPU")
    assert not failed(report)
    [expected] = report.of("expected")
    assert expected.message.startswith("only ever on the CPU")
    report = run(SOUND_FUSION, fusion, follows_the_device_of_its_input="only ever on the CPU")
    assert "passes now" in failed(report)["follows_the_device_of_its_input"]
    with pytest.raises(UsageError, match="overfits_sixteen_samples"):
        run(SOUND_FUSION, fusion, overfits_sixteen_sample="…")


def test_names_mean_every_kind_that_has_them_and_unknown_ones_are_refused():
    assert [s.label for s in find_components(registry(), ["toy/join"])] == ["fusion:toy/join", "method:toy/join"]
    assert [s.label for s in find_components(registry(), ["method:toy/join"])] == ["method:toy/join"]
    names = {s.spec.name for s in find_components(registry(), plugin="braid-toy")}
    assert {"toy/pair", "toy/noise"} <= names
    with pytest.raises(UsageError, match="toy/join"):
        find_components(registry(), ["toy/jion"])
    with pytest.raises(UsageError, match="braid-toy"):
        find_components(registry(), plugin="braid-tyo")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_checks_and_every_check_says_what_it_is(kind):
    assert len(checks_of(kind)) >= 3
    for check in checks_of(kind).values():
        assert check.function.__doc__, check.name
        before = list(checks_of(kind))[: list(checks_of(kind)).index(check.name)]
        assert set(check.needs) <= set(before)


def test_a_part_can_be_sent_to_another_process():
    part = Part("lenet", channels=6)
    assert pickle.loads(pickle.dumps(part)) == part == copy.deepcopy(part)


# --- the two doors ----------------------------------------------------------------------------------------------------


def test_pytest_gets_one_test_a_check(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import braidbench.testing\n"
        "test_noise = braidbench.testing.parametrize_conformance('toy/noise')\n"
        "test_steps = braidbench.testing.parametrize_conformance(\n"
        "    'fusion:toy/steps', expected_failures={'what_it_declares_was_tried': 'because'})\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rA",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        "test_it.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    for name in checks_of("corruptions"):
        assert f"PASSED test_it.py::test_noise[corruption:toy/noise-{name}]" in done.stdout
    assert "FAILED test_it.py::test_steps[fusion:toy/steps-what_it_declares_was_tried]" in done.stdout
    assert done.returncode == 1
    assert "Traceback" not in done.stdout


def test_the_kit_imports_neither_torch_nor_pytest_until_it_is_used():
    code = "import sys, braidbench.testing.kit, braidbench.testing; print({'torch', 'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_parametrize_refuses_unknown_names_and_checks():
    with pytest.raises(UsageError, match="toy/join"):
        parametrize_conformance("toy/jion")
    with pytest.raises(UsageError, match="inputs_are_not_modified"):
        parametrize_conformance("toy/join", expected_failures={"inputs_are_not_modifid": "…"})
    with pytest.raises(UsageError):
        parametrize_conformance(found=Registry([]))


def test_the_command_prints_counts_and_exits_with_what_it_found(cli):
    done = cli("check", "corruption:toy/noise", "toy/accuracy")
    assert (done.returncode, done.stderr) == (0, "")
    count = len(checks_of("corruptions")) + len(checks_of("metrics"))
    assert done.stdout.splitlines()[-1] == (
        f"2 components: ran {count} checks, 0 failed; skipped 0; expected failures 0 (conformance kit {KIT_VERSION})"
    )


def test_the_command_fails_in_one_line_and_shows_the_traceback_when_asked(cli):
    # Its loader takes a file that no distribution ships, and its declaration is short on purpose.
    done = cli("check", "dataset:toy/packaged")
    assert done.returncode == 1
    assert "failed   says_what_a_reader_needs: its declaration leaves summary" in done.stdout
    assert "no-such-distribution" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Traceback" in cli("check", "-v", "dataset:toy/packaged").stdout


def test_the_command_gives_json_and_takes_expected_failures(cli):
    done = cli("check", "dataset:toy/packaged", "--expect-failure", "says_what_a_reader_needs=a fixture", "--json")
    assert done.returncode == 0
    content = json.loads(done.stdout)
    assert content["kit_version"] == KIT_VERSION
    [component] = content["components"]
    assert (component["kind"], component["name"], component["expected"], component["failed"]) == (
        "dataset",
        "toy/packaged",
        1,
        0,
    )
    assert component["ran"] + component["skipped"] == len(component["checks"]) == len(checks_of("datasets"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy/jion"], "Did you mean 'toy/join'?"),
        (["--plugin", "braid-tyo"], "Did you mean 'braid-toy'?"),
        (["toy/join", "--expect-failure", "nothing=because"], "no check 'nothing'"),
        (["toy/join", "--expect-failure", "nothing"], "CHECK=REASON"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(cli, arguments, said):
    done = cli("check", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
