"""Self-supervision between the fused representation and what each modality holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import valid_steps, zero_padding
from braidbench_multizoo.losses.extended import Extended, encoder_widths, fused_width, vectors


class RefNet(Extended):
    """The task's loss + ``weight`` · Σ_m (1 − cos), the mean over the batch.

    ``refine="representations"`` compares z_mm with g_m(z_m), an auxiliary linear layer of each representation into the
    fused space (the thesis's L_contrast). ``refine="inputs"`` compares each input with what a refiner, one hidden layer
    of ``hidden`` rectified units, makes of z_mm, as the released code does; the numbers of steps beyond a row's length
    are left out of the comparison, and inputs of any size cost a linear layer of that size.

    Source: Sankaran et al. (2021), Multimodal fusion refiner networks; *Foundations of Multisensory AI*, 7.4.3.
    """

    def __init__(
        self,
        weight: float = 0.1,
        refine: Literal["representations", "inputs"] = "representations",
        hidden: int = 128,
        regression: Literal["mse", "mae"] = "mse",
    ) -> None:
        super().__init__(regression)
        if hidden < 1:
            raise UsageError(f"objective 'refnet': hidden={hidden} must be 1 or more")
        self.weight, self.refine, self.hidden = weight, refine, hidden

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the auxiliary layers, or the refiner."""
        self.modalities = modalities
        fused = fused_width(model)
        if self.refine == "representations":
            widths = encoder_widths(model).values()
            self.auxiliary: nn.Module = nn.ModuleList(nn.Linear(width, fused) for width in widths)
            return
        total = sum(modality.size for modality in modalities)
        self.auxiliary = nn.Sequential(nn.Linear(fused, self.hidden), nn.ReLU(), nn.Linear(self.hidden, total))

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        if self.refine == "representations":
            assert isinstance(self.auxiliary, nn.ModuleList)
            found = [g(z) for g, z in zip(self.auxiliary, vectors(output, batch).values(), strict=True)]
            cosines = [functional.cosine_similarity(output.fused, z, dim=1) for z in found]
        else:
            parts = self.auxiliary(output.fused).split([m.size for m in self.modalities], dim=1)
            cosines = [self._with_input(part, m, batch) for part, m in zip(parts, self.modalities, strict=True)]
        return {"refinement": self.weight * torch.stack([1 - cosine.mean() for cosine in cosines]).sum()}

    @staticmethod
    def _with_input(refined: Tensor, modality: Modality, batch: Batch) -> Tensor:
        """(B,) cosines of the refiner's share with the input, over the real steps."""
        x, lengths = batch.inputs[modality.name].to(refined.dtype), batch.lengths[modality.name]
        if modality.length is not None:
            refined = refined.unflatten(1, (modality.length, -1))[:, : x.shape[1]]
            refined = refined * valid_steps(refined, lengths)[..., None]
            x = zero_padding(x, lengths)
        return functional.cosine_similarity(refined.flatten(1), x.flatten(1), dim=1)
