"""Encoders of the vectors family: values written out, lengths and padding, sizes, batches of one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.averaging import DeepAveraging
from braidbench_multizoo.encoders.maxout import MaxOutMLP
from braidbench_multizoo.encoders.recurrent import LSTM
from braidbench_multizoo.encoders.residual import ResidualCNN, ResidualMLP
from braidbench_multizoo.encoders.variational import TimeSeriesVAE
from braidbench_multizoo.encoders.vision import VGG, ResNet

ROW = Modality("row", "tabular", (5,))
SERIES = Modality("series", "time_series", (3,), length=9)
PICTURE = Modality("picture", "image", (2, 16, 20))
FRAMES = Modality("frames", "video", (2, 8, 8), length=9)
LENGTHS = torch.tensor([5, 1, 7, 3])
STEPS = 7

Build = Callable[..., Any]

SEQUENCE_ENCODERS: dict[str, tuple[Modality, Build]] = {
    "deep-averaging": (SERIES, lambda **k: DeepAveraging(SERIES, out_dim=6, **k)),
    "deep-averaging-embedded": (SERIES, lambda **k: DeepAveraging(SERIES, out_dim=6, embed=4, **k)),
    "time-series-vae": (SERIES, lambda **k: TimeSeriesVAE(SERIES, latent=3, hidden=5, **k)),
    "maxout-mlp": (SERIES, lambda **k: MaxOutMLP(SERIES, out_dim=6, **k)),
    "residual-mlp": (SERIES, lambda **k: ResidualMLP(SERIES, out_dim=6, **k)),
    "residual-mlp-steps": (SERIES, lambda **k: ResidualMLP(SERIES, out_dim=6, form="sequence", **k)),
    "residual-cnn": (FRAMES, lambda **k: ResidualCNN(FRAMES, out_dim=6, width=4, **k)),
    "residual-cnn-steps": (FRAMES, lambda **k: ResidualCNN(FRAMES, out_dim=6, width=4, form="sequence", **k)),
    "resnet": (FRAMES, lambda **k: ResNet(FRAMES, out_dim=6, channels=4, **k)),
    "resnet-steps": (FRAMES, lambda **k: ResNet(FRAMES, out_dim=6, channels=4, form="sequence", **k)),
    "resnet-lstm": (FRAMES, lambda **k: ResNet(FRAMES, out_dim=6, channels=4, temporal="lstm", **k)),
    "resnet-lstm-steps": (
        FRAMES,
        lambda **k: ResNet(FRAMES, out_dim=6, channels=4, temporal="lstm", form="sequence", **k),
    ),
}


def draw(modality: Modality, rows: int = 4, steps: int = STEPS) -> Tensor:
    shape = (rows, *((steps,) if modality.is_sequence else ()), *modality.shape)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def padded(x: Tensor, lengths: Tensor, value: float) -> Tensor:
    past = torch.arange(x.shape[1]) >= lengths[:, None]
    return x.masked_fill(past.reshape(*past.shape, *(1,) * (x.ndim - 2)), value)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


def warmed(encoder: Any, modality: Modality) -> Any:
    """The encoder in double precision, its running statistics other than at the start, in evaluation."""
    encoder = encoder.double().train()
    with torch.no_grad():
        encoder(draw(modality), LENGTHS if modality.is_sequence else None)
    return encoder.eval()


@pytest.fixture(params=list(SEQUENCE_ENCODERS))
def case(request: pytest.FixtureRequest) -> tuple[Any, Modality]:
    torch.manual_seed(0)
    modality, build = SEQUENCE_ENCODERS[request.param]
    return warmed(build(), modality), modality


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e6, math.nan, math.inf])
@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing(case: tuple[Any, Modality], value: float, training: bool) -> None:
    """Neither the result nor a gradient, nor what batch normalisation remembers, in training neither."""
    encoder, modality = case
    encoder.train(training)
    results, gradients, buffers = [], [], []
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for fill in (0.0, value):
        encoder.load_state_dict(state)
        encoder.zero_grad()
        torch.manual_seed(3)
        results.append(encoder(padded(draw(modality), LENGTHS, fill), LENGTHS))
        results[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
        buffers.append([b.clone() for b in encoder.buffers()])
    close(results[1], results[0])
    for one, other in itertools.chain(zip(*gradients, strict=True), zip(*buffers, strict=True)):
        close(one.double(), other.double())


def test_each_row_as_if_alone(case: tuple[Any, Modality]) -> None:
    encoder, modality = case
    x = draw(modality)
    together = encoder(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(x[row : row + 1, :length], torch.tensor([length]))[0]
        close(together[row] if together.ndim == 2 else together[row, :length], alone)
        assert together.ndim == 2 or not together[row, length:].any(), "padding gives zeros"


def test_no_lengths_means_all_steps(case: tuple[Any, Modality]) -> None:
    encoder, modality = case
    close(encoder(draw(modality), None), encoder(draw(modality), torch.full((4,), STEPS)))


@pytest.mark.parametrize("lengths", [[5, 0, 7, 0], [0, 0, 0, 0]])
@pytest.mark.parametrize("training", [False, True])
def test_rows_without_steps(case: tuple[Any, Modality], lengths: list[int], training: bool) -> None:
    """Finite, the same whatever stands in them, and no gradient but finite ones; also where all rows are empty."""
    encoder, modality = case
    encoder.train(training)
    spans = torch.tensor(lengths)
    given = encoder(padded(draw(modality), spans, math.nan), spans)
    assert bool(torch.isfinite(given).all())
    if not training or not isinstance(encoder, MaxOutMLP):
        close(given[1], given[3])
    if not training and any(lengths):
        close(given[[0, 2]], encoder(draw(modality)[[0, 2]], spans[[0, 2]]))
    given.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())


@pytest.mark.parametrize("rows", [1, 7])
def test_gradient_reaches_every_parameter(case: tuple[Any, Modality], rows: int) -> None:
    encoder, modality = case
    encoder.train()
    encoder.zero_grad()
    torch.manual_seed(0)
    given = encoder(draw(modality, rows), torch.full((rows,), STEPS))
    assert given.shape == ((rows, 6) if given.ndim == 2 else (rows, STEPS, 6))
    assert encoder.out_dim == 6
    (given.square() * torch.arange(1.0, 7)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# --- VGG and ResNet ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "expected"), [(11, 9_220_480), (16, 14_714_688), (19, 20_024_384)])
def test_vgg_has_the_published_convolutions(depth: int, expected: int) -> None:
    """Weights and biases of the published feature layers; here normalisation's shift stands for the bias."""
    encoder = VGG(Modality("p", "image", (3, 224, 224)), channels=64, depth=depth)  # type: ignore[arg-type]
    scales = sum(m.weight.numel() for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
    assert sum(p.numel() for p in encoder.layers.parameters()) - scales == expected
    assert encoder.project.in_features == 512 * 7 * 7


def test_resnet18_has_the_published_size() -> None:
    encoder = ResNet(Modality("p", "image", (3, 224, 224)), out_dim=1000, channels=64, depth=18)
    assert sum(p.numel() for p in encoder.parameters()) == 11_689_512
    assert (
        sum(p.numel() for p in ResNet(Modality("p", "image", (3, 224, 224)), 1000, 34, 64).parameters()) == 21_797_672
    )


def test_vgg_by_hand() -> None:
    """Two stages for 4 × 7 pixels: convolution, normalisation by running statistics, rectification, pooling."""
    modality = Modality("p", "image", (2, 4, 7))
    encoder = warmed(VGG(modality, out_dim=3, channels=2), modality)
    x = draw(modality)
    for first, normal in ((0, 1), (4, 5)):
        convolution, normalise = encoder.layers[first], encoder.layers[normal]
        x = functional.conv2d(x, convolution.weight, padding=1)
        mean, deviation = normalise.running_mean, (normalise.running_var + 1e-5).sqrt()
        x = (x - mean[:, None, None]) / deviation[:, None, None] * normalise.weight[:, None, None]
        x = functional.max_pool2d((x + normalise.bias[:, None, None]).clamp(min=0), 2)
    assert x.shape == (4, 4, 1, 1)
    close(encoder(draw(modality)), x.flatten(1) @ encoder.project.weight.T + encoder.project.bias)


def test_resnet_block_by_hand() -> None:
    torch.manual_seed(0)
    encoder = warmed(ResNet(PICTURE, channels=4), PICTURE)
    block, x = encoder.blocks[1], torch.randn(2, 4, 6, 6, dtype=torch.float64)
    inner = block.layers[1](functional.conv2d(x, block.layers[0].weight, stride=2, padding=1)).clamp(min=0)
    inner = block.layers[4](functional.conv2d(inner, block.layers[3].weight, padding=1))
    outer = block.shortcut[1](functional.conv2d(x, block.shortcut[0].weight, stride=2))
    close(block(x), (inner + outer).clamp(min=0))


def test_resnet_over_frames_is_a_resnet_of_pictures() -> None:
    """The mean of what the same weights give for each real frame; with an LSTM, its state after the last one."""
    torch.manual_seed(0)
    encoder = warmed(ResNet(FRAMES, out_dim=6, channels=4), FRAMES)
    still = ResNet(Modality("p", "image", FRAMES.shape), out_dim=6, channels=4).double().eval()
    still.load_state_dict(encoder.state_dict())
    x, given = draw(FRAMES), encoder(draw(FRAMES), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        close(given[row], still(x[row, :length]).mean(0))

    recurrent = warmed(ResNet(FRAMES, out_dim=6, channels=4, temporal="lstm"), FRAMES)
    for row, length in enumerate(LENGTHS.tolist()):
        states, _ = recurrent.recurrence(recurrent._picture(x[row, :length]).unsqueeze(0))
        close(recurrent(x, LENGTHS)[row], recurrent.project(states[0, -1]))


@pytest.mark.parametrize("make", [VGG, ResNet])
@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (3, 5, 100), (1, 112, 112), (3, 64, 80)])
def test_pictures_of_every_size_and_a_batch_of_one(make: Any, shape: tuple[int, ...]) -> None:
    encoder = make(Modality("p", "image", shape), out_dim=6, channels=2).train()
    for rows in (1, 2):
        encoder(torch.rand(rows, *shape)).sum().backward()
    assert encoder.eval()(torch.rand(1, *shape)).shape == (1, 6)


@pytest.mark.parametrize(("make", "name"), [(VGG, "vgg"), (ResNet, "resnet")])
def test_pictures_that_are_refused(make: Any, name: str) -> None:
    with pytest.raises(UsageError, match=f"encoder '{name}' reads .channels, height, width.; 'row' has shape"):
        make(ROW)
    with pytest.raises(UsageError, match=r"needs 4 × 4 pixels or more; 'p' has shape \(1, 3, 9\): use 'mlp'"):
        make(Modality("p", "image", (1, 3, 9)))


# --- maxout -----------------------------------------------------------------------------------------------------------


def test_maxout_against_numpy() -> None:
    encoder = warmed(MaxOutMLP(ROW, out_dim=3, hidden=(4, 2), pieces=3), ROW)
    x = draw(ROW).numpy()

    def normalised(x: np.ndarray, layer: nn.BatchNorm1d) -> np.ndarray:
        mean, variance = layer.running_mean.numpy(), layer.running_var.numpy()
        return (x - mean) / np.sqrt(variance + 1e-5) * layer.weight.detach().numpy() + layer.bias.detach().numpy()

    x = normalised(x, encoder.layers[0])
    for maxout, normalise in ((1, 2), (4, 5)):
        linear = encoder.layers[maxout].linear
        pieces = x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
        x = normalised(pieces.reshape(4, -1, 3).max(2), encoder.layers[normalise])
    expected = x @ encoder.project.weight.detach().numpy().T + encoder.project.bias.detach().numpy()
    np.testing.assert_allclose(encoder(draw(ROW)).detach(), expected, rtol=1e-9)


def test_maxout_normalises_with_the_usual_epsilon() -> None:
    """MultiBench's first normalisation has another one than the rest; a feature of small variance is then lost."""
    layers = [m for m in MaxOutMLP(ROW).modules() if isinstance(m, nn.BatchNorm1d)]
    assert [layer.eps for layer in layers] == [1e-5] * 3
    assert [layer.num_features for layer in layers] == [5, 64, 64]


def test_maxout_of_constant_features_and_of_one_row() -> None:
    encoder = MaxOutMLP(ROW, out_dim=3, dropout=0.0).train()
    given = encoder(torch.full((6, 5), 7.0))
    assert bool(given.isfinite().all())
    before = encoder.layers[0].running_mean.clone()
    one = encoder(torch.full((1, 5), 7.0))
    one.sum().backward()
    assert bool(one.isfinite().all())
    assert torch.equal(encoder.layers[0].running_mean, before), "a batch of one teaches it nothing"
    assert MaxOutMLP(ROW, out_dim=0, hidden=(4,)).out_dim == 4
    for parameters in ({"hidden": ()}, {"pieces": 1}):
        with pytest.raises(UsageError, match="needs a layer or more of two pieces or more"):
            MaxOutMLP(ROW, **parameters)  # type: ignore[arg-type]


# --- deep averaging ---------------------------------------------------------------------------------------------------


def test_deep_averaging_against_numpy() -> None:
    """MultiBench's raises when it is told of padding."""
    encoder = DeepAveraging(SERIES, out_dim=2, hidden=(4,), embed=5).double().eval()
    p = {name: value.detach().numpy() for name, value in encoder.named_parameters()}
    for row, (x, length) in enumerate(zip(draw(SERIES).numpy(), LENGTHS.tolist(), strict=True)):
        mean = (x[:length] @ p["embed.weight"].T + p["embed.bias"]).mean(0)
        hidden = np.maximum(mean @ p["layers.0.weight"].T + p["layers.0.bias"], 0)
        expected = hidden @ p["layers.2.weight"].T + p["layers.2.bias"]
        np.testing.assert_allclose(encoder(draw(SERIES), LENGTHS)[row].detach(), expected, rtol=1e-9)


def test_deep_averaging_does_not_know_the_order() -> None:
    encoder = DeepAveraging(SERIES).double().eval()
    x = draw(SERIES)
    close(encoder(x, None), encoder(x.flip(1), None))


def test_deep_averaging_drops_whole_steps() -> None:
    """Of two steps, 1 and 3, training averages both, one or none, each with the probability of two coins."""
    modality = Modality("s", "text", (1,), length=2)
    encoder = DeepAveraging(modality, out_dim=1, hidden=(), word_dropout=0.3).train()
    for parameter, value in zip(encoder.layers.parameters(), (1.0, 0.0), strict=True):
        nn.init.constant_(parameter, value)
    torch.manual_seed(0)
    x = torch.tensor([[[1.0], [3.0]]]).expand(40_000, -1, -1)
    given = encoder(x, None)
    for value, share in ((2.0, 0.49), (1.0, 0.21), (3.0, 0.21), (0.0, 0.09)):
        assert (given == value).float().mean().item() == pytest.approx(share, abs=0.01)
    assert set(encoder.eval()(x, None).flatten().tolist()) == {2.0}
    with pytest.raises(UsageError, match=r"word_dropout must be in \[0, 1\), not 1"):
        DeepAveraging(SERIES, word_dropout=1.0)


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_time_series_vae_feeds_the_product_of_experts() -> None:
    from braidbench_multizoo.fusions.experts import ProductOfExperts

    encoder = TimeSeriesVAE(SERIES, latent=3).double()
    given = encoder(draw(SERIES), LENGTHS)
    assert encoder.out_dim == 6
    fusion = ProductOfExperts([6, 6], experts="halves")
    for mean, logvar in fusion.experts([given, given]):
        assert torch.equal(mean, given[:, :3])
        assert torch.equal(logvar, given[:, 3:])
    state = encoder.recurrence(draw(SERIES), LENGTHS)
    close(given, state @ encoder.project.weight.T + encoder.project.bias)


def test_residual_mlp_against_numpy() -> None:
    encoder = ResidualMLP(ROW, out_dim=4, blocks=2).double()
    p = [parameter.detach().numpy() for parameter in encoder.parameters()]
    x = np.maximum(draw(ROW).numpy() @ p[0].T + p[1], 0)
    for block in (p[2:6], p[6:10]):
        x = np.maximum(x + np.maximum(x @ block[0].T + block[1], 0) @ block[2].T + block[3], 0)
    np.testing.assert_allclose(encoder(draw(ROW)).detach(), x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 7), (1, 6, 7)])
def test_residual_cnn_by_hand(shape: tuple[int, ...]) -> None:
    modality = Modality("p", "image", shape)
    encoder = ResidualCNN(modality, out_dim=5, width=8).double()
    p = list(encoder.parameters())
    relu = functional.relu
    maps = relu(functional.conv2d(draw(modality).reshape(4, 1, 6, 7), p[0], p[1], padding=2))
    inner = functional.conv2d(relu(functional.conv2d(maps, p[2], p[3], padding=1)), p[4], p[5], padding=1)
    maps = relu(functional.conv2d(relu(maps + inner), p[6], p[7], padding=1))
    code = relu(functional.conv2d(maps, p[8], p[9], padding=1).flatten(1) @ p[10].T + p[11])
    close(encoder(draw(modality)), relu(code + relu(code @ p[12].T + p[13]) @ p[14].T + p[15]))


def test_residual_encoders_refuse() -> None:
    with pytest.raises(UsageError, match="blocks must be 0 or more"):
        ResidualMLP(ROW, blocks=-1)
    with pytest.raises(UsageError, match=r"reads \(height, width\) or \(channels, height, width\); 'row'"):
        ResidualCNN(ROW)
    with pytest.raises(UsageError, match="width must be a multiple of 4, not 6"):
        ResidualCNN(PICTURE, width=6)


def test_two_layers_of_lstm_and_a_linear_layer() -> None:
    """``lstm`` expresses MultiBench's stacked LSTM with a linear layer, of any width and with padding: theirs needs
    equal widths and raises when it is told of padding."""
    torch.manual_seed(0)
    encoder = LSTM(SERIES, out_dim=4, hidden=5, layers=2).double()
    reference = nn.LSTM(3, 5, num_layers=2, batch_first=True).double()
    with torch.no_grad():
        for index, layer in enumerate(encoder.forwards):
            for name, value in layer.named_parameters():
                getattr(reference, name.replace("_l0", f"_l{index}")).copy_(value)
    for row, length in enumerate(LENGTHS.tolist()):
        states, _ = reference(draw(SERIES)[row : row + 1, :length])
        close(encoder(draw(SERIES), LENGTHS)[row], encoder.project(states[0, -1]))
