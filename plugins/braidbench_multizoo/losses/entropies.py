"""Regularisation by maximising functional entropies: every modality has to matter to the prediction."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.losses.extended import Extended

SMALLEST = 1e-12
"""Information below which a modality counts as having this much, so that its inverse is finite."""


class RMFE(Extended):
    """The task's loss + ``weight`` · ‖(1 / I_1, …, 1 / I_M)‖₂, I_m the functional Fisher information of modality m.

    f(z) is the cross entropy of the prediction at a perturbed input z against the prediction at x itself (for
    regression a half plus their squared distance, positive as f has to be), and z = x + ``noise`` · (deviation of that
    input over the batch) · ε with standard normal ε, ``copies`` times a sample. I_m is the mean of ‖∂f/∂z_m‖² / f,
    which bounds the functional entropy from above (log-Sobolev inequality). A modality that the prediction ignores has
    little of it, and the term grows without bound.

    The published weight is 1e-10 with ten copies, which on the bundled datasets changes nothing but the time: there an
    information is 1e-4 to 1 in training. ``copies`` + 1 forward passes and a second derivative make it the dearest
    objective here.

    Integer inputs (tokens) cannot be perturbed: a dataset of only those is refused. The released code covers the first
    two modalities only and goes on in silence where a gradient cannot be had.

    Source: Gat et al. (2020), Removing bias in multi-modal classifiers: regularization by maximizing functional
    entropies, 3 and 4; *Foundations of Multisensory AI*, 7.4.4. Raises UsageError.
    """

    def __init__(
        self,
        weight: float = 1e-5,
        noise: float = 1.0,
        copies: int = 3,
        regression: Literal["mse", "mae"] = "mse",
    ) -> None:
        super().__init__(regression)
        if copies < 1 or noise <= 0:
            raise UsageError(f"objective 'rmfe': copies={copies} must be 1 or more, and noise={noise} above 0")
        self.weight, self.noise, self.copies = weight, noise, copies

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Remember the task."""
        self.task = task

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        informations = self.informations(output, batch, model).values()
        inverse = torch.stack([1 / value.clamp(min=SMALLEST) for value in informations])
        return {"functional-entropy": self.weight * inverse.norm()}

    def informations(self, output: Output, batch: Batch, model: MultimodalModel) -> dict[str, Tensor]:
        """Modality → its functional Fisher information, a scalar ≥ 0 that can be differentiated. Raises UsageError."""
        if not any(x.is_floating_point() for x in batch.inputs.values()):
            raise UsageError("objective 'rmfe' perturbs inputs; this dataset's are integers: choose another objective")
        perturbed: dict[str, Tensor] = {}
        lengths: dict[str, Tensor | None] = {}
        for name, x in batch.inputs.items():
            n = batch.lengths[name]
            lengths[name] = None if n is None else n.repeat(self.copies)
            perturbed[name] = x.repeat(self.copies, *[1] * (x.ndim - 1))
            if x.is_floating_point():
                spread = x.std(0, unbiased=False) if len(x) > 1 else torch.ones_like(x[0])
                drawn = torch.randn_like(perturbed[name])
                perturbed[name] = (perturbed[name] + self.noise * spread * drawn).requires_grad_()
        with torch.enable_grad(), _twice_differentiable():
            there = model(perturbed, lengths).prediction
            here = output.prediction.detach().repeat(self.copies, *[1] * (there.ndim - 1))
            values = self._distance(here, there)
            names = [name for name, x in perturbed.items() if x.requires_grad]
            gradients = torch.autograd.grad(
                values.sum(), [perturbed[name] for name in names], create_graph=True, allow_unused=True
            )
        return {
            name: values.new_zeros(()) if g is None else (g.flatten(1).square().sum(1) / values).mean()
            for name, g in zip(names, gradients, strict=True)
        }

    def _distance(self, here: Tensor, there: Tensor) -> Tensor:
        """(N,): f, positive."""
        if self.task.kind == "classification":
            return functional.cross_entropy(there, here.softmax(1), reduction="none").clamp(min=SMALLEST)
        if self.task.kind == "multilabel":
            loss = functional.binary_cross_entropy_with_logits(there, here.sigmoid(), reduction="none")
            return loss.sum(1).clamp(min=SMALLEST)
        return 0.5 + (there - here).flatten(1).square().sum(1)


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Fused recurrent kernels have a first derivative only: the perturbed pass goes without them."""
    with warnings.catch_warnings():
        # Setting oneDNN's switches warns of Intel GPUs that are not there.
        warnings.simplefilter("ignore", UserWarning)
        with torch.backends.cudnn.flags(enabled=False), torch.backends.mkldnn.flags(enabled=False):
            yield
