"""Tensor fusion and its low-rank form.

Sources: Zadeh et al., Tensor Fusion Network (EMNLP 2017), eq. 1–3; Liu et al., Efficient Low-rank Multimodal Fusion
(ACL 2018), eq. 5–8; *Foundations of Multisensory AI*, 7.4.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError

LARGEST = 1 << 20
"""Numbers in a fused tensor beyond which it is refused rather than letting the head run out of memory."""


def with_one(x: Tensor) -> Tensor:
    """(…, D) → (…, 1 + D) with a constant 1 in front, so that products keep the lower orders too."""
    return torch.cat([x.new_ones(*x.shape[:-1], 1), x], dim=-1)


class TensorFusion(nn.Module):
    """z = [1, z_1] ⊗ … ⊗ [1, z_M], flattened row-major: Π (D_i + 1) numbers for any number of modalities.

    ``project`` maps every representation to that many numbers first (None takes them as they come), as the original
    does by its small modality embeddings.
    """

    def __init__(self, in_dims: list[int], project: int | None = None) -> None:
        super().__init__()
        dims = in_dims if project is None else [project] * len(in_dims)
        self.out_dim = math.prod(size + 1 for size in dims)
        if self.out_dim > LARGEST:
            raise UsageError(
                f"tensor fusion of {len(dims)} representations of {dims} numbers gives {self.out_dim:,} of them; "
                f"lower encoder.out_dim or fusion.project until it is at most {LARGEST:,}, or use low-rank tensor fusion"
            )
        self.project = nn.ModuleList(nn.Linear(size, project) for size in in_dims) if project is not None else None

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, Π (D_i + 1))."""
        if self.project is not None:
            representations = [layer(x) for layer, x in zip(self.project, representations, strict=True)]
        fused = with_one(representations[0])
        for x in representations[1:]:
            fused = (fused.unsqueeze(-1) * with_one(x).unsqueeze(-2)).flatten(-2)
        return fused


class LowRankTensorFusion(nn.Module):
    """z = b + Σ_r w_r Π_i [1, z_i] F_i^(r): the tensor fusion contracted with a weight of rank ``rank``, never formed.

    Time and memory grow linearly with the number of modalities. The factors F_i (rank, D_i + 1, out_dim) are parameters:
    trained, saved, counted. In the released code they stand in a plain list and are not.
    """

    def __init__(self, in_dims: list[int], out_dim: int = 64, rank: int = 16) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.factors = nn.ParameterList(nn.Parameter(torch.empty(rank, size + 1, out_dim)) for size in in_dims)
        self.weights = nn.Parameter(torch.empty(1, rank))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        for factor in self.factors:
            for matrix in factor:
                nn.init.xavier_normal_(matrix)
        nn.init.xavier_normal_(self.weights)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, out_dim)."""
        product: Tensor | None = None
        for factor, x in zip(self.factors, representations, strict=True):
            rank, size, width = factor.shape
            term = (with_one(x) @ factor.transpose(0, 1).reshape(size, rank * width)).view(-1, rank, width)
            product = term if product is None else product * term
        assert product is not None
        return torch.einsum("r,brd->bd", self.weights[0], product) + self.bias
