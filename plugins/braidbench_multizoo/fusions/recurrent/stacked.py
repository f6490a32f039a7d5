"""Fusions around a plain LSTM: early fusion by step, and the contextual bidirectional LSTM."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.recurrent import LSTM
from braidbench_multizoo.fusions.recurrent.cells import widths_of
from braidbench_multizoo.fusions.recurrent.steps import Stepwise


def both_ways(width: int, size: int, form: Literal["vector", "sequence"]) -> LSTM:
    """A bidirectional LSTM over steps of ``width`` numbers, ``size`` units each direction."""
    return LSTM(Modality("steps", "time_series", (width,)), 2 * size, bidirectional=True, form=form)


class EarlyLSTM(Stepwise):
    """Early fusion by step: the modalities' inputs side by side, read by one LSTM.

    ``hidden`` is the width of each direction and layer. ``layers`` and ``bidirectional`` give the four forms of the
    baselines: EF-LSTM, stacked EF-SLSTM, bidirectional EF-BLSTM and stacked bidirectional EF-SBLSTM. The
    representation is the last layer's output after a row's last step; of the backward direction, that after its first.

    Source: *Foundations of Multisensory AI*, 8.5.3; Hochreiter & Schmidhuber (1997); Graves et al. (2013), stacked;
    Schuster & Paliwal (1997), bidirectional. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int = 64,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(hidden, layers) < 1:
            raise UsageError(f"fusion 'ef-lstm': hidden={hidden} and layers={layers} must be 1 or more")
        self.out_dim = hidden * (2 if bidirectional else 1)
        self.lstm = LSTM(
            Modality("steps", "time_series", (sum(self.widths),)),
            self.out_dim,
            layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, hidden), or (B, 2 · hidden) of two directions."""
        inputs, steps = self.clock(representations, lengths)
        result: Tensor = self.lstm(torch.cat(inputs, 2), steps)
        return result


class ContextualLSTM(Stepwise):
    """BC-LSTM: a bidirectional LSTM for each modality, and one over all of them side by side.

    The paper's sequence is a video and its steps are utterances, each classified in the context of the others. Here
    the steps are those of the sample: the first level gives every step of a modality its context, a tanh layer of
    ``dense`` units follows, and the second level reads the modalities side by side. The representation is the second
    level's output after a row's last step, with that of the backward direction after its first, 2 · ``fused`` wide.
    The levels are trained together; the paper trains the first one on its own before (hierarchical fusion).

    ``hidden`` is the width of each direction of the first level, one for all modalities or one each.
    Source: Poria et al. (2017), Context-dependent sentiment analysis in user-generated videos, ACL, sections 3.2–3.3.
    Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        dense: int = 32,
        fused: int = 32,
        dropout: float = 0.0,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(dense, fused) < 1:
            raise UsageError(f"fusion 'bc-lstm': dense={dense} and fused={fused} must be 1 or more")
        widths = widths_of(hidden, len(in_dims), "fusion 'bc-lstm'")
        self.contexts = nn.ModuleList(
            both_ways(width, size, "sequence") for width, size in zip(self.widths, widths, strict=True)
        )
        self.dense = nn.ModuleList(nn.Linear(2 * size, dense) for size in widths)
        self.dropout = nn.Dropout(dropout)
        self.fused = both_ways(len(widths) * dense, fused, "vector")
        self.out_dim = 2 * fused

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, 2 · fused)."""
        inputs, steps = self.clock(representations, lengths)
        found = []
        for x, context, dense in zip(inputs, self.contexts, self.dense, strict=True):
            found.append(self.dropout(dense(context(x, steps)).tanh()))
        result: Tensor = self.fused(torch.cat(found, 2), steps)
        return result
