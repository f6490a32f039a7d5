"""How well decoders give the inputs back, and the discrepancy of a representation from a standard normal one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import valid_steps, zero_padding

BOUNDED = ("image", "depth")
"""Kinds whose values lie in [0, 1]."""


def squared_error(decoded: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B,): the sum of (decoded − x)² over a sample's numbers, of a sequence over its real steps."""
    if lengths is not None:
        decoded, x = zero_padding(decoded, lengths), zero_padding(x, lengths)
    return (decoded - x).square().flatten(1).sum(1)


def negative_log_likelihood(modality: Modality, decoded: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B,): −log p(x | z) up to a constant, in nats.

    Bernoulli with logits ``decoded`` for what lies in [0, 1] (images, depth), a normal distribution of variance 1
    around ``decoded`` for the rest.
    """
    if modality.kind not in BOUNDED:
        return 0.5 * squared_error(decoded, x, lengths)
    loss = functional.binary_cross_entropy_with_logits(decoded, x.clamp(0, 1), reduction="none")
    if lengths is not None:
        loss = zero_padding(loss, lengths)
    return loss.flatten(1).sum(1)


def numbers(modality: Modality, x: Tensor, lengths: Tensor | None) -> Tensor:
    """How many numbers a batch's samples have: of sequences those of real steps; at least one."""
    if lengths is None:
        return torch.tensor(float(x.numel()), device=x.device)
    return (valid_steps(x, lengths).sum() * (modality.size // (modality.length or 1))).clamp(min=1).to(x.dtype)


def gaussian_kernel(x: Tensor, y: Tensor, variance: float) -> Tensor:
    """(N, M): exp(−‖x_i − y_j‖² / (2 · variance))."""
    return torch.exp(-torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * variance))


def mmd(x: Tensor, y: Tensor, variance: float) -> Tensor:
    """Squared maximum mean discrepancy of samples x (N, D) and y (M, D) under a Gaussian kernel; 0 for equal samples.

    Source: Gretton et al. (2012), equation 5 (the biased statistic).
    """
    within = gaussian_kernel(x, x, variance).mean() + gaussian_kernel(y, y, variance).mean()
    return within - 2 * gaussian_kernel(x, y, variance).mean()


def mmd_from_normal(x: Tensor, variance: float | None = None) -> Tensor:
    """Squared maximum mean discrepancy of a sample x (N, D) from the standard normal distribution N(0, I).

    Both expectations over the normal distribution have closed forms, so nothing is drawn: with v the kernel's
    ``variance`` (D when None: then it falls to about 1/e between two typical draws),
    E k(x, y) = (v / (v + 1))^(D/2) exp(−‖x‖² / (2 (v + 1))) and E k(y, y') = (v / (v + 2))^(D/2).

    Source: Gretton et al. (2012), equation 5, with the integrals taken.
    """
    size = x.shape[1]
    v = float(size) if variance is None else variance
    cross = (v / (v + 1)) ** (size / 2) * torch.exp(-x.square().sum(1) / (2 * (v + 1))).mean()
    found: Tensor = gaussian_kernel(x, x, v).mean() - 2 * cross + (v / (v + 2)) ** (size / 2)
    return found
