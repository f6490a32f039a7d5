"""Convolutional encoders: images by a LeNet, sequences by temporal convolutions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import mean_pool, zero_padding


class LeNet(nn.Module):
    """MultiBench's LeNet, then a linear layer to ``out_dim`` (none when ``out_dim`` is 0).

    One 5×5 convolution to ``channels`` and ``layers`` 3×3 convolutions that double them, each padded to keep the size
    and followed by batch normalisation, rectification and 2×2 max-pooling. A 28×28 image with ``channels=6, layers=3``
    gives 48 features; a 112×112 spectrogram with ``layers=5`` gives 192.

    Source: the released code's ``unimodals/common_models.py``, which drops the batch axis of a batch of one.
    """

    def __init__(self, modality: Modality, out_dim: int = 64, channels: int = 6, layers: int = 3) -> None:
        super().__init__()
        depth, height, width = modality.shape
        blocks: list[nn.Module] = []
        for number in range(layers + 1):
            size = channels * 2**number
            kernel = 5 if number == 0 else 3
            if min(height, width) < 2:
                raise ValueError(f"{layers} layers halve the {modality.shape[1]}×{modality.shape[2]} image away")
            blocks += [
                nn.Conv2d(depth, size, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(size),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            depth, height, width = size, height // 2, width // 2
        self.blocks = nn.Sequential(*blocks)
        features = depth * height * width
        self.project = nn.Linear(features, out_dim) if out_dim else nn.Identity()
        self.out_dim = out_dim or features

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, C, H, W) → (B, out_dim)."""
        result: Tensor = self.project(self.blocks(x).flatten(1))
        return result


class Conv1d(nn.Module):
    """Temporal convolutions, then the mean over the real steps.

    Every layer is centred, keeps the number of steps and sees zeros beyond a row's end, so that a row's result does not
    depend on how far its batch is padded. Kernel sizes are odd.
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        channels: tuple[int, ...] = (32, 64),
        kernel: int = 5,
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: a centred convolution needs an odd kernel")
        self.form, self.out_dim = form, out_dim
        widths = (modality.size // (modality.length or 1), *channels)
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2)
            for before, after in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(widths[-1], out_dim)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, \\*shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        x = zero_padding(x.flatten(2), lengths)
        for layer in self.layers:
            x = torch.relu(layer(x.transpose(1, 2)).transpose(1, 2))
            x = zero_padding(self.dropout(x), lengths)
        if self.form == "sequence":
            return zero_padding(self.project(x), lengths)
        result: Tensor = self.project(mean_pool(x, lengths))
        return result
