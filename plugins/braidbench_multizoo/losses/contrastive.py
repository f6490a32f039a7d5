"""Multi-view contrast: a sample's modalities shall be recognised as one sample's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.losses.agreement import one_is_not_enough
from braidbench_multizoo.losses.extended import Extended, encoder_widths, vectors


def info_nce(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """The symmetric InfoNCE loss of paired rows x and y (B, D), in nats: 0 for a batch of one.

    ½ (CE of finding y_i among all y by x_i + CE of finding x_i among all x by y_i), by cosine over ``temperature``.
    log B minus it is a lower bound on I(X; Y).

    Source: van den Oord et al. (2018), equation 4; Tian, Krishnan & Isola (2020), equation 7.
    """
    scores = functional.normalize(x, dim=1) @ functional.normalize(y, dim=1).T / temperature
    index = torch.arange(len(x), device=x.device)
    return 0.5 * (functional.cross_entropy(scores, index) + functional.cross_entropy(scores.T, index))


def predicted_similarity(predicted: Tensor, target: Tensor) -> Tensor:
    """1 − the mean cosine of ``predicted`` and ``target`` (B, D), no gradient to the latter.

    Source: Chen & He (2021), equations 1 and 3.
    """
    return 1 - functional.cosine_similarity(predicted, target.detach(), dim=1).mean()


class Contrastive(Extended):
    """The task's loss + ``weight`` · the mean over all pairs of modalities of a contrastive loss of their projections.

    Each representation goes through a hidden layer to ``project`` numbers. With ``negatives`` the loss is
    :func:`info_nce`, the rest of the batch being negatives; without, a predictor h maps each projection to the other
    modality's, which is held fixed: half of :func:`predicted_similarity` each way. Without the fixed side, or without
    the predictor, that has a constant as its best answer.

    Source: Tian, Krishnan & Isola (2020), Contrastive multiview coding, 3; Chen & He (2021), Exploring simple Siamese
    representation learning; *Foundations of Multisensory AI*, 7.4.3. Raises UsageError.
    """

    def __init__(
        self,
        weight: float = 0.1,
        negatives: bool = True,
        temperature: float = 0.1,
        project: int = 32,
        regression: Literal["mse", "mae"] = "mse",
    ) -> None:
        super().__init__(regression)
        if temperature <= 0 or project < 1:
            raise UsageError(
                f"objective 'contrastive': temperature={temperature} must be above 0, and project={project} 1 or more"
            )
        self.weight, self.negatives, self.temperature, self.project = weight, negatives, temperature, project

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        return one_is_not_enough(modalities, "contrast")

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the projections, and without negatives the predictors."""
        widths = encoder_widths(model).values()
        self.projections = nn.ModuleList(_hidden_layer(width, self.project) for width in widths)
        if not self.negatives:
            self.predictors = nn.ModuleList(_hidden_layer(self.project, self.project) for _ in widths)

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        views = [g(z) for g, z in zip(self.projections, vectors(output, batch).values(), strict=True)]
        losses = []
        for i, j in combinations(range(len(views)), 2):
            if self.negatives:
                losses.append(info_nce(views[i], views[j], self.temperature))
            else:
                there = predicted_similarity(self.predictors[i](views[i]), views[j])
                back = predicted_similarity(self.predictors[j](views[j]), views[i])
                losses.append(0.5 * (there + back))
        return {"contrast": self.weight * torch.stack(losses).mean()}


def _hidden_layer(width: int, out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * out_dim), nn.ReLU(), nn.Linear(2 * out_dim, out_dim))
