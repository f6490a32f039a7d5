"""Fusions in which one modality is scaled and shifted by the others: multiplicative interactions and FiLM."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task

LIMIT = 1 << 26
"""Weights of multiplicative interactions."""

Output = Literal["matrix", "vector", "scalar"]


class MultiplicativeInteractions(nn.Module):
    """z = A x_M + c, where the other modalities generate A and c: a bilinear form, or one that is restricted.

    With two modalities A = x_1 · W + V and c = x_1 · U + b, and ``output`` says what A is:

    * ``matrix``: (D_2, out_dim), so z = x_1 W x_2 + x_1 U + x_2 V + b, a hypernetwork without restriction;
    * ``vector``: D_2 factors, one a feature of x_2 (:class:`FiLM` with linear generators);
    * ``scalar``: one factor and one shift for all of x_2 (a gate).

    With three modalities A and c are themselves multiplicative interactions of x_1 and x_2 of that shape, such as
    A = x_1 W x_2 + x_1 U + x_2 V + B, so that ``matrix`` contracts x_3 with the matrix that x_1 and x_2 give, whatever
    the task is. ``vector`` and ``scalar`` give as many numbers as x_M has; there ``out_dim`` is not read.

    ``modulated`` is the index of the modality that is scaled and shifted, the last one by default; the others keep
    their order. ``project`` first maps each representation that is wider to that many numbers with a linear layer. More
    than ``limit`` weights are refused.

    Weights are drawn from a normal distribution of Xavier's variance 2 / (products summed + numbers given). b starts at
    zero, and V at one where it is a factor (``vector``, ``scalar``), so that x_M passes through at first. The code of
    Liang et al. (2021) draws V and b from a standard normal distribution there, and of three modalities knows
    ``matrix`` alone.

    Source: Jayakumar et al. (2020), 3, equation 1; *Foundations of Multisensory AI*, 7.4.2. Raises
    UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        output: Output = "matrix",
        out_dim: int = 64,
        modulated: int = -1,
        project: int | None = None,
        limit: int = LIMIT,
    ) -> None:
        super().__init__()
        if len(in_dims) not in (2, 3):
            raise UsageError(
                f"fusion 'mi' takes 2 or 3 modalities, not {len(in_dims)}; use 'film' or 'low-rank-tensor'"
            )
        if out_dim < 1 or (project is not None and project < 1):
            raise UsageError(f"fusion 'mi': out_dim={out_dim} and project={project} must be 1 or more")
        widths = [size if project is None else min(size, project) for size in in_dims]
        self.modulated = modulated_index("mi", modulated, len(in_dims))
        context = [width for index, width in enumerate(widths) if index != self.modulated]
        target = widths[self.modulated]
        self.out_dim = out_dim if output == "matrix" else target
        scale, shift = _shapes(output, target, out_dim)
        if too_large := _too_large(in_dims, output, out_dim, modulated, project, limit):
            raise UsageError(f"fusion 'mi' {too_large}")
        self.projections = nn.ModuleList(
            nn.Linear(size, width) if width < size else nn.Identity()
            for size, width in zip(in_dims, widths, strict=True)
        )
        generator = _Affine if len(context) == 1 else _Bilinear
        if output == "matrix":
            self.scale = generator(context, scale, summed=target, start=None)
        else:
            self.scale = generator(context, scale, summed=1, start=1.0)
        self.shift = generator(context, shift, summed=1, start=0.0)
        self.output = output

    @staticmethod
    def skip(
        modalities: tuple[Modality, ...],
        task: Task,
        in_dims: list[int] | None = None,
        output: Output = "matrix",
        out_dim: int = 64,
        modulated: int = -1,
        project: int | None = None,
        limit: int = LIMIT,
    ) -> str | None:
        """More weights than the limit."""
        return None if in_dims is None else _too_large(in_dims, output, out_dim, modulated, project, limit)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """2 or 3 tensors (B, D_i) → (B, out_dim)."""
        values = [p(x) for p, x in zip(self.projections, representations, strict=True)]
        target = values.pop(self.modulated)
        scale, shift = self.scale(*values), self.shift(*values)
        if self.output == "matrix":
            interaction: Tensor = torch.einsum("bm,bmo->bo", target, scale) + shift
            return interaction
        modulated: Tensor = scale * target + shift
        return modulated


def _shapes(output: Output, target: int, out_dim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of what is generated, factor and shift, for a modality of ``target`` numbers."""
    if output == "matrix":
        return (target, out_dim), (out_dim,)
    return ((target,), (target,)) if output == "vector" else ((1,), (1,))


def _too_large(
    in_dims: list[int], output: Output, out_dim: int, modulated: int, project: int | None, limit: int
) -> str | None:
    """The reason why there would be too many weights, or None."""
    widths = [size if project is None else min(size, project) for size in in_dims]
    target = modulated_index("mi", modulated, len(widths))
    context = [width for index, width in enumerate(widths) if index != target]
    count = math.prod(width + 1 for width in context) * sum(map(math.prod, _shapes(output, widths[target], out_dim)))
    if count <= limit:
        return None
    return (
        f"would have {count:,} weights for modalities of {', '.join(map(str, widths))} numbers, and limit is "
        f"{limit:,}: add --set fusion.project=16 (or so), or raise --set fusion.limit"
    )


class _Affine(nn.Module):
    """x · weight + offset: (B, N) → (B, *shape), with weight (N, *shape).

    ``summed`` is how many of the generated numbers are summed later, each with a factor. The offset starts at
    ``start``; None draws it like a weight.
    """

    def __init__(self, widths: list[int], shape: tuple[int, ...], summed: int, start: float | None) -> None:
        super().__init__()
        (width,) = widths
        self.weight = nn.Parameter(torch.empty(width, *shape))
        self.offset = nn.Parameter(torch.full(shape, start or 0.0))
        _draw(self.weight, width * summed, shape[-1])
        if start is None:
            _draw(self.offset, summed, shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.offset.flatten(), x, self.weight.flatten(1))
        return flat.view(len(x), *self.offset.shape)


class _Bilinear(nn.Module):
    """x · weight · y + x · left + y · right + offset: (B, N), (B, M) → (B, *shape), with weight (N, M, *shape)."""

    def __init__(self, widths: list[int], shape: tuple[int, ...], summed: int, start: float | None) -> None:
        super().__init__()
        first, second = widths
        self.weight = nn.Parameter(torch.empty(first, second, *shape))
        self.left = nn.Parameter(torch.empty(first, *shape))
        self.right = nn.Parameter(torch.empty(second, *shape))
        self.offset = nn.Parameter(torch.full(shape, start or 0.0))
        _draw(self.weight, first * second * summed, shape[-1])
        _draw(self.left, first * summed, shape[-1])
        _draw(self.right, second * summed, shape[-1])
        if start is None:
            _draw(self.offset, summed, shape[-1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        # One matrix product with the outer products instead of a (B, M, *shape) tensor on the way.
        products = (x.unsqueeze(2) * y.unsqueeze(1)).flatten(1)
        flat = torch.addmm(self.offset.flatten(), products, self.weight.flatten(2).flatten(0, 1))
        flat = flat + x @ self.left.flatten(1) + y @ self.right.flatten(1)
        return flat.view(len(x), *self.offset.shape)


def _draw(weight: Tensor, fan_in: int, fan_out: int) -> None:
    nn.init.normal_(weight, std=math.sqrt(2 / (fan_in + fan_out)))


class FiLM(nn.Module):
    """z = γ ∘ x_M + β, with (γ, β) a function of the other modalities side by side.

    ``generator="mlp"`` is hidden layers of rectified units, with ``dropout`` after each, and a linear layer to γ and β,
    which share them; ``linear`` is the linear layer alone, and then two modalities are combined as by
    :class:`MultiplicativeInteractions` with ``output="vector"``. γ starts around one, so that the modality passes
    through at first. ``modulated`` is the index of the modality that is scaled and shifted, the last one by default.

    Source: Perez et al. (2018), 2.1, equations 1 and 2; *Foundations of Multisensory AI*, 7.4.2. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        generator: Literal["mlp", "linear"] = "mlp",
        hidden: tuple[int, ...] = (64,),
        dropout: float = 0.0,
        modulated: int = -1,
    ) -> None:
        super().__init__()
        if len(in_dims) < 2:
            raise UsageError("fusion 'film' needs 2 modalities or more: one to modulate and one to modulate it by")
        if generator == "mlp" and not hidden:
            raise UsageError("fusion 'film': give hidden a width or more, such as [64], or set generator=linear")
        self.modulated = modulated_index("film", modulated, len(in_dims))
        self.out_dim = in_dims[self.modulated]
        width = sum(in_dims) - self.out_dim
        layers: list[nn.Module] = []
        for size in hidden if generator == "mlp" else ():
            layers += [nn.Linear(width, size), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        last = nn.Linear(width, 2 * self.out_dim)
        with torch.no_grad():
            last.bias[: self.out_dim] = 1.0
            last.bias[self.out_dim :] = 0.0
        self.generator = nn.Sequential(*layers, last)

    def forward(self, representations: list[Tensor]) -> Tensor:
        """M tensors (B, D_i) → (B, D_modulated)."""
        others = [x for index, x in enumerate(representations) if index != self.modulated]
        scale, shift = self.generator(torch.cat(others, dim=1)).chunk(2, dim=1)
        result: Tensor = scale * representations[self.modulated] + shift
        return result


def modulated_index(fusion: str, index: int, count: int) -> int:
    """``index`` from the front. Raises UsageError when there is no such modality."""
    if not -count <= index < count:
        raise UsageError(
            f"fusion {fusion!r}: modulated={index}, and the {count} modalities are numbered 0 to {count - 1}"
        )
    return index % count
