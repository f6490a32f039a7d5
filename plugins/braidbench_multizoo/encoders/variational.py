"""Encoders that give a Gaussian over a latent vector."""

from __future__ import annotations

from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.recurrent import GRU


class TimeSeriesVAE(nn.Module):
    """The mean and the log variance of a latent vector, from a gated recurrent unit's state at the last real step.

    The output is (μ, log σ²) side by side, 2 · ``latent`` numbers, as the fusion ``product-of-experts`` reads them with
    ``experts="halves"``. Its counterpart is :class:`braidbench_multizoo.decoders.TimeSeriesDecoder`.

    Source: Kingma & Welling (2014), appendix C.2, with a recurrent network as in Liang et al. (2021), MultiBench.
    """

    def __init__(self, modality: Modality, latent: int = 32, hidden: int = 64, layers: int = 1) -> None:
        super().__init__()
        if latent < 1:
            raise UsageError(f"encoder 'time-series-vae': latent must be 1 or more, not {latent}")
        self.recurrence = GRU(modality, out_dim=hidden, layers=layers)
        self.project = nn.Linear(hidden, 2 * latent)
        self.out_dim = 2 * latent

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, …), lengths (B,) or None → (B, 2 · latent)."""
        result: Tensor = self.project(self.recurrence(x, lengths))
        return result
