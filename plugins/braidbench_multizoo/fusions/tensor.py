"""Tensor fusion, the outer product of all representations, and its low-rank form."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task

_LIMIT = 1 << 18


class TensorFusion(nn.Module):
    """z = [1, z_1] ⊗ … ⊗ [1, z_M], flattened with the last modality's index running fastest.

    The constants keep every product of fewer modalities, down to the representations themselves and 1. The width is
    Π(D_i + 1), so it is refused above ``limit``. ``project`` first maps each representation that is wider to that many
    numbers with a linear layer; None leaves them as they are.

    Source: Zadeh et al. (2017), 4.2, equation 2; *Foundations of Multisensory AI*, 7.4.2. Raises UsageError.
    """

    def __init__(self, in_dims: list[int], project: int | None = None, limit: int = _LIMIT) -> None:
        super().__init__()
        if project is not None and project < 1:
            raise UsageError(f"fusion 'tensor': project must be 1 or more, or none; not {project}")
        widths = [size if project is None else min(size, project) for size in in_dims]
        self.out_dim = math.prod(width + 1 for width in widths)
        if self.out_dim > limit:
            raise UsageError(f"fusion 'tensor' would be {_too_wide(in_dims, widths, limit)}")
        self.projections = nn.ModuleList(
            nn.Linear(size, width) if width < size else nn.Identity()
            for size, width in zip(in_dims, widths, strict=True)
        )

    @staticmethod
    def skip(
        modalities: tuple[Modality, ...],
        task: Task,
        in_dims: list[int] | None = None,
        project: int | None = None,
        limit: int = _LIMIT,
    ) -> str | None:
        """More numbers than the limit; for widths that are not known, if each were projected to one number."""
        if in_dims is not None:
            widths = [size if project is None else min(size, project) for size in in_dims]
            wide = math.prod(width + 1 for width in widths) > limit
            return f"it would be {_too_wide(in_dims, widths, limit)}" if wide else None
        smallest = 1 << len(modalities)
        if smallest > limit:
            return (
                f"{len(modalities)} modalities make it at least 2^{len(modalities)} = {smallest:,} numbers wide, and "
                f"limit is {limit:,}; use low-rank-tensor-fusion"
            )
        return None

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M × (B, D_i) → (B, Π(D_i + 1))."""
        product: Tensor | None = None
        for representation, projection in zip(representations, self.projections, strict=True):
            factor = functional.pad(projection(representation), (1, 0), value=1.0)
            product = factor if product is None else torch.einsum("bi,bj->bij", product, factor).flatten(1)
        assert product is not None, "there is always one modality"
        return product


def _too_wide(in_dims: list[int], widths: list[int], limit: int) -> str:
    factors = [str(width + 1) for width in widths]
    shown = f"{factors[0]}^{len(factors)}" if len(set(factors)) == 1 else " × ".join(factors[:8])
    more = " × …" if len(set(factors)) > 1 and len(factors) > 8 else ""
    size = math.prod(width + 1 for width in widths)
    number = f"{size:,}" if size < 1e15 else f"10^{math.log10(size):.0f}"
    return f"{number} numbers wide, {shown}{more}, and limit is {limit:,}: {_remedy(in_dims, limit)}"


def _remedy(in_dims: list[int], limit: int) -> str:
    """What to set so that the product fits: the widest projection that does, if there is one."""
    for width in range(max(in_dims), 0, -1):
        if math.prod(min(size, width) + 1 for size in in_dims) <= limit:
            return f"add --set fusion.project={width} (or less), or raise --set fusion.limit"
    return f"{len(in_dims)} modalities are too many for it; use low-rank-tensor-fusion"


class LowRankTensorFusion(nn.Module):
    """z = Σ_r a_r ∘_m ([1, z_m] · W_m^(r)) + b, with ∘ the element-wise product over modalities.

    This is the tensor [1, z_1] ⊗ … ⊗ [1, z_M] contracted with the weight tensor Σ_r a_r W_1^(r) ⊗ … ⊗ W_M^(r), at the
    cost of M matrix products. The factors ``factors[m]`` are (D_m + 1, rank, out_dim), the constant's row first; with
    ``weights`` a (rank,) and ``bias`` b (out_dim,) there are rank · out_dim · Σ(D_m + 1) + rank + out_dim parameters.
    Each W_m^(r) and a are drawn from Xavier's normal distribution; b starts at zero. ``constant=False`` leaves the 1
    out, so that only products of all modalities are left.

    Source: Liu et al. (2018), 3.2–3.3, equations 4–6; the weights a are those of the authors' code. Without the
    constant it is TENSOR of *Foundations of Multisensory AI*, table 3.4, and with it LOWER.
    """

    def __init__(self, in_dims: list[int], out_dim: int = 64, rank: int = 16, constant: bool = True) -> None:
        super().__init__()
        if rank < 1 or out_dim < 1:
            raise UsageError(f"fusion 'low-rank-tensor': rank={rank} and out_dim={out_dim} must be 1 or more")
        first = int(constant)
        self.factors = nn.ParameterList(nn.Parameter(torch.empty(size + first, rank, out_dim)) for size in in_dims)
        self.constant = constant
        self.weights = nn.Parameter(torch.empty(rank))
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.out_dim = out_dim
        for factor in self.factors:
            nn.init.normal_(factor, std=(2 / (len(factor) + out_dim)) ** 0.5)
        nn.init.normal_(self.weights, std=(2 / (1 + rank)) ** 0.5)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M × (B, D_i) → (B, out_dim)."""
        product: Tensor | None = None
        for representation, factor in zip(representations, self.factors, strict=True):
            flat = factor.flatten(1)
            # [1, z] · W for all ranks in one matrix product, without copying z to put a 1 before it.
            mapped = torch.addmm(flat[0], representation, flat[1:]) if self.constant else representation @ flat
            product = mapped if product is None else product * mapped
        assert product is not None, "there is always one modality"
        ranks = product.view(len(product), len(self.weights), self.out_dim)
        return torch.einsum("r,bro->bo", self.weights, ranks) + self.bias
