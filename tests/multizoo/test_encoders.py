"""Encoders: values against torch's own layers, numpy and formulas; lengths, padding, gradients."""

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
from torch.nn.utils.rnn import pack_padded_sequence

from braidbench.errors import DataError, UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.attention import Transformer, sinusoids
from braidbench_multizoo.encoders.convolution import Conv1d, LeNet
from braidbench_multizoo.encoders.dense import MLP, Identity
from braidbench_multizoo.encoders.recurrent import GRU, LSTM

SERIES = Modality("series", "time_series", (3,), length=11)
LENGTHS = torch.tensor([5, 1, 7, 3])
STEPS = 7

Build = Callable[..., Any]

SEQUENCE_ENCODERS: dict[str, Build] = {
    "identity": Identity,
    "mlp": lambda *a, **k: MLP(*a, out_dim=6, hidden=(5, 4), **k),
    "gru": lambda *a, **k: GRU(*a, out_dim=6, **k),
    "gru-two-ways": lambda *a, **k: GRU(*a, out_dim=6, layers=2, bidirectional=True, **k),
    "lstm": lambda *a, **k: LSTM(*a, out_dim=6, **k),
    "lstm-projected": lambda *a, **k: LSTM(*a, out_dim=6, hidden=8, bidirectional=True, **k),
    "conv1d": lambda *a, **k: Conv1d(*a, out_dim=6, channels=(4, 5), **k),
    "conv1d-max": lambda *a, **k: Conv1d(*a, out_dim=6, channels=(4, 5), pool="max", **k),
    "transformer": lambda *a, **k: Transformer(*a, out_dim=6, width=8, heads=2, dropout=0.0, **k),
}


@pytest.fixture(params=list(itertools.product(SEQUENCE_ENCODERS, ("vector", "sequence"))), ids="-".join)
def encoder(request: pytest.FixtureRequest) -> Any:
    """A sequence encoder in double precision, in either form."""
    torch.manual_seed(0)
    name, form = request.param
    return SEQUENCE_ENCODERS[name](SERIES, form=form).double()


def series(rows: int = len(LENGTHS), length: int = STEPS) -> Tensor:
    return torch.randn(rows, length, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def with_padding(x: Tensor, lengths: Tensor, fill: Callable[[Tensor], Tensor]) -> Tensor:
    past = torch.arange(x.shape[1]) >= lengths[:, None]
    return torch.where(past.unsqueeze(-1), fill(x), x)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_shape(encoder: Any) -> None:
    given = encoder(series(), LENGTHS)
    assert given.shape in ((4, encoder.out_dim), (4, STEPS, encoder.out_dim))
    assert encoder.out_dim == 6 or isinstance(encoder, Identity)


@pytest.mark.parametrize("value", [1e6, math.nan, math.inf])
def test_padding_changes_nothing(encoder: Any, value: float) -> None:
    """Neither the result nor a gradient knows what stands beyond a row's length, or how far it goes."""
    results, gradients = [], []
    for fill in (torch.zeros_like, lambda x: torch.full_like(x, value)):
        encoder.zero_grad()
        results.append(encoder(with_padding(series(), LENGTHS, fill), LENGTHS))
        if results[-1].requires_grad:
            results[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    close(results[1], results[0])
    for one, other in zip(*gradients, strict=True):
        close(one, other)
    wider = functional.pad(with_padding(series(), LENGTHS, torch.zeros_like), (0, 0, 0, 4), value=value)
    further = encoder(wider, LENGTHS)
    close(further if further.ndim == 2 else further[:, :STEPS], results[0])
    assert further.ndim == 2 or not further[:, STEPS:].any()


def test_each_row_as_if_alone(encoder: Any) -> None:
    x = series()
    together = encoder(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(x[row : row + 1, :length], torch.tensor([length]))[0]
        close(together[row] if together.ndim == 2 else together[row, :length], alone)
        assert together.ndim == 2 or not together[row, length:].any(), "padding gives zeros"


def test_no_lengths_means_all_steps(encoder: Any) -> None:
    close(encoder(series(), None), encoder(series(), torch.full((4,), STEPS)))


def test_row_without_steps(encoder: Any) -> None:
    """It is finite, the same whatever stands in it, and leaves the other rows and all gradients alone."""
    lengths = torch.tensor([5, 0, 7, 0])
    given = encoder(with_padding(series(), lengths, lambda x: torch.full_like(x, math.nan)), lengths)
    assert torch.isfinite(given).all()
    close(given[1], given[3])
    close(given[[0, 2]], encoder(series()[[0, 2]], lengths[[0, 2]]))
    if list(encoder.parameters()):
        given.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.mark.parametrize(("name", "expected"), [
    ("identity", lambda e: torch.zeros(33)),
    ("mlp", lambda e: e.layers(torch.zeros(33))),
    ("gru", lambda e: torch.zeros(6)),
    ("gru-two-ways", lambda e: torch.zeros(6)),
    ("lstm", lambda e: torch.zeros(6)),
    ("lstm-projected", lambda e: e.project.bias),
    ("conv1d", lambda e: e.project.bias),
    ("conv1d-max", lambda e: e.project.bias),
    ("transformer", lambda e: e.project.bias),
])  # fmt: skip
def test_what_a_row_without_steps_gives(name: str, expected: Callable[[Any], Tensor]) -> None:
    encoder = SEQUENCE_ENCODERS[name](SERIES)
    given = encoder(torch.randn(2, 4, 3), torch.tensor([0, 4]))
    torch.testing.assert_close(given[0], expected(encoder))


def test_gradient_reaches_every_parameter(encoder: Any) -> None:
    for rows in (1, 7):
        encoder.zero_grad()
        given = encoder(series(rows), torch.randint(3, STEPS + 1, (rows,)))
        if given.requires_grad:
            # Unequal weights: the plain sum of a normalised layer has no gradient.
            (given.square() * torch.arange(1.0, given.shape[-1] + 1)).sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_input_is_not_modified(encoder: Any) -> None:
    x, lengths = series(), LENGTHS.clone()
    encoder(x, lengths)
    assert torch.equal(x, series())
    assert torch.equal(lengths, LENGTHS)


def test_more_steps_than_declared(encoder: Any) -> None:
    with pytest.raises(DataError, match="'series' has a sequence of 12 steps; it declares length=11"):
        encoder(torch.zeros(2, 12, 3, dtype=torch.float64), torch.tensor([12, 3]))


def test_steps_of_any_shape_are_read_flat(encoder: Any) -> None:
    """Frames (3, 1, 1) are read as their three numbers."""
    torch.manual_seed(0)
    close(encoder(series().reshape(4, STEPS, 3, 1, 1), LENGTHS), encoder(series(), LENGTHS))


# --- dense ------------------------------------------------------------------------------------------------------------


def test_identity_pads_to_the_declared_length() -> None:
    modality = Modality("s", "time_series", (2,), length=3)
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    lengths = torch.tensor([2, 1])
    flat = Identity(modality)
    assert flat.out_dim == 6
    assert flat(x, lengths).tolist() == [[1, 2, 3, 4, 0, 0], [5, 6, 0, 0, 0, 0]]
    kept = Identity(modality, form="sequence")
    assert kept.out_dim == 2
    assert kept(x, lengths).tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]


def test_identity_of_a_picture() -> None:
    x = torch.rand(2, 3, 4, 5)
    encoder = Identity(Modality("i", "image", (3, 4, 5)))
    assert encoder.out_dim == 60
    assert torch.equal(encoder(x, None), x.reshape(2, 60))


@pytest.mark.parametrize("hidden", [0, (), 7, (7, 5)])
def test_mlp_against_numpy(hidden: int | tuple[int, ...]) -> None:
    encoder = MLP(Modality("row", "tabular", (4,)), out_dim=3, hidden=hidden, dropout=0.5).eval()
    x = torch.randn(6, 4)
    expected = x.numpy()
    linear = [layer for layer in encoder.layers if isinstance(layer, nn.Linear)]
    assert len(linear) == 1 + (len(hidden) if isinstance(hidden, tuple) else bool(hidden))
    for index, layer in enumerate(linear):
        expected = expected @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        if index < len(linear) - 1:
            expected = np.maximum(expected, 0)
    np.testing.assert_allclose(encoder(x, None).detach(), expected, rtol=1e-5, atol=1e-6)
    # Dropout must not change the width (MultiBench's loses its last layer).
    assert encoder.train()(x, None).shape == (6, 3)


# --- LeNet ------------------------------------------------------------------------------------------------------------


def lenet_parameters(channels: int, layers: int) -> int:
    """Convolutions without bias and two numbers a map of normalisation, for one input channel."""
    maps = [channels * 2**i for i in range(layers + 1)]
    return 25 * maps[0] + 9 * sum(a * b for a, b in itertools.pairwise(maps)) + 2 * sum(maps)


@pytest.mark.parametrize(("side", "layers", "out_dim"), [(28, 3, 48), (112, 5, 192)])
def test_lenet_of_multibench(side: int, layers: int, out_dim: int) -> None:
    """With 6 channels 28 × 28 gives 48 numbers and 112 × 112 gives 192, without any linear layer."""
    encoder = LeNet(Modality("picture", "image", (1, side, side)), out_dim=0, channels=6)
    assert encoder.out_dim == out_dim
    assert sum(p.numel() for p in encoder.parameters()) == lenet_parameters(6, layers)
    assert not any(isinstance(module, nn.Linear) for module in encoder.modules())
    projected = LeNet(Modality("picture", "image", (1, side, side)), out_dim=7, channels=6, layers=layers)
    assert sum(p.numel() for p in projected.parameters()) == lenet_parameters(6, layers) + 7 * out_dim + 7
    encoder.train()
    assert encoder(torch.rand(1, 1, side, side), None).shape == (1, out_dim), "a batch of one keeps its batch axis"


@pytest.mark.parametrize("training", [True, False])
def test_lenet_against_the_published_order(training: bool) -> None:
    """Convolution, normalisation, rectification, pooling, written out with functions."""
    torch.manual_seed(0)
    encoder = LeNet(Modality("picture", "image", (2, 13, 20)), out_dim=7, channels=3, layers=1).double().train(training)
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    assert [c.kernel_size for c in convolutions] == [(5, 5), (3, 3)]
    x = torch.randn(4, 2, 13, 20, dtype=torch.float64)
    maps = x
    for convolution, norm in zip(convolutions, norms, strict=True):
        maps = functional.conv2d(maps, convolution.weight, padding=convolution.kernel_size[0] // 2)
        mean, var = (
            (maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)) if training
            else (norm.running_mean, norm.running_var)
        )  # fmt: skip
        shape = (1, -1, 1, 1)
        maps = (maps - mean.reshape(shape)) / (var.reshape(shape) + norm.eps).sqrt()
        maps = maps * norm.weight.reshape(shape) + norm.bias.reshape(shape)
        maps = functional.max_pool2d(maps.relu(), 2)
    assert maps.shape == (4, 6, 3, 5)
    expected = maps.reshape(4, -1) @ encoder.project.weight.T + encoder.project.bias
    torch.testing.assert_close(encoder(x, None), expected)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 2, 2), (1, 5, 33), (3, 64, 48), (2, 3, 200)])
def test_lenet_of_any_picture(shape: tuple[int, int, int]) -> None:
    encoder = LeNet(Modality("picture", "image", shape), out_dim=10, channels=2)
    for rows in (1, 3):
        encoder.zero_grad()
        given = encoder(torch.rand(rows, *shape), None)
        assert given.shape == (rows, 10)
        (given * torch.randn(rows, 10)).sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


def test_lenet_gradient_reaches_every_parameter() -> None:
    encoder = LeNet(Modality("picture", "image", (1, 16, 16)), out_dim=5)
    encoder(torch.rand(7, 1, 16, 16), None).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("shape", "layers", "message"), [
    ((28, 28), None, r"reads \(channels, height, width\); 'picture' has shape \(28, 28\)"),
    ((1, 1, 9), None, "use 'mlp'"),
    ((1, 28, 28), 4, "halves a picture 5 times with layers=4; .* 'picture' is 28: layers can be 0 to 3"),
    ((1, 28, 28), -1, "layers can be 0 to 3"),
])  # fmt: skip
def test_lenet_refuses(shape: tuple[int, ...], layers: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LeNet(Modality("picture", "image", shape), layers=layers)


# --- conv1d -----------------------------------------------------------------------------------------------------------


def test_conv1d_against_numpy() -> None:
    """Two dilated layers over one row, each output step a sum over taps, steps outside being zero."""
    torch.manual_seed(0)
    encoder = Conv1d(SERIES, out_dim=4, channels=(5, 2), kernel=3).double()
    x = series(1)
    states = x[0].numpy()
    for index, layer in enumerate(encoder.layers):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        following = np.tile(bias, (STEPS, 1))
        for step, tap in itertools.product(range(STEPS), range(3)):
            source = step + (tap - 1) * 2**index
            if 0 <= source < STEPS:
                following[step] += weight[:, :, tap] @ states[source]
        states = np.maximum(following, 0)
    project = encoder.project
    for pool, pooled in (("mean", states.mean(0)), ("max", states.max(0))):
        encoder.pool = pool
        expected = project.weight.detach().numpy() @ pooled + project.bias.detach().numpy()
        np.testing.assert_allclose(encoder(x, None)[0].detach(), expected, rtol=1e-10)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"kernel": 4}, "kernel must be odd and positive, not 4"),
    ({"channels": ()}, "channels needs a width"),
])  # fmt: skip
def test_conv1d_refuses(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Conv1d(SERIES, **parameters)


# --- recurrent --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("ours", "torchs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
def test_recurrent_against_packed_sequences(
    ours: type[GRU] | type[LSTM], torchs: type[nn.GRU] | type[nn.LSTM], layers: int, bidirectional: bool
) -> None:
    """The same weights in torch's own stack, fed with packed sequences."""
    torch.manual_seed(0)
    encoder = ours(SERIES, out_dim=6, layers=layers, bidirectional=bidirectional).double()
    reference = torchs(
        3, 6 // (1 + bidirectional), num_layers=layers, bidirectional=bidirectional, batch_first=True
    ).double()
    with torch.no_grad():
        for index in range(layers):
            for suffix, stack in (("", encoder.forwards), ("_reverse", encoder.backwards)):
                for name, value in stack[index].named_parameters() if len(stack) else ():
                    getattr(reference, name.replace("l0", f"l{index}{suffix}")).copy_(value)
    packed = pack_padded_sequence(series(), LENGTHS, batch_first=True, enforce_sorted=False)
    states, final = reference(packed)
    final = final[0] if torchs is nn.LSTM else final
    expected = torch.cat([final[-2], final[-1]], -1) if bidirectional else final[-1]
    close(encoder(series(), LENGTHS), expected)
    padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    encoder.form = "sequence"
    close(encoder(series(), LENGTHS), padded)
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in reference.parameters())


def test_gru_against_its_equations() -> None:
    """One row and two steps in numpy (Cho et al. 2014, with torch's placing of the reset gate)."""
    torch.manual_seed(0)
    encoder = GRU(Modality("s", "time_series", (3,), length=2), out_dim=2).double()
    w, u, b, c = (p.detach().numpy() for p in encoder.forwards[0].parameters())
    x = series(1, 2)
    state = np.zeros(2)
    for step in x[0].numpy():
        from_input, from_state = w @ step + b, u @ state + c
        reset, update = (1 / (1 + np.exp(-(from_input + from_state)[part])) for part in (slice(0, 2), slice(2, 4)))
        new = np.tanh(from_input[4:] + reset * from_state[4:])
        state = (1 - update) * new + update * state
    np.testing.assert_allclose(encoder(x, torch.tensor([2]))[0].detach(), state, rtol=1e-10)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"out_dim": 5, "bidirectional": True}, "5 is odd"),
    ({"layers": 0}, "layers=0"),
])  # fmt: skip
def test_recurrent_refuses(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GRU(SERIES, **parameters)


# --- transformer ------------------------------------------------------------------------------------------------------


def test_sinusoids_against_the_formula() -> None:
    expected = [
        [(math.sin if column % 2 == 0 else math.cos)(t / 10_000 ** (2 * (column // 2) / 6)) for column in range(6)]
        for t in range(9)
    ]
    np.testing.assert_allclose(sinusoids(9, 6), expected, atol=1e-7)


def test_transformer_against_torchs_layers() -> None:
    """The same weights in ``nn.TransformerEncoderLayer`` with its padding mask."""
    torch.manual_seed(0)
    encoder = Transformer(SERIES, out_dim=5, width=8, heads=2, layers=2, dropout=0.0).double()
    x, mask = series(), torch.arange(STEPS) < LENGTHS[:, None]
    states = encoder.embed(x) + sinusoids(STEPS, 8)
    for block in encoder.blocks:
        layer = nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, batch_first=True, norm_first=True).double()
        norm, first, _, _, second = block.feed_forward
        pairs = [
            (layer.self_attn.in_proj_weight, block.queries_keys_values.weight),
            (layer.self_attn.in_proj_bias, block.queries_keys_values.bias),
        ]
        for theirs, ours in (
            (layer.self_attn.out_proj, block.attention_out), (layer.norm1, block.attention_norm), (layer.norm2, norm),
            (layer.linear1, first), (layer.linear2, second),
        ):  # fmt: skip
            pairs += [(theirs.weight, ours.weight), (theirs.bias, ours.bias)]
        for target, source in pairs:
            target.data.copy_(source)
        states = layer(states, src_key_padding_mask=~mask)
    states = functional.layer_norm(states, (8,), encoder.norm.weight, encoder.norm.bias)
    pooled = torch.stack([row[:length].mean(0) for row, length in zip(states, LENGTHS, strict=True)])
    torch.testing.assert_close(encoder(x, LENGTHS), encoder.project(pooled), rtol=1e-7, atol=1e-7)


def test_transformer_refuses() -> None:
    with pytest.raises(UsageError, match="width=12 must be a multiple of twice heads=4"):
        Transformer(SERIES, width=12, heads=4)
    with pytest.raises(UsageError, match="reads a sequence; 'row' is none"):
        Transformer(Modality("row", "tabular", (3,)))
