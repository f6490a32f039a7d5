"""What every objective of this package starts from: the task's own loss, and the representations as vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.model import MultimodalModel, Output, out_dim
from braidbench_multizoo.encoders.masking import mean_pool
from braidbench_multizoo.objectives import Supervised


class Extended(nn.Module):
    """The task's own loss, and further terms that a subclass gives in :meth:`terms`.

    ``regression`` chooses the error of a regression task, as in :class:`braidbench_multizoo.objectives.Supervised`.
    """

    def __init__(self, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__()
        self.supervised = Supervised(regression)

    def forward(self, output: Output, batch: Batch, model: MultimodalModel) -> dict[str, Tensor]:
        """``{"task": …, …}``, scalars that are summed."""
        return {**self.supervised(output, batch, model), **self.terms(output, batch, model)}

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        """The further terms by name, each weighed already."""
        raise TypeError(f"{type(self).__name__} defines no terms")


def vectors(output: Output, batch: Batch) -> dict[str, Tensor]:
    """Each modality's representation as (B, D): a sequence's mean over its real steps."""
    return {
        name: value if value.ndim == 2 else mean_pool(value, batch.lengths[name])
        for name, value in output.representations.items()
    }


def encoder_widths(model: MultimodalModel) -> dict[str, int]:
    """Modality → the width of its representation."""
    encoders = zip(model.names, model.encoders.values(), strict=True)
    return {name: out_dim(encoder, f"the encoder of {name!r}") for name, encoder in encoders}


def fused_width(model: MultimodalModel) -> int:
    """The width of the fused representation."""
    return out_dim(model.fusion, "the fusion")
