"""Training procedures."""

from __future__ import annotations

from braidbench.data import TrainingData
from braidbench.model import MultimodalModel
from braidbench.training import Settings, train


class Supervised:
    """Minimise the objective over all parameters at once; keep the weights of the best validation epoch.

    Source: *Foundations of Multisensory AI*, 7.5, setup: one training loop for every method.
    """

    def fit(self, model: MultimodalModel, data: TrainingData, settings: Settings) -> MultimodalModel:
        """The model with the weights of its best validation epoch."""
        train(model, data, settings)
        return model
