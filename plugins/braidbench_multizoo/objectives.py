"""Training losses."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from braidbench.data import Batch
from braidbench.model import Output


class Supervised:
    """The task's own loss: cross-entropy, binary cross-entropy for each label, or squared or absolute error.

    Source: *Foundations of Multisensory AI*, 7.4.3.
    """

    def __init__(self, regression: Literal["mse", "mae"] = "mse", label_smoothing: float = 0.0) -> None:
        self.regression = regression
        self.label_smoothing = label_smoothing

    def __call__(self, output: Output, batch: Batch, model: nn.Module) -> dict[str, Tensor]:
        """``{"task": loss}``, a scalar: the mean over samples (and labels or outputs)."""
        prediction, target = output.prediction, batch.target
        kind = model.task.kind  # type: ignore[union-attr]
        if kind == "classification":
            return {"task": F.cross_entropy(prediction, target, label_smoothing=self.label_smoothing)}
        if kind == "multilabel":
            return {"task": F.binary_cross_entropy_with_logits(prediction, target)}
        error = F.mse_loss if self.regression == "mse" else F.l1_loss
        return {"task": error(prediction, target.reshape(prediction.shape))}
