"""The losses of cyclic translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.losses.extended import Extended
from braidbench_multizoo.translation import MCTN


class Translation(Extended):
    """The task's loss + ``translation`` · Σ the errors of every target + ``cycle`` · the error back to the source.

    Source: Pham et al. (2019), equations 4–6, with the regression loss of the task. Raises UsageError for a model that
    does not translate.
    """

    def __init__(self, translation: float = 0.1, cycle: float = 0.1, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(regression)
        self.translation, self.cycle = translation, cycle

    def bind(self, model: nn.Module, modalities: tuple[Modality, ...], task: Task) -> None:
        """See that the model translates."""
        if not isinstance(model, MCTN):
            raise UsageError(
                f"objective 'mctn' needs a model that translates, not {type(model).__name__}: use the method 'mctn'"
            )

    def terms(self, output: Output, batch: Batch, model: object) -> Mapping[str, Tensor]:
        assert isinstance(model, MCTN)
        return {
            name: (self.cycle if name == "back" else self.translation) * error
            for name, error in model.translations(batch).items()
        }
