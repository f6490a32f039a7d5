"""Ensembles: each modality's model is trained alone, and their predictions are put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.data import TrainingData
from braidbench.errors import UsageError
from braidbench.model import Head, Output, out_dim
from braidbench.precision import as_float32
from braidbench.specs import Task
from braidbench.training import Settings, train
from braidbench_multizoo.encoders.masking import mean_pool

TIE = 0.5
"""Share of one vote that the mean probability of a class counts: it decides between equals and nothing else."""


class Single(nn.Module):
    """One modality's encoder and head, as a model of its own."""

    def __init__(self, name: str, encoder: nn.Module, head: Head, task: Task) -> None:
        super().__init__()
        self.name, self.task = name, task
        self.encoder, self.head = encoder, head

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        """As :meth:`braidbench.model.MultimodalModel.forward`; other modalities are not looked at."""
        found = self.encoder(inputs[self.name], lengths[self.name])
        vector = found if found.ndim == 2 else mean_pool(found, lengths[self.name])
        return Output(self.head(vector), vector, {self.name: found})


class Ensemble(nn.Module):
    """A model for each modality and a rule that joins their predictions; there is no fused representation to learn.

    ``combine="add"`` adds the logits, or takes the mean of the values of a regression. ``combine="vote"`` gives each
    class its share of the modalities whose most probable one it is (each label its share of those that say yes); equal
    shares are decided by the mean probability. A vote cannot be differentiated, so such an ensemble is trained one
    modality at a time (the procedure ``separately``); of a regression it is the mean.

    Source: *Foundations of Multisensory AI*, 3.3.3 (ADDITIVE), after Hessel & Lee (2020); majority vote: Hansen &
    Salamon (1990).
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: Head,
        task: Task,
        takes: str = "vectors",
        combine: Literal["add", "vote"] = "add",
    ) -> None:
        super().__init__()
        self.names = tuple(encoders)
        self.singles = nn.ModuleList(
            Single(name, encoder, head.resized(out_dim(encoder, f"the encoder of {name!r}")), task)
            for name, encoder in encoders.items()
        )
        self.task = task
        self.combine = combine

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        """``fused`` is the unimodal predictions side by side, (B, M · width)."""
        parts = [single(inputs, lengths) for single in self.singles]
        said = torch.stack([part.prediction for part in parts])
        if self.task.kind == "regression":
            joined = said.mean(0)
        else:
            joined = said.sum(0) if self.combine == "add" else vote(said, self.task)
        found = {name: part.representations[name] for name, part in zip(self.names, parts, strict=True)}
        return Output(joined, said.transpose(0, 1).flatten(1), found)


def vote(logits: Tensor, task: Task) -> Tensor:
    """(M, B, width) logits of M voters → (B, width) logits whose probabilities are the shares of the votes."""
    # In half precision the mean probability, half a vote, would be rounded away beside the votes.
    logits = as_float32(logits)
    smallest = torch.finfo(logits.dtype).tiny
    voters = len(logits)
    if task.kind == "multilabel":
        probabilities = logits.sigmoid()
        votes = (logits > 0).to(logits.dtype)
        share = (votes.sum(0) + TIE * probabilities.mean(0)) / (voters + TIE)
        return torch.logit(share, eps=1e-7)
    probabilities = logits.softmax(-1)
    votes = torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    share = (votes.sum(0) + TIE * probabilities.mean(0)) / (voters + TIE)
    return share.clamp(min=smallest).log()


class Separately:
    """Train each modality's model on its own, one phase a modality, each with the dataset's whole budget.

    It is for models that consist of :class:`Single` ones (the methods ``ensemble-additive`` and ``ensemble-vote``).
    Each keeps the weights of its own best validation epoch. Raises UsageError for another model.
    """

    def fit(self, model: nn.Module, data: TrainingData, settings: Settings) -> nn.Module:
        """The model with every part trained."""
        if not isinstance(model, Ensemble):
            raise UsageError(
                f"procedure 'separately' trains an ensemble's parts one by one; {type(model).__name__} has none: "
                "use a method with the model braidbench_multizoo.ensembles:Ensemble"
            )
        for single in model.singles:
            assert isinstance(single, Single)
            train(single, data.only((single.name,)), settings.phase(single.name))
        return model.to(settings.accelerator.device)
