"""Residual encoders of sensors: of readings, and of a small camera."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.dense import Identity
from braidbench_multizoo.encoders.masking import mean_pool, zero_padding


class ResidualMLP(nn.Module):
    """A linear layer and rectification, then ``blocks`` residual blocks of two linear layers: relu(x + L(relu(L(x)))).

    A sequence is encoded step by step; a vector is the mean over a row's own steps, zeros for a row without any. With
    ``form="sequence"`` each step's code is given, and zeros for padding.

    Source: Lee et al. (2020), Multimodal sensor fusion with differentiable filters, their encoders of force,
    proprioception and control, with 64 units.
    """

    def __init__(
        self, modality: Modality, out_dim: int = 64, blocks: int = 1, form: Literal["vector", "sequence"] = "vector"
    ) -> None:
        super().__init__()
        if blocks < 0:
            raise UsageError(f"encoder 'residual-mlp': blocks must be 0 or more, not {blocks}")
        self.flat = Identity(modality, "sequence" if modality.is_sequence else "vector")
        self.layers = nn.Sequential(
            nn.Linear(self.flat.out_dim, out_dim), nn.ReLU(), *(_LinearBlock(out_dim) for _ in range(blocks))
        )
        self.form = form
        self.out_dim = out_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, …) or (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        return _over_time(self.layers(self.flat(x, lengths)), lengths, self.form)


class ResidualCNN(nn.Module):
    """5 × 5 convolution, a residual block of two 3 × 3 convolutions, two more 3 × 3 convolutions that narrow the maps;
    then the maps, flat, through a linear layer and a residual block of two linear layers.

    The maps are 32, 32, 16 and 8, times ``width`` / 32; there is no pooling, so that where something is stays known.
    A picture is (height, width) or (channels, height, width). A sequence of frames is encoded frame by frame; a vector
    is the mean over a row's own frames, zeros for a row without any. With ``form="sequence"`` each frame's code is
    given, and zeros for padding.

    Source: Lee et al. (2020), Multimodal sensor fusion with differentiable filters, their encoder of 32 × 32 pictures.
    """

    def __init__(
        self, modality: Modality, out_dim: int = 64, width: int = 32, form: Literal["vector", "sequence"] = "vector"
    ) -> None:
        super().__init__()
        if len(modality.shape) not in (2, 3):
            raise UsageError(
                f"encoder 'residual-cnn' reads (height, width) or (channels, height, width); {modality.name!r} has "
                f"shape {modality.shape}"
            )
        if width < 4 or width % 4:
            raise UsageError(f"encoder 'residual-cnn': width must be a multiple of 4, not {width}")
        *colours, height, breadth = modality.shape
        self.shape = (colours[0] if colours else 1, height, breadth)
        self.flat = Identity(modality, "sequence" if modality.is_sequence else "vector")
        self.layers = nn.Sequential(
            nn.Conv2d(self.shape[0], width, 5, padding=2),
            nn.ReLU(),
            _ConvolutionBlock(width),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, width // 4, 3, padding=1),
            nn.Flatten(),
            nn.Linear(width // 4 * height * breadth, out_dim),
            nn.ReLU(),
            _LinearBlock(out_dim),
        )
        self.form = form
        self.out_dim = out_dim

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, *shape) or (B, T, *shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        flat = self.flat(x, lengths)
        codes = self.layers(flat.reshape(-1, *self.shape))
        return _over_time(codes.unflatten(0, flat.shape[:-1]), lengths, self.form)


class _LinearBlock(nn.Module):
    """relu(x + L(relu(L(x))))"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


class _ConvolutionBlock(nn.Module):
    """relu(x + C(relu(C(x)))) with 3 × 3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.layers(x))


def _over_time(codes: Tensor, lengths: Tensor | None, form: str) -> Tensor:
    """Codes as they are for a sample; of a sequence's steps, with zeros for padding, or their mean."""
    if codes.ndim == 2:
        return codes
    return zero_padding(codes, lengths) if form == "sequence" else mean_pool(codes, lengths)
