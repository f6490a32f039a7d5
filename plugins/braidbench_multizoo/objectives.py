"""Training losses, as named terms."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Output
from braidbench.precision import as_float32
from braidbench.specs import Task


class _HasTask(Protocol):
    task: Task


class Supervised:
    """The loss of the task: cross-entropy over classes, binary cross-entropy over labels, squared or absolute error.

    Each is the mean over the batch (and over labels or outputs). ``regression`` chooses the error. ``label_smoothing``
    in [0, 1) moves that share of a class's probability evenly to all classes. ``class_weights``, one a class, weighs
    the samples of a class (classification), or a label's positives (multilabel); None weighs all alike.

    Source: *Foundations of Multisensory AI*, 7.4.3. Raises UsageError for an option that the task has no use for.
    """

    def __init__(
        self,
        regression: Literal["mse", "mae"] = "mse",
        label_smoothing: float = 0.0,
        class_weights: tuple[float, ...] | None = None,
    ) -> None:
        if not 0.0 <= label_smoothing < 1.0:
            raise UsageError(f"objective 'supervised': label_smoothing must be in [0, 1), not {label_smoothing}")
        self.regression = regression
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def __call__(self, output: Output, batch: Batch, model: _HasTask | nn.Module) -> dict[str, Tensor]:
        """``{"task": loss}``; ``output.prediction`` is (B, width): logits, or values for regression."""
        task = model.task
        assert isinstance(task, Task)
        self._check(task)
        # Also where a further objective runs under autocast.
        prediction = as_float32(output.prediction)
        weights = None if self.class_weights is None else prediction.new_tensor(self.class_weights)
        if task.kind == "classification":
            loss = functional.cross_entropy(
                prediction, batch.target, weight=weights, label_smoothing=self.label_smoothing
            )
        elif task.kind == "multilabel":
            target = batch.target.to(prediction.dtype)
            loss = functional.binary_cross_entropy_with_logits(prediction, target, pos_weight=weights)
        else:
            # A target (B,) against (B, 1) would be broadcast to (B, B) and teach the mean.
            target = batch.target.to(prediction.dtype).reshape(prediction.shape)
            error = functional.mse_loss if self.regression == "mse" else functional.l1_loss
            loss = error(prediction, target)
        return {"task": loss}

    def _check(self, task: Task) -> None:
        if self.label_smoothing and task.kind != "classification":
            raise UsageError(f"objective 'supervised': label_smoothing is for classification; {task.name!r} is not one")
        if self.class_weights is None:
            return
        if task.kind == "regression":
            raise UsageError(f"objective 'supervised': class_weights are for classes; {task.name!r} is a regression")
        if len(self.class_weights) != task.width:
            raise UsageError(
                f"objective 'supervised': class_weights has {len(self.class_weights)} numbers; {task.name!r} has "
                f"{task.width} classes"
            )
