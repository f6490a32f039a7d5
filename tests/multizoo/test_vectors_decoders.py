"""Decoders: shapes, values written out by hand, and that a latent vector can be decoded to what it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.decoders import ImageDecoder, MLPDecoder, TimeSeriesDecoder, make_decoder

ROW = Modality("row", "tabular", (5,))
SERIES = Modality("series", "time_series", (3,), length=9)
FRAMES = Modality("frames", "video", (2, 4, 5), length=3)
PICTURES = [
    Modality("picture", "image", shape)
    for shape in [(1, 28, 28), (1, 112, 112), (3, 32, 48), (2, 7, 5), (1, 2, 2), (3, 5, 64)]
]


def latent(rows: int = 4, width: int = 6) -> Tensor:
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("modality", [ROW, SERIES, FRAMES, Modality("grid", "force", (4, 3)), *PICTURES])
def test_shape_and_gradient(modality: Modality, rows: int) -> None:
    torch.manual_seed(0)
    decoder = make_decoder(6, modality).double()
    given = decoder(latent(rows))
    steps = () if modality.length is None else (modality.length,)
    assert given.shape == (rows, *steps, *modality.shape)
    given.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    if steps:
        # A batch's longest row decides how many steps are asked for; the first ones do not depend on that.
        for asked in (1, 2, 12):
            other = decoder(latent(rows), asked)
            assert other.shape == (rows, asked, *modality.shape)
            common = min(asked, *steps)
            torch.testing.assert_close(other[:, :common], given[:, :common])


@pytest.mark.parametrize("modality", [ROW, SERIES, PICTURES[0]])
def test_rows_are_decoded_on_their_own(modality: Modality) -> None:
    decoder = make_decoder(6, modality).double().train()
    together = decoder(latent())
    for row in range(4):
        torch.testing.assert_close(decoder(latent()[row : row + 1])[0], together[row])


def test_mlp_decoder_by_hand() -> None:
    decoder = MLPDecoder(6, Modality("grid", "force", (2, 3)), hidden=(7,)).double()
    first, _, second = decoder.layers
    hidden = (latent() @ first.weight.T + first.bias).clamp(min=0)
    expected = (hidden @ second.weight.T + second.bias).reshape(4, 2, 3)
    torch.testing.assert_close(decoder(latent()), expected)


def test_time_series_decoder_step_by_step() -> None:
    """A cell that reads z at every step, from the state tanh(W z + b)."""
    decoder = TimeSeriesDecoder(6, SERIES, hidden=8).double()
    cell = nn.GRUCell(6, 8).double()
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in decoder.recurrence.state_dict().items()})
    state = torch.tanh(decoder.start(latent()))
    for step in decoder(latent(), 4).unbind(1):
        state = cell(latent(), state)
        torch.testing.assert_close(step, decoder.project(state))


def test_image_decoder_by_hand() -> None:
    """28 × 28 from 7 × 7 by two layers of 32 and 16 maps, and nothing cut; 5 × 7 is cut from the middle of 6 × 8."""
    decoder = ImageDecoder(6, PICTURES[0], channels=16).double()
    assert decoder.grid == (32, 7, 7)
    first, second = decoder.layers[1], decoder.layers[3]
    maps = functional.relu(decoder.start(latent())).reshape(4, 32, 7, 7)
    maps = functional.relu(functional.conv_transpose2d(maps, first.weight, first.bias, stride=2, padding=1))
    assert maps.shape == (4, 16, 14, 14)
    expected = functional.conv_transpose2d(maps, second.weight, second.bias, stride=2, padding=1)
    torch.testing.assert_close(decoder(latent()), expected)

    cut = ImageDecoder(6, Modality("p", "image", (1, 5, 7)), layers=1).double()
    whole = cut.layers(cut.start(latent()).unflatten(1, cut.grid))
    assert whole.shape == (4, 1, 6, 8)
    torch.testing.assert_close(cut(latent()), whole[:, :, :5, :7])


@pytest.mark.parametrize("modality", [ROW, SERIES, PICTURES[0]])
def test_it_learns_eight_samples_by_heart(modality: Modality) -> None:
    torch.manual_seed(0)
    decoder = make_decoder(8, modality)
    steps = () if modality.length is None else (modality.length,)
    wanted = torch.rand(8, *steps, *modality.shape)
    spread = float((wanted - wanted.mean(0)).square().mean())
    optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
    for _ in range(300):
        loss = functional.mse_loss(decoder(torch.eye(8)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * spread


@pytest.mark.parametrize(("make", "modality", "message"), [
    (MLPDecoder, SERIES, "'series' is a sequence: use TimeSeriesDecoder"),
    (ImageDecoder, SERIES, "'series' is a sequence: use TimeSeriesDecoder"),
    (ImageDecoder, ROW, r"'row' has shape \(5,\): use MLPDecoder"),
    (TimeSeriesDecoder, ROW, "'row' is none: use make_decoder"),
])  # fmt: skip
def test_refuses(make: type[nn.Module], modality: Modality, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(6, modality)
