"""The product of Gaussian experts, one a modality."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.precision import as_float32


def gaussian_product(means: list[Tensor], logvars: list[Tensor], prior: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and log variance of the normalised product of Gaussians with diagonal covariances, tensors of one shape.

    With ``prior`` a standard normal is one more factor. The precision is the sum of precisions 1 / σ_i² and the mean
    is the means' average with weights in proportion to them. Both are found from the logarithms, so that no variance,
    however small or large, over- or underflows. Raises UsageError for a product of nothing.

    Source: Wu & Goodman (2018), 2.
    """
    if not means:
        raise UsageError("a product of Gaussian experts needs one expert or more")
    if prior:
        standard = torch.zeros_like(means[0])
        means, logvars = [standard, *means], [standard, *logvars]
    log_precisions = -torch.stack(logvars)
    weights = torch.softmax(log_precisions, dim=0)
    return (weights * torch.stack(means)).sum(0), -torch.logsumexp(log_precisions, dim=0)


class ProductOfExperts(nn.Module):
    """q(z | x_1, …, x_M) = N(z; 0, 1) · Π_m N(z; μ_m, σ_m²) normalised: a sample in training, its mean in evaluation.

    ``experts="project"`` maps each representation to (μ_m, log σ_m²) of ``out_dim`` numbers each by a linear layer;
    ``experts="halves"`` takes the halves of a representation to be them already, as the encoder ``time-series-vae``
    gives them: then every one is twice as wide as the latent vector and ``out_dim`` is not read. ``prior=False`` leaves
    the standard normal out. Samples are drawn with torch's global generator, reparameterised.

    An objective that needs the posteriors calls :meth:`posterior` or :meth:`experts` with the representations.

    Source: Wu & Goodman (2018), 2; *Foundations of Multisensory AI*, 7.4.3. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        out_dim: int = 64,
        experts: Literal["project", "halves"] = "project",
        prior: bool = True,
    ) -> None:
        super().__init__()
        if experts == "halves":
            if len(set(in_dims)) > 1 or in_dims[0] % 2:
                raise UsageError(
                    "fusion 'product-of-experts' with experts=halves needs representations of one even width, μ and "
                    f"log σ² side by side; they are {', '.join(map(str, in_dims))} wide: set fusion.experts=project"
                )
            out_dim = in_dims[0] // 2
        if out_dim < 1:
            raise UsageError(f"fusion 'product-of-experts': out_dim must be 1 or more, not {out_dim}")
        self.projections = nn.ModuleList(
            nn.Linear(size, 2 * out_dim) if experts == "project" else nn.Identity() for size in in_dims
        )
        self.prior = prior
        self.out_dim = out_dim

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, out_dim)."""
        mean, logvar = self.posterior(representations)
        if not self.training:
            return mean
        return mean + (0.5 * logvar).exp() * torch.randn_like(mean)

    def experts(self, representations: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Each modality's own (μ_m, log σ_m²), (B, out_dim) both, before the prior and the others join."""
        found: list[tuple[Tensor, Tensor]] = []
        for projection, representation in zip(self.projections, representations, strict=True):
            # Precisions are exponentials: in float32 from here on, under any autocast.
            mean, logvar = as_float32(projection(representation)).chunk(2, dim=1)
            found.append((mean, logvar))
        return found

    def posterior(self, representations: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(μ, log σ²) of the product of all modalities and the prior, (B, out_dim) both."""
        means, logvars = zip(*self.experts(representations), strict=True)
        return gaussian_product(list(means), list(logvars), self.prior)
