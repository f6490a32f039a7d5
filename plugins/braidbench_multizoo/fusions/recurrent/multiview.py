"""The multi-view LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench_multizoo.fusions.recurrent.cells import JointLSTMs, lstm, uniform, widths_of
from braidbench_multizoo.fusions.recurrent.steps import Stepwise, after_last


class MVLSTM(Stepwise):
    """The multi-view LSTM: an LSTM whose memory is partitioned by modality, and whose partitions may see each other.

    All gates of modality m's partition see its own input, a share ``alpha`` of its own last outputs (the first
    ⌈α d_m⌉ numbers) and a share ``beta`` of each other partition's (the last ⌈β d_n⌉ numbers); the rest is the LSTM.
    The paper's four topologies are view-specific (α = 1, β = 0), coupled (α = 0, β = 1), fully connected (α = β = 1,
    the default) and hybrid, with shares between; which numbers make up a share is our choice. A weight exists only
    where something is seen. The representation is all partitions after a row's last step, Σ d_m wide.

    Source: Rajagopalan, Morency, Baltrušaitis & Goecke (2016), Extending long short-term memory for multi-view
    structured learning, ECCV, section 3. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        alpha: float = 1.0,
        beta: float = 1.0,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if not (0 <= alpha <= 1 and 0 <= beta <= 1):
            raise UsageError(f"fusion 'mv-lstm': alpha={alpha} and beta={beta} are shares, from 0 to 1")
        self.cells = _Partitions(self.widths, widths_of(hidden, len(in_dims), "fusion 'mv-lstm'"), alpha, beta)
        self.out_dim = self.cells.out_dim

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, Σ d_m)."""
        inputs, steps = self.clock(representations, lengths)
        weight = self.cells.weight()
        memory = self.cells.start(inputs[0])
        state = self.cells.beside(memory)
        states = [state]
        for gates in self.cells.project(inputs):
            seen = state.expand(len(weight), -1, -1)
            h, memory = lstm(torch.baddbmm(gates, seen, weight), memory)
            state = self.cells.beside(h)
            states.append(state)
        return after_last(states, steps)


class _Partitions(JointLSTMs):
    """``recurrent[m]`` (numbers that m sees, 4 d_m), in the order in which they stand side by side."""

    def __init__(self, in_dims: list[int], hidden: list[int], alpha: float, beta: float) -> None:
        super().__init__(in_dims, hidden)
        starts = [sum(hidden[:index]) for index in range(len(hidden))]
        self.seen: list[list[int]] = []
        for own in range(len(hidden)):
            places: list[int] = []
            for index, (start, size) in enumerate(zip(starts, hidden, strict=True)):
                # Rounded first: 0.1 · 30 is a little more than 3 in floating point.
                count = -int(-round((alpha if index == own else beta) * size, 9) // 1)
                places += range(start, start + count) if index == own else range(start + size - count, start + size)
            self.seen.append(places)
        self.recurrent = nn.ParameterList(
            uniform((len(places), 4 * size), size) for places, size in zip(self.seen, hidden, strict=True)
        )

    def weight(self) -> Tensor:
        """(M, Σ d_n, 4d): from all partitions to each one's gates; zero where it sees nothing."""
        rows = []
        for weight, places, size in zip(self.recurrent, self.seen, self.hidden, strict=True):
            filled = self._filled(weight, size)
            index = torch.tensor(places, dtype=torch.long, device=weight.device)
            rows.append(filled.new_zeros(self.out_dim, filled.shape[1]).index_copy(0, index, filled))
        return torch.stack(rows)
