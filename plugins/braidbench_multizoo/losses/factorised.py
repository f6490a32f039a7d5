"""The multimodal factorisation model's objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.decoders import make_decoder
from braidbench_multizoo.losses.extended import Extended, encoder_widths, fused_width, vectors
from braidbench_multizoo.losses.reconstruction import mmd_from_normal, numbers, squared_error


class MFM(Extended):
    """The task's loss + ``reconstruction`` · Σ_m ‖x_m − g_m(z_m, z_y)‖² + ``prior`` · MMD of the factors from N(0, I).

    z_y is the fused representation; z_m, of ``factor`` numbers, is a modality's own factor, a hidden layer on its
    representation; g_m decodes both together. Each modality's squared error is the mean over its numbers, so that a
    long sequence weighs as much as a short row. The discrepancy is the mean over the factors z_1, …, z_M and z_y.

    The released code has no discrepancy, which is ``prior=0``.

    Source: Tsai et al. (2019), Learning factorized multimodal representations; *Foundations of Multisensory AI*,
    equation 7.1 (which prints the norm without its square). Raises UsageError.
    """

    def __init__(
        self,
        reconstruction: float = 0.1,
        prior: float = 0.1,
        factor: int = 32,
        regression: Literal["mse", "mae"] = "mse",
    ) -> None:
        super().__init__(regression)
        if factor < 1:
            raise UsageError(f"objective 'mfm': factor={factor} must be 1 or more")
        self.reconstruction, self.prior, self.factor = reconstruction, prior, factor

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the factors' layers and the decoders."""
        self.modalities = modalities
        self.factors = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * self.factor), nn.ReLU(), nn.Linear(2 * self.factor, self.factor))
            for width in encoder_widths(model).values()
        )
        together = self.factor + fused_width(model)
        self.decoders = nn.ModuleList(make_decoder(together, modality) for modality in modalities)

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        own = [layer(z) for layer, z in zip(self.factors, vectors(output, batch).values(), strict=True)]
        errors = []
        for modality, decoder, z in zip(self.modalities, self.decoders, own, strict=True):
            x, lengths = batch.inputs[modality.name].to(z.dtype), batch.lengths[modality.name]
            decoded = decoder(torch.cat([z, output.fused], dim=1), x.shape[1] if modality.is_sequence else None)
            errors.append(squared_error(decoded, x, lengths).sum() / numbers(modality, x, lengths))
        discrepancy = torch.stack([mmd_from_normal(z) for z in (*own, output.fused)]).mean()
        return {
            "reconstruction": self.reconstruction * torch.stack(errors).sum(),
            "prior": self.prior * discrepancy,
        }
