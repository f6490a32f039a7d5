"""The multimodal variational autoencoder's objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import MultimodalModel, Output
from braidbench.specs import Modality, Task
from braidbench_multizoo.decoders import make_decoder
from braidbench_multizoo.fusions.experts import ProductOfExperts, gaussian_product
from braidbench_multizoo.losses.extended import Extended
from braidbench_multizoo.losses.reconstruction import negative_log_likelihood


def kl_from_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """(B,): KL(N(mean, exp(logvar)) ‖ N(0, I)) in nats, of (B, D). Source: Kingma & Welling (2014), appendix B."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)


class MVAE(Extended):
    """The task's loss on the sample z + ``weight`` · (−ELBO(x_1, …, x_M) − Σ_m ELBO(x_m)) / numbers of a sample.

    ELBO(X) = E_q(z|X) Σ_{x ∈ X} log p(x | z) − ``beta`` · KL(q(z | X) ‖ N(0, I)), one draw a sample, with q(z | X) the
    product of the experts of X and the prior. Dividing by how many numbers a sample has makes ``weight`` mean the same
    for any size of input and leaves the bound's own balance; the released code averages likelihood and KL each on its
    own, and sets beta to 0.

    It needs the fusion ``product-of-experts``, whose posterior it is about. Likelihoods: Bernoulli for images in
    [0, 1], normal with variance 1 otherwise, of a sequence over its real steps.

    Source: Wu & Goodman (2018), Multimodal generative models for scalable weakly-supervised learning, 2.1–2.2, without
    the random subsets; *Foundations of Multisensory AI*, 7.4.3. Raises UsageError.
    """

    def __init__(self, weight: float = 0.1, beta: float = 1.0, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(regression)
        if beta < 0:
            raise UsageError(f"objective 'mvae': beta={beta} must not be negative")
        self.weight, self.beta = weight, beta

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """Make the decoders."""
        if not isinstance(model.fusion, ProductOfExperts):
            raise UsageError(
                f"objective 'mvae' is about the posterior of the fusion 'product-of-experts', not of "
                f"{type(model.fusion).__name__}; choose that fusion, or the method 'mvae'"
            )
        self.modalities = modalities
        self.size = sum(modality.size for modality in modalities)
        self.decoders = nn.ModuleList(make_decoder(model.fusion.out_dim, modality) for modality in modalities)

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        fusion = model.fusion
        assert isinstance(fusion, ProductOfExperts)
        representations = list(output.representations.values())
        everything = range(len(self.modalities))
        bound = self._elbo(output.fused, *fusion.posterior(representations), batch, everything)
        for index, (mean, logvar) in enumerate(fusion.experts(representations)):
            mean, logvar = gaussian_product([mean], [logvar], fusion.prior)
            z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
            bound = bound + self._elbo(z, mean, logvar, batch, [index])
        return {"elbo": -self.weight * bound.mean() / self.size}

    def _elbo(self, z: Tensor, mean: Tensor, logvar: Tensor, batch: Batch, which: range | list[int]) -> Tensor:
        """(B,): the evidence lower bound of some modalities' inputs at the draw z, in nats up to a constant."""
        bound = -self.beta * kl_from_normal(mean, logvar)
        for index in which:
            modality, decoder = self.modalities[index], self.decoders[index]
            x, lengths = batch.inputs[modality.name].to(z.dtype), batch.lengths[modality.name]
            decoded = decoder(z, x.shape[1] if modality.is_sequence else None)
            bound = bound - negative_log_likelihood(modality, decoded, x, lengths)
        return bound
