"""Deep convolutional encoders of images and frames: VGG-style, ResNet-style."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import last_step, mean_pool, valid_steps, zero_padding

_VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""3 × 3 convolutions a stage, by the number of layers with weights; three of these are the classifier's."""

_RESNET = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Residual blocks a stage, by the number of layers with weights."""


class VGG(nn.Module):
    """Stages of 3 × 3 convolutions, each followed by batch normalisation and rectification, and 2 × 2 max pooling
    after each stage; then the maps, flat, through a linear layer.

    ``depth`` is that of the published networks, without the two hidden layers of their classifier. The first stage has
    ``channels`` maps (64 there, 16 here, which is enough for small pictures) and every next one twice as many, up to
    eight times. There are five stages, fewer for a picture whose shorter side would be pooled to nothing: four for 28.
    ``dropout`` follows every rectification, as in MultiBench's slim variants, which read pictures with weights from
    ImageNet; none are loaded here (see the encoder ``hf``).

    Source: Simonyan & Zisserman (2015), 2.1 and table 1; batch normalisation as is usual since.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        depth: Literal[11, 13, 16, 19] = 11,
        channels: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width, *sides = _picture("vgg", modality)
        stages = _VGG[depth][: min(sides).bit_length() - 1]
        layers: list[nn.Module] = []
        for index, convolutions in enumerate(stages):
            maps = channels * min(1 << index, 8)
            for _ in range(convolutions):
                # Without a bias: the normalisation that follows would take it out again.
                layers += [nn.Conv2d(width, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU()]
                if dropout:
                    layers.append(nn.Dropout(dropout))
                width = maps
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(width * sides[0] * sides[1], out_dim)
        self.out_dim = out_dim
        self.stage_dims = [*(channels * min(1 << index, 8) for index in range(len(stages))), out_dim]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, channels, height, width) → (B, out_dim); ``lengths`` is not read."""
        result: Tensor = self.project(self.layers(x).flatten(1))
        return result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """The mean of each stage's maps over the picture, and the output: (B, stage_dims[i]) each."""
        found = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                found.append(x.mean((2, 3)))
        return [*found, self.project(x.flatten(1))]


class ResNet(nn.Module):
    """A residual network of basic blocks, the mean over the picture and a linear layer; of frames, one after the other.

    ``depth`` counts layers with weights; the four stages have ``channels`` maps (64 in the published networks, 16 here)
    and 2, 4 and 8 times as many. A picture whose shorter side is 64 or more enters by a 7 × 7 convolution of stride 2
    and a 3 × 3 max pooling of stride 2, a smaller one by a 3 × 3 convolution, as the published networks do for ImageNet
    and for CIFAR. Stages after the first halve the sides; there are as many as leave two pixels on the shorter one.

    A sequence of frames is read frame by frame. Only real frames go through the network, so that padding has no part in
    the statistics of batch normalisation. ``temporal`` makes one vector of them: their mean, or an LSTM's state after
    the last real one. With ``form="sequence"`` the frames' vectors (``mean``) or all states (``lstm``) are given, and
    zeros for padding; a sequence without frames has a mean and a state of zeros.

    Source: He et al. (2016), 3.3, 3.4 and 4.2; over an LSTM as MultiBench does for Kinetics.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        depth: Literal[10, 18, 34] = 10,
        channels: int = 16,
        temporal: Literal["mean", "lstm"] = "mean",
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        width, *sides = _picture("resnet", modality)
        short = min(sides)
        if short >= 64:
            stem: list[nn.Module] = [
                nn.Conv2d(width, channels, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2, padding=1),
            ]
            short //= 4
        else:
            stem = [nn.Conv2d(width, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        blocks: list[nn.Module] = []
        before = channels
        for index, count in enumerate(_RESNET[depth][: short.bit_length() - 1]):
            maps = channels << index
            for block in range(count):
                blocks.append(_BasicBlock(before, maps, stride=2 if index and not block else 1))
                before = maps
        self.stem, self.blocks = nn.Sequential(*stem), nn.Sequential(*blocks)
        self.recurrence = nn.LSTM(before, before, batch_first=True) if self._recurs(modality, temporal) else None
        self.project = nn.Linear(before, out_dim)
        self.width = before
        self.form = form
        self.out_dim = out_dim

    @staticmethod
    def _recurs(modality: Modality, temporal: str) -> bool:
        return modality.is_sequence and temporal == "lstm"

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, channels, height, width) or (B, T, channels, height, width), lengths (B,) or None → (B, out_dim) or
        (B, T, out_dim)."""
        if x.ndim == 4:
            still: Tensor = self.project(self._picture(x))
            return still
        steps = self._frames(x, lengths)
        if self.recurrence is not None:
            steps, _ = self.recurrence(steps)
        if self.form == "sequence":
            return zero_padding(self.project(steps), lengths)
        pooled = mean_pool(steps, lengths) if self.recurrence is None else last_step(steps, lengths)
        result: Tensor = self.project(pooled)
        return result

    def _picture(self, x: Tensor) -> Tensor:
        result: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return result

    def _frames(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, channels, height, width) → (B, T, width), zeros for padding."""
        real = valid_steps(x.flatten(2), lengths)
        steps = x.new_zeros(*x.shape[:2], self.width)
        if lengths is None or bool(real.any()):
            steps[real] = self._picture(x[real]).to(steps.dtype)
        return steps


class _BasicBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))), each convolution normalised; x is projected where the shape changes."""

    def __init__(self, width: int, maps: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, maps, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1, bias=False),
            nn.BatchNorm2d(maps),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width != maps:
            self.shortcut = nn.Sequential(nn.Conv2d(width, maps, 1, stride=stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.layers(x))


def _picture(encoder: str, modality: Modality) -> tuple[int, ...]:
    """(channels, height, width). Raises UsageError for what is none, or is too small."""
    if len(modality.shape) != 3:
        raise UsageError(
            f"encoder {encoder!r} reads (channels, height, width); {modality.name!r} has shape {modality.shape}"
        )
    if min(modality.shape[1:]) < 4:
        raise UsageError(
            f"encoder {encoder!r} needs 4 × 4 pixels or more; {modality.name!r} has shape {modality.shape}: use 'mlp'"
        )
    return modality.shape
