"""Gradient blending: how much each modality's own loss counts follows from how it generalises and overfits."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.data import Batch, Split, TrainingData
from braidbench.errors import UsageError
from braidbench.model import Head, MultimodalModel, Output, out_dim
from braidbench.specs import Modality, Task
from braidbench.training import WORST, Settings, train
from braidbench_multizoo.encoders.masking import mean_pool

MULTIMODAL = "multimodal"
"""The branch that has the fusion, beside one a modality."""


class Blended(MultimodalModel):
    """A multimodal model with a head on each modality's representation as well. It predicts with the multimodal one.

    Source: Wang, Tran & Feiszli (2020), What makes training multi-modal classification networks hard?, figure 1c.
    """

    def __init__(
        self, encoders: Mapping[str, nn.Module], fusion: nn.Module, head: Head, task: Task, takes: str = "vectors"
    ) -> None:
        super().__init__(encoders, fusion, head, task, takes)
        self.heads = nn.ModuleList(
            head.resized(out_dim(encoder, f"the encoder of {name!r}")) for name, encoder in encoders.items()
        )

    def branches(self, output: Output, lengths: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Branch → its prediction (B, width): each modality's, and the multimodal one."""
        found = {}
        for head, (name, value) in zip(self.heads, output.representations.items(), strict=True):
            found[name] = head(value if value.ndim == 2 else mean_pool(value, lengths[name]))
        return {**found, MULTIMODAL: output.prediction}


class Blend:
    """The weighted sum of the branches' losses, each by ``objective``: a training loss for :class:`Blended`."""

    def __init__(self, objective: object, weights: Mapping[str, float]) -> None:
        self.objective, self.weights = objective, weights

    def __call__(self, output: Output, batch: Batch, model: nn.Module) -> dict[str, Tensor]:
        assert isinstance(model, Blended)
        terms: dict[str, Tensor] = {}
        for branch, prediction in model.branches(output, batch.lengths).items():
            weight = self.weights.get(branch, 0.0)
            if weight:
                own = self.objective(replace(output, prediction=prediction), batch, model)  # type: ignore[operator]
                terms |= {f"{branch}-{name}": weight * value for name, value in own.items()}
        return terms


@dataclass(frozen=True)
class Losses:
    """A branch's mean losses on the training and the validation split."""

    train: float
    valid: float


def blend_weights(before: Sequence[Losses], after: Sequence[Losses], floor: float = 0.01) -> list[float]:
    """w_k ∝ ΔG_k / ΔO_k², summing to 1, from each branch's losses at two checkpoints.

    ΔG is how much the validation loss fell and ΔO how much the gap L_valid − L_train grew (the paper's target loss,
    estimated by the validation loss). A branch whose validation loss rose gets 0. A gap that grew by less than
    ``floor`` counts as that: without overfitting to measure, the formula would give one branch everything. If no branch
    generalised, all weigh alike.

    Source: Wang, Tran & Feiszli (2020), equation 7 and algorithm 1.
    """
    raw = []
    for start, end in zip(before, after, strict=True):
        gain = start.valid - end.valid
        overfitting = (end.valid - end.train) - (start.valid - start.train)
        raw.append(max(gain, 0.0) / max(overfitting, floor) ** 2)
    return _normalised(raw)


def released_weights(after: Sequence[Losses]) -> list[float]:
    """w_k ∝ |L_valid / O²| with O = L_valid − L_train, 1e-4 where that is not positive; summing to 1.

    What the released MultiBench code computes: it looks at the end alone, and a branch without a gap takes all.
    """
    raw = []
    for end in after:
        gap = end.valid - end.train
        raw.append(abs(end.valid / (gap if gap > 0 else 1e-4) ** 2))
    return _normalised(raw)


def _normalised(raw: Sequence[float]) -> list[float]:
    total = math.fsum(raw)
    return [value / total for value in raw] if total > 0 else [1 / len(raw)] * len(raw)


class GradientBlend:
    """Online gradient blending: ``super_epochs`` times, find the weights and train the blended loss with them.

    Each time, a copy of every branch (each modality with its head; the multimodal one) is trained alone from where the
    model stands for a super-epoch's share of the budget, and its losses before and after give its weight. Then the
    model itself is trained for that share with the weighted sum. With one super-epoch it is the offline variant. The
    copies cost about as much as the training itself. The weights of the best validation epoch of all are kept.

    ``variant="released"`` weighs as the released MultiBench code does (:func:`released_weights`).

    Source: Wang, Tran & Feiszli (2020), algorithms 1 and 2; *Foundations of Multisensory AI*, 7.4.4. Raises UsageError.
    """

    def __init__(
        self, super_epochs: int = 2, variant: Literal["paper", "released"] = "paper", floor: float = 0.01
    ) -> None:
        if super_epochs < 1 or floor <= 0:
            raise UsageError(
                f"procedure 'gradient-blend': super_epochs={super_epochs} must be 1 or more and floor={floor} above 0"
            )
        self.super_epochs, self.variant, self.floor = super_epochs, variant, floor

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why it cannot serve these modalities, or None."""
        return None if len(modalities) > 1 else "there is nothing to blend with one modality"

    def fit(self, model: nn.Module, data: TrainingData, settings: Settings) -> nn.Module:
        """The model with the weights of its best validation epoch."""
        if not isinstance(model, Blended):
            raise UsageError(
                f"procedure 'gradient-blend' needs a head for each modality; {type(model).__name__} has none: use a "
                "method with the model braidbench_multizoo.blending:Blended"
            )
        model.to(settings.accelerator.device)
        best, best_weights = WORST, copy.deepcopy(model.state_dict())
        for index, epochs in enumerate(shares(settings.training.epochs, self.super_epochs)):
            plan = replace(settings.training, epochs=epochs)
            # Another order of the data in every super-epoch, as one long training would have.
            seeds = {**settings.seeds, "order": settings.seeds["order"] + index}
            # What is measured is the last epoch of a fixed number, not the best one.
            measured = replace(plan, patience=None)
            weights = self._weights(model, data, settings, index, training=measured, seeds=seeds)
            objective = Blend(settings.objective, weights)
            own = settings.phase(f"blend-{index}", training=plan, seeds=seeds, objective=objective)
            history = train(model, data, own)
            rank = history.rank(settings.sign)
            if rank > best:
                best, best_weights = rank, copy.deepcopy(model.state_dict())
        model.load_state_dict(best_weights)
        return model

    def _weights(
        self, model: Blended, data: TrainingData, settings: Settings, index: int, **changes: object
    ) -> dict[str, float]:
        """Branch → its weight, by training a copy of each branch alone."""
        branches = [*model.names, MULTIMODAL]
        before, after = [], []
        for branch in branches:
            alone = copy.deepcopy(model)
            objective = Blend(settings.objective, {branch: 1.0})
            before.append(mean_losses(alone, data, settings, branch))
            own = settings.phase(f"estimate-{index}-{branch}", objective=objective, keep="last", **changes)
            train(alone, data, own)
            after.append(mean_losses(alone, data, settings, branch))
        found = released_weights(after) if self.variant == "released" else blend_weights(before, after, self.floor)
        return dict(zip(branches, found, strict=True))


def shares(epochs: int, parts: int) -> list[int]:
    """``epochs`` split into at most ``parts`` shares as even as can be, none empty: 7 in 2 is [4, 3]."""
    parts = min(parts, epochs)
    return [epochs // parts + (1 if index < epochs % parts else 0) for index in range(parts)]


@torch.no_grad()
def mean_losses(model: Blended, data: TrainingData, settings: Settings, branch: str) -> Losses:
    """A branch's mean loss a sample on both splits, in evaluation mode."""
    model.eval()
    objective = Blend(settings.objective, {branch: 1.0})
    size = 4 * settings.training.batch_size
    device = next(model.parameters()).device

    def mean(split: Split) -> float:
        total = torch.zeros((), device=device, dtype=torch.float64)
        for batch in split.batches(size):
            batch = batch.to(device)
            output = model(batch.inputs, batch.lengths)
            total += len(batch) * torch.stack(tuple(objective(output, batch, model).values())).sum()
        return float(total) / len(split)

    return Losses(mean(data.train), mean(data.valid))
