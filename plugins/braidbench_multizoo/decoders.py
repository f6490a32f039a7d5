"""Decoders: a latent vector → one modality, for objectives that reconstruct the inputs.

Each is built with ``(latent_dim, modality, …)`` and called with ``(z (B, latent_dim), steps)``. None of them ends in an
activation: whether the numbers are means or logits is for the loss to say.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features


def make_decoder(latent_dim: int, modality: Modality) -> nn.Module:
    """The decoder that a modality's form asks for, with its default width.

    A sequence gets a :class:`TimeSeriesDecoder`, a grid (channels, height, width) an :class:`ImageDecoder`, anything
    else an :class:`MLPDecoder`. ``forward(z, steps=None)`` gives (B, steps, …) for a sequence, as many steps as the
    modality declares where ``steps`` is None, and (B, …) otherwise; … is the modality's shape.
    """
    if modality.is_sequence:
        return TimeSeriesDecoder(latent_dim, modality)
    if len(modality.shape) == 3 and min(modality.shape[1:]) > 1:
        return ImageDecoder(latent_dim, modality)
    return MLPDecoder(latent_dim, modality)


class MLPDecoder(nn.Module):
    """Hidden layers of rectified units, then a linear layer to every number of the sample."""

    def __init__(self, latent_dim: int, modality: Modality, hidden: tuple[int, ...] = (128,)) -> None:
        super().__init__()
        _refuse_sequence("MLPDecoder", modality)
        self.shape = modality.shape
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(latent_dim, size), nn.ReLU()]
            latent_dim = size
        self.layers = nn.Sequential(*layers, nn.Linear(latent_dim, modality.size))

    def forward(self, z: Tensor, steps: int | None = None) -> Tensor:
        """(B, latent_dim) → (B, *shape); ``steps`` is not read."""
        result: Tensor = self.layers(z).unflatten(1, self.shape)
        return result


class ImageDecoder(nn.Module):
    """A linear layer to a small grid, then transposed convolutions that each double the sides and halve the maps.

    The grid is doubled ``layers`` times and cut to the picture's sides, evenly at both ends; ``layers=None`` starts
    from a shorter side of four to seven. The last layer before the picture has ``channels`` maps. MultiBench's decoders
    give 34 × 34 and 130 × 130 and leave the cutting to the loss; the picture that this one gives has the input's shape.

    Source: the counterpart of :class:`~braidbench_multizoo.encoders.convolution.LeNet`, as in Liang et al. (2021).
    """

    def __init__(self, latent_dim: int, modality: Modality, channels: int = 16, layers: int | None = None) -> None:
        super().__init__()
        _refuse_sequence("ImageDecoder", modality)
        if len(modality.shape) != 3:
            raise UsageError(
                f"ImageDecoder draws (channels, height, width); {modality.name!r} has shape {modality.shape}: "
                "use MLPDecoder"
            )
        colours, *sides = modality.shape
        doublings = max(min(sides).bit_length() - 3, 1) if layers is None else layers
        if doublings < 1:
            raise UsageError(f"ImageDecoder needs one layer or more, not layers={layers}")
        widths = [channels << (doublings - 1 - index) for index in range(doublings)]
        self.sides = tuple(sides)
        self.grid = (widths[0], *(math.ceil(side / (1 << doublings)) for side in sides))
        self.start = nn.Linear(latent_dim, math.prod(self.grid))
        blocks: list[nn.Module] = []
        for before, after in zip(widths, [*widths[1:], colours], strict=True):
            blocks += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.layers = nn.Sequential(*blocks)

    def forward(self, z: Tensor, steps: int | None = None) -> Tensor:
        """(B, latent_dim) → (B, channels, height, width); ``steps`` is not read."""
        picture: Tensor = self.layers(self.start(z).unflatten(1, self.grid))
        for axis, side in zip((2, 3), self.sides, strict=True):
            picture = picture.narrow(axis, (picture.shape[axis] - side) // 2, side)
        return picture


class TimeSeriesDecoder(nn.Module):
    """A gated recurrent unit that reads the latent vector at every step and starts from a state made of it.

    Each state is mapped to one step by a linear layer. The unit does not read the step that it gave before, so that all
    steps are one call of it and a long series costs no more than it does to encode; MultiBench's decoder reads its own
    last state.

    Source: Cho et al. (2014), 2.2, the decoder's dependence on the summary at every step; Srivastava et al. (2015),
    2.2, the unconditioned decoder.
    """

    def __init__(self, latent_dim: int, modality: Modality, hidden: int = 64) -> None:
        super().__init__()
        if modality.length is None:
            raise UsageError(f"TimeSeriesDecoder gives a sequence; {modality.name!r} is none: use make_decoder")
        self.length = modality.length
        self.shape = modality.shape
        self.start = nn.Linear(latent_dim, hidden)
        self.recurrence = nn.GRU(latent_dim, hidden, batch_first=True)
        self.project = nn.Linear(hidden, features(modality))

    def forward(self, z: Tensor, steps: int | None = None) -> Tensor:
        """(B, latent_dim) → (B, steps, *shape), the modality's length of steps when None."""
        steps = self.length if steps is None else steps
        state = torch.tanh(self.start(z)).unsqueeze(0)
        states, _ = self.recurrence(z.unsqueeze(1).expand(-1, steps, -1), state)
        result: Tensor = self.project(states).unflatten(2, self.shape)
        return result


def _refuse_sequence(what: str, modality: Modality) -> None:
    if modality.is_sequence:
        raise UsageError(f"{what} gives one sample; {modality.name!r} is a sequence: use TimeSeriesDecoder")
