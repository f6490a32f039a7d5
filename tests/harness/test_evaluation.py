"""Costs, scores and curves against counts by hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from braidbench.data import Column, Split
from braidbench.errors import DataError
from braidbench.evaluation import robustness
from braidbench.evaluation.complexity import PeakMemory, count_flops, count_parameters, inference_seconds
from braidbench.evaluation.curves import relative_robustness
from braidbench.evaluation.robustness import measure
from braidbench.evaluation.scores import metrics_of, score
from braidbench.model import Head, MultimodalModel
from braidbench.registry import registry
from braidbench.specs import Modality, Task

TASK = Task("y", "classification", ("toy/accuracy",), classes=("a", "b"))
STEPS, FEATURES, HIDDEN = 9, 5, 7


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        return self.layer(x)[0][:, -1]


class Encoder(nn.Module):
    """torch's own encoder layer, which has a fused path of its own in evaluation."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(FEATURES, 1, HIDDEN, batch_first=True)

    def forward(self, x, lengths):
        return self.layer(x)[:, -1]


class Attention(nn.Module):
    def forward(self, x, lengths):
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0, -1]


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(FEATURES, 4, 3)

    def forward(self, x, lengths):
        return self.layer(x.transpose(1, 2)).mean(2)


class First(nn.Module):
    def forward(self, values):
        return values[0]


def split(rows: int = 6) -> Split:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((rows,), 3)
    lengths[2] = STEPS
    columns = {"x": Column.of(torch.randn(rows, STEPS, FEATURES, generator=generator), lengths)}
    modality = Modality("x", "time_series", (FEATURES,), length=STEPS)
    return Split(columns, torch.arange(rows) % 2, (modality,))


def model(encoder: nn.Module, width: int) -> MultimodalModel:
    return MultimodalModel({"x": encoder}, First(), Head(width, 2, hidden=0), TASK)


@pytest.mark.parametrize(
    ("encoder", "width", "expected"),
    [
        (lambda: Recurrent(nn.GRU), HIDDEN, 2 * STEPS * 3 * HIDDEN * (FEATURES + HIDDEN)),
        (lambda: Recurrent(nn.LSTM), HIDDEN, 2 * STEPS * 4 * HIDDEN * (FEATURES + HIDDEN)),
        (lambda: Recurrent(nn.RNN), HIDDEN, 2 * STEPS * HIDDEN * (FEATURES + HIDDEN)),
        (
            lambda: Recurrent(functools.partial(nn.LSTM, num_layers=2, bidirectional=True)),
            2 * HIDDEN,
            2 * 2 * STEPS * 4 * HIDDEN * (FEATURES + HIDDEN + 2 * HIDDEN + HIDDEN),
        ),
        (lambda: Attention(), FEATURES, 2 * 2 * STEPS * STEPS * FEATURES),
        (
            lambda: Encoder(),
            FEATURES,
            2 * STEPS * FEATURES * (4 * FEATURES + 2 * HIDDEN) + 2 * 2 * STEPS * STEPS * FEATURES,
        ),
        (lambda: Convolution(), 4, 2 * (STEPS - 2) * 3 * FEATURES * 4),
    ],
    ids=["gru", "lstm", "rnn", "two layers both ways", "attention", "encoder layer", "convolution"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operations_of_the_longest_sample(encoder, width, expected, device):
    """By hand, and the same wherever the model stands: fused kernels differ, what is computed does not."""
    assert count_flops(model(encoder(), width).to(device), split()) == expected + 2 * width * 2


def test_fused_kernels_are_off_while_operations_are_counted_and_on_again_after():
    """cuDNN's recurrent layers are one kernel, of which no counter knows what it computes."""
    seen = {}

    class Spy(nn.Module):
        def forward(self, x, lengths):
            seen["during"] = switches()
            return x[:, 0]

    def switches():
        return (
            torch.backends.cudnn.enabled,
            torch.backends.mkldnn.enabled,
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
        )

    before = switches()
    count_flops(model(Spy(), FEATURES), split())
    assert seen["during"] == (False,) * 5
    assert switches() == before


def test_frozen_parameters_count_as_total_only():
    found = model(Recurrent(nn.GRU), HIDDEN)
    for parameter in found.encoders.parameters():
        parameter.requires_grad = False
    head = 2 * HIDDEN + 2
    assert count_parameters(found) == (head, head + 3 * HIDDEN * (FEATURES + HIDDEN) + 6 * HIDDEN)


def test_inference_time_is_a_samples():
    class Sleepy(nn.Module):
        def forward(self, x, lengths):
            import time

            time.sleep(0.02)
            return x[:, 0]

    seconds, size = inference_seconds(model(Sleepy(), FEATURES), split(), batch_size=4)
    assert size == 4
    assert seconds == pytest.approx(0.02 / 4, rel=0.3)


def test_peak_memory_sees_a_tensor_come_and_go():
    before = PeakMemory(torch.device("cpu")).host()
    memory = PeakMemory(torch.device("cpu"))
    torch.ones(1 << 26).sum()
    peak = memory.host()
    assert peak - before > 200e6, "256 MB were held for a moment"
    assert memory.on_device() is None
    assert PeakMemory(torch.device("cpu")).host() < peak, "the mark is reset"


def test_undefined_scores_are_null_and_non_finite_predictions_are_refused():
    metrics = metrics_of(registry(), TASK)
    assert score(metrics, np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0])).values == {"toy/accuracy": 0.5}
    with pytest.raises(DataError, match="row 1 is not finite"):
        score(metrics, np.array([[0.9, 0.1], [np.nan, 0.8]]), np.array([0, 0]))


@pytest.mark.parametrize(
    ("scores", "sign", "expected"),
    [
        ([1.0, 1.0, 1.0], 1, 1.0),
        ([1.0, 0.5, 0.0], 1, 0.5),
        ([0.0, 1.0, 2.0], -1, -1.0),
        ([0.8, 0.6, 0.6], 1, 0.65),
        ([0.8, None, 0.6], 1, None),
    ],
)
def test_relative_robustness_by_hand(scores, sign, expected):
    found = relative_robustness([0.0, 0.5, 1.0], scores, sign)
    assert found == (None if expected is None else pytest.approx(expected))


def test_lower_error_under_noise_is_more_robust_whatever_the_direction():
    steady, fragile = [0.1, 0.1, 0.1], [0.1, 0.5, 0.9]
    grid = [0.0, 0.5, 1.0]
    assert relative_robustness(grid, steady, -1) > relative_robustness(grid, fragile, -1)
    assert relative_robustness(grid, fragile, 1) > relative_robustness(grid, steady, 1)


def test_corruption_spares_the_mask_the_padding_and_its_input(monkeypatch):
    """An observation mask is not measured data, and steps beyond the end are not there."""
    seen = {}

    def fill(x, severity, generator):
        seen.setdefault("shapes", []).append(tuple(x.shape))
        return torch.full_like(x, severity) if severity else x.clone()

    class Spy(nn.Module):
        def forward(self, x, lengths):
            seen["x"], seen["lengths"] = x, lengths
            return x[:, 0, :2]

    monkeypatch.setattr(robustness, "load_target", lambda spec: fill if spec.kind == "corruption" else accuracy)

    def accuracy(prediction, target):
        return 0.5

    noise = registry().find("corruptions", "toy/noise").spec
    monkeypatch.setattr(robustness, "applicable", lambda *_: [noise])
    data = split()
    before = data.columns["x"].all().clone()
    declared = Modality("x", "time_series", (3,), length=STEPS, missing="mask")
    spied = MultimodalModel({"x": Spy()}, First(), Head(2, 2, hidden=0), TASK)
    measure(
        registry(), spied, data, {"x": declared}, TASK, metrics_of(registry(), TASK), seed=1, batch_size=6,
        severities=(0.0, 0.5),
    )  # fmt: skip
    assert set(seen["shapes"]) == {(6, STEPS, 3)}, "only the measured channels are handed over"
    assert torch.equal(data.columns["x"].all(), before)
    changed = seen["x"]
    assert (changed[2, :, :3] == 0.5).all()
    assert torch.equal(changed[2, :, 3:], before[2, :, 3:])
    assert not changed[0, 3:].any(), "padding stays zero"


@pytest.mark.parametrize("removes", [True, False])
def test_what_is_taken_away_is_no_longer_observed(monkeypatch, removes):
    import dataclasses

    def drop_first(x, severity, generator):
        return torch.cat([torch.zeros_like(x[..., :1]), x[..., 1:]], dim=-1) if severity else x.clone()

    seen = {}

    class Spy(nn.Module):
        def forward(self, x, lengths):
            seen["x"] = x
            return x[:, 0, :2]

    spec = dataclasses.replace(registry().find("corruptions", "toy/noise").spec, removes=removes)
    monkeypatch.setattr(robustness, "applicable", lambda *_: [spec])
    monkeypatch.setattr(
        robustness, "load_target", lambda spec: drop_first if spec.kind == "corruption" else lambda *_: 0.5
    )
    values = torch.tensor([[[1.5, 2.0, 1.0, 1.0], [0.0, 3.0, 0.0, 1.0]]]).expand(2, 2, 4).clone()
    data = Split(
        {"x": Column.of(values, torch.tensor([2, 1]))}, torch.tensor([0, 1]), (Modality("x", "time_series", (4,), 2),)
    )
    declared = Modality("x", "time_series", (2,), length=2, missing="mask")
    spied = MultimodalModel({"x": Spy()}, First(), Head(2, 2, hidden=0), TASK)
    measure(
        registry(), spied, data, {"x": declared}, TASK, metrics_of(registry(), TASK), seed=1, batch_size=2,
        severities=(0.0, 1.0),
    )  # fmt: skip
    mask = seen["x"][0, :, 2:].tolist()
    assert mask == ([[0.0, 1.0], [0.0, 1.0]] if removes else [[1.0, 1.0], [0.0, 1.0]])


def test_a_corruption_that_is_not_the_identity_at_severity_zero_is_refused(monkeypatch):
    monkeypatch.setattr(robustness, "load_target", lambda spec: lambda x, severity, generator: x + 1)
    declared = Modality("x", "time_series", (FEATURES,), length=STEPS)
    found = measure(
        registry(), model(Recurrent(nn.GRU), HIDDEN), split(), {"x": declared}, TASK,
        metrics_of(registry(), TASK), seed=1, batch_size=6,
    )  # fmt: skip
    assert not found.curves
    assert {f.plugin for f in found.failures} == {
        registry().find("corruptions", f.corruption).plugin.owner for f in found.failures
    }
    assert all("at severity 0" in f.reason for f in found.failures)
