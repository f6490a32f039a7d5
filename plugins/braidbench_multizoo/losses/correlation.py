"""Canonical correlation between the modalities' representations."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.losses.agreement import one_is_not_enough
from braidbench_multizoo.losses.extended import Extended, encoder_widths, vectors


def canonical_correlations(x: Tensor, y: Tensor, ridge: float = 1e-3) -> Tensor:
    """The canonical correlations of x (B, D_x) and y (B, D_y), largest first: min(D_x, D_y) numbers in [0, 1).

    Singular values of L_x⁻¹ Σ_xy L_y⁻ᵀ, where L Lᵀ = Σ + ``ridge`` · I with covariances over B − 1: whitening by
    Cholesky factors instead of symmetric square roots turns the matrix and leaves its singular values. Their sum's
    gradient is U Vᵀ, which is bounded however close together they lie; an eigendecomposition's is not. Computed in
    double precision. Zeros for a batch of one, which has no covariance.

    Source: Andrew et al. (2013), Deep canonical correlation analysis, 3, equations 10–13.
    """
    if len(x) < 2:
        return (x.sum() + y.sum()) * x.new_zeros(min(x.shape[1], y.shape[1]))
    kind = x.dtype
    x, y = ((v - v.mean(0)).double() for v in (x, y))

    def factor(v: Tensor) -> Tensor:
        identity = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
        found: Tensor = torch.linalg.cholesky(v.T @ v / (len(v) - 1) + ridge * identity)
        return found

    cross = x.T @ y / (len(x) - 1)
    half = torch.linalg.solve_triangular(factor(x), cross, upper=False)
    whitened = torch.linalg.solve_triangular(factor(y), half.T, upper=False)
    found: Tensor = torch.linalg.svdvals(whitened)
    return found.to(kind)


class CCA(Extended):
    """The task's loss − ``weight`` · the mean over all pairs of modalities of their total canonical correlation.

    ``project`` is the width of the auxiliary linear layers g_m that each representation goes through first; None
    correlates the representations themselves, as the released code does, which pays only where a batch has several
    times as many samples as they have numbers: otherwise every batch is perfectly correlated. ``top`` takes the largest
    correlations only; None takes all. ``ridge`` is added to the variances.

    The released code takes the square root of T'T element by element where it sums all correlations, which is neither
    their sum nor differentiable at negative entries, and knows the first two modalities alone.

    Source: Andrew et al. (2013); Sun et al. (2020); *Foundations of Multisensory AI*, 7.4.3. Raises UsageError.
    """

    def __init__(
        self,
        weight: float = 0.1,
        project: int | None = 8,
        top: int | None = None,
        ridge: float = 1e-3,
        regression: Literal["mse", "mae"] = "mse",
    ) -> None:
        super().__init__(regression)
        if ridge <= 0 or any(value is not None and value < 1 for value in (project, top)):
            raise UsageError(
                f"objective 'cca': ridge={ridge} must be above 0, project={project} and top={top} 1 or more"
            )
        self.weight, self.project, self.top, self.ridge = weight, project, top, ridge

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        return one_is_not_enough(modalities, "a correlation")

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the auxiliary layers."""
        self.auxiliary = nn.ModuleList(
            nn.Identity() if self.project is None else nn.Linear(width, self.project)
            for width in encoder_widths(model).values()
        )

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        views = [g(z) for g, z in zip(self.auxiliary, vectors(output, batch).values(), strict=True)]
        totals = [canonical_correlations(x, y, self.ridge)[: self.top].sum() for x, y in combinations(views, 2)]
        return {"correlation": -self.weight * torch.stack(totals).mean()}
