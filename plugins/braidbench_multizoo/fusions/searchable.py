"""Fusion by an architecture that can be chosen: which stage of each encoder enters where, and through what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError

Level = tuple[int, ...]
"""The stage of each modality that enters, and at the end the activation's index."""

Architecture = tuple[Level, ...]

ACTIVATIONS = (torch.relu, torch.sigmoid, functional.leaky_relu)


class Searchable(nn.Module):
    """Levels of fusion, each of which reads one stage of every modality and the level before.

    h_l = σ(W_l [x_1^{γ_1l}; …; x_M^{γ_Ml}; h_{l−1}] + b_l), with γ_ml the stage of modality m that enters at level l
    and σ one of rectifier (0), sigmoid (1) and leaky rectifier (2). ``architecture`` has one row a level:
    ``[[γ_1, …, γ_M, σ], …]``; a negative stage counts from the last. When empty, it is one level of the last stages
    with a rectifier. ``width`` is each level's.

    As an ordinary fusion each modality has one stage, its representation. :meth:`over` gives a fusion of the same form
    over more stages, and :meth:`adopt` another architecture, which the weights carry with them when they are saved.

    Source: Pérez-Rúa et al. (2019), MFAS, 3.1, equation 2; the leaky rectifier is the released MultiBench code's.
    Raises UsageError for a row that does not fit.
    """

    def __init__(self, in_dims: Sequence[int], width: int = 64, architecture: tuple[tuple[int, ...], ...] = ()) -> None:
        super().__init__()
        if width < 1:
            raise UsageError(f"fusion 'searchable': width={width} must be 1 or more")
        self.width = self.out_dim = width
        self._given = architecture
        self._set_stages([[size] for size in in_dims])

    def over(self, stage_dims: Sequence[Sequence[int]]) -> Searchable:
        """A new fusion with these widths to choose from: ``stage_dims[m]`` of modality m, in order."""
        other = Searchable([sizes[-1] for sizes in stage_dims], self.width)
        other._given = self._given
        other._set_stages([list(sizes) for sizes in stage_dims])
        return other

    def _set_stages(self, stage_dims: list[list[int]]) -> None:
        self.stage_dims = stage_dims
        self.adopt(self._given or ((*[-1] * len(stage_dims), 0),))

    def adopt(self, architecture: Sequence[Sequence[int]]) -> None:
        """Take an architecture, with weights drawn anew from torch's global generator."""
        rows = tuple(self._checked(row) for row in architecture)
        if not rows:
            raise UsageError("fusion 'searchable': an architecture has one level or more")
        device = next((p.device for p in self.parameters()), None)
        self.register_buffer("rows", torch.tensor(rows, device=device))
        self.levels = nn.ModuleList(
            nn.Linear(self._width_into(row) + (self.width if index else 0), self.width, device=device)
            for index, row in enumerate(rows)
        )
        self.architecture: Architecture = rows

    def _checked(self, row: Sequence[int]) -> Level:
        count = len(self.stage_dims)
        if len(row) != count + 1:
            raise UsageError(
                f"fusion 'searchable': the row {list(row)} of the architecture needs {count + 1} numbers: a stage for "
                f"each of {count} modalities, and the activation"
            )
        for place, (stage, sizes) in enumerate(zip(row, self.stage_dims, strict=False)):
            if not -len(sizes) <= stage < len(sizes):
                raise UsageError(
                    f"fusion 'searchable': the row {list(row)} of the architecture wants stage {stage} of modality "
                    f"{place}, which has {len(sizes)}"
                )
        if not 0 <= row[-1] < len(ACTIVATIONS):
            raise UsageError(
                f"fusion 'searchable': the activation {row[-1]} in the row {list(row)} is not one of 0 (rectifier), 1 "
                "(sigmoid) and 2 (leaky rectifier)"
            )
        return (*(stage % len(sizes) for stage, sizes in zip(row, self.stage_dims, strict=False)), row[-1])

    def _width_into(self, row: Level) -> int:
        return sum(sizes[stage] for stage, sizes in zip(row, self.stage_dims, strict=False))

    def forward(self, x: Sequence[Tensor | Sequence[Tensor]]) -> Tensor:
        """``x[m]`` is (B, D_m), or every stage of modality m, (B, stage_dims[m][i]) each → (B, out_dim)."""
        stages = [[value] if isinstance(value, Tensor) else value for value in x]
        before: list[Tensor] = []
        for row, level in zip(self.architecture, self.levels, strict=True):
            chosen = [values[stage] for stage, values in zip(row, stages, strict=False)]
            before = [ACTIVATIONS[row[-1]](level(torch.cat([*chosen, *before], 1)))]
        return before[0]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Before the weights are copied, so that they find layers of their shape.
        rows = state_dict.get(f"{prefix}rows")
        if rows is not None:
            wanted = tuple(tuple(row) for row in rows.tolist())
            if wanted != self.architecture:
                self.adopt(wanted)
        super()._load_from_state_dict(state_dict, prefix, *rest)
