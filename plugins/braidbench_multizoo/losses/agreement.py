"""Modalities that shall say the same: agreement of predictions, alignment of representations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output, activate
from braidbench.specs import Modality, Task
from braidbench_multizoo.losses.extended import Extended, encoder_widths, vectors


def one_is_not_enough(modalities: tuple[Modality, ...], what: str) -> str | None:
    """The reason why a loss between modalities cannot serve a single one."""
    return None if len(modalities) > 1 else f"{what} is between two modalities or more"


class Agreement(Extended):
    """The task's loss + ``unimodal`` · the mean of the unimodal task losses + ``weight`` · the mean over all pairs of
    modalities of E ‖ŷ_1 − ŷ_2‖².

    Each modality gets a linear predictor of its own on its representation; ŷ_m is what it predicts (probabilities, or
    values). Agreement is asked of predictors that are trained, because untrained ones agree best on a constant. In the
    code released with the thesis the term is detached from the graph, so that it trains nothing.

    Source: Ding, Li, Narasimhan & Tibshirani (2022), Cooperative learning for multiview analysis, equation 1, with
    separate predictors; *Foundations of Multisensory AI*, 3.3.3 (AGREE) and definition 6.
    """

    def __init__(self, weight: float = 0.5, unimodal: float = 0.5, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(regression)
        self.weight, self.unimodal = weight, unimodal

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        return one_is_not_enough(modalities, "agreement")

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the unimodal predictors."""
        self.predictors = nn.ModuleList(nn.Linear(width, task.width) for width in encoder_widths(model).values())

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        own = [g(z) for g, z in zip(self.predictors, vectors(output, batch).values(), strict=True)]
        losses = [
            self.supervised(Output(prediction, output.fused, output.representations), batch, model)["task"]
            for prediction in own
        ]
        said = [activate(model.task, prediction) for prediction in own]
        distances = [(one - other).square().sum(1).mean() for one, other in combinations(said, 2)]
        return {
            "unimodal": self.unimodal * torch.stack(losses).mean(),
            "agreement": self.weight * torch.stack(distances).mean(),
        }


class Alignment(Extended):
    """The task's loss + ``weight`` · the mean over all pairs of modalities of 1 − cos(g_1(z_1), g_2(z_2)).

    g_m is a linear layer to ``project`` numbers. In the code released with the thesis the term is detached from the
    graph, and its sign would push the modalities apart.

    Source: *Foundations of Multisensory AI*, 3.3.3 (ALIGN) and 7.4.3, feature-level alignment. Raises UsageError.
    """

    def __init__(self, weight: float = 0.1, project: int = 32, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(regression)
        if project < 1:
            raise UsageError(f"objective 'alignment': project={project} must be 1 or more")
        self.weight, self.project = weight, project

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        return one_is_not_enough(modalities, "alignment")

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the projections into the common space."""
        self.projections = nn.ModuleList(nn.Linear(width, self.project) for width in encoder_widths(model).values())

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        views = [g(z) for g, z in zip(self.projections, vectors(output, batch).values(), strict=True)]
        apart = [1 - functional.cosine_similarity(one, other, dim=1).mean() for one, other in combinations(views, 2)]
        return {"alignment": self.weight * torch.stack(apart).mean()}
