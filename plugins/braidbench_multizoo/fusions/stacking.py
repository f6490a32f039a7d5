"""Representations of equal width, brought together feature by feature: as a matrix's columns, or multiplied."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError


class Stack(nn.Module):
    """z = [z_1 … z_M], a matrix with one column a modality, flattened with the modality's index running fastest.

    Columns have equal length: ``width``, or the widest representation's. One of another length is mapped to it by a
    linear layer, and where all agree there are no parameters. For a linear head the numbers are those of
    :class:`~braidbench_multizoo.fusions.concatenation.Concat` in another order; a head that reads neighbours together
    has the modalities' values of one feature side by side.

    Source: Liang et al. (2021), MultiBench, which needs equal widths and leaves the matrix as it is.
    """

    def __init__(self, in_dims: list[int], width: int | None = None) -> None:
        super().__init__()
        if width is not None and width < 1:
            raise UsageError(f"fusion 'stack': width must be 1 or more, or none; not {width}")
        column = max(in_dims) if width is None else width
        self.columns = nn.ModuleList(nn.Identity() if size == column else nn.Linear(size, column) for size in in_dims)
        self.out_dim = column * len(in_dims)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, width · M)."""
        columns = [column(x) for column, x in zip(self.columns, representations, strict=True)]
        return torch.stack(columns, dim=2).flatten(1)


class Product(nn.Module):
    """z = (A_1 z_1 + a_1) ∘ … ∘ (A_M z_M + a_M) with ∘ the element-wise product: multiplicative interactions alone.

    Each representation is mapped to ``out_dim`` numbers, or as many as the widest has.

    Source: *Foundations of Multisensory AI*, 3.3.3, ELEM of table 3.4.
    """

    def __init__(self, in_dims: list[int], out_dim: int | None = None) -> None:
        super().__init__()
        if out_dim is not None and out_dim < 1:
            raise UsageError(f"fusion 'product': out_dim must be 1 or more, or none; not {out_dim}")
        self.out_dim = max(in_dims) if out_dim is None else out_dim
        self.factors = nn.ModuleList(nn.Linear(size, self.out_dim) for size in in_dims)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, out_dim)."""
        factors = [factor(x) for factor, x in zip(self.factors, representations, strict=True)]
        return torch.stack(factors).prod(0)
