"""Recurrent encoders: GRU and LSTM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import features, flat_steps, last_step, reverse_steps, zero_padding


class _Recurrent(nn.Module):
    """Recurrent layers over each row's own steps; the state after its last one, or every state.

    Every row runs to the batch's last step and the state after its own last one is picked: later steps cannot change
    it. That gives what packing gives, is faster on a CPU (where only unpacked sequences reach the fused LSTM) and needs
    no lengths on the host. A backward direction reads each row's own steps in reverse.
    """

    def __init__(
        self,
        cell: type[nn.GRU] | type[nn.LSTM],
        modality: Modality,
        out_dim: int,
        hidden: int | None,
        layers: int,
        bidirectional: bool,
        dropout: float,
        form: Literal["vector", "sequence"],
    ) -> None:
        super().__init__()
        width = out_dim if hidden is None else hidden
        directions = 2 if bidirectional else 1
        if width % directions:
            raise UsageError(f"a bidirectional recurrent encoder shares its width between directions; {width} is odd")
        if layers < 1:
            raise UsageError(f"a recurrent encoder needs one layer or more, not layers={layers}")
        self.modality = modality
        self.form = form
        widths = [features(modality), *[width] * (layers - 1)]
        self.forwards = nn.ModuleList(cell(size, width // directions, batch_first=True) for size in widths)
        self.backwards = nn.ModuleList(
            cell(size, width // directions, batch_first=True) for size in widths if bidirectional
        )
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Identity() if hidden is None else nn.Linear(width, out_dim)
        self.out_dim = out_dim
        self.stage_dims = [*[width] * (layers if hidden is not None else layers - 1), out_dim]

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, …), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        *_, (final, states) = self._layers(x, lengths)
        if self.form == "sequence":
            return zero_padding(self.project(states), lengths)
        result: Tensor = self.project(self.dropout(final))
        return result

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Each layer's final state, and the output as a vector: (B, stage_dims[i]) each."""
        found = [final for final, _ in self._layers(x, lengths)]
        output = self.project(self.dropout(found[-1]))
        return [*(found[:-1] if isinstance(self.project, nn.Identity) else found), output]

    def _layers(self, x: Tensor, lengths: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """After each layer: the final state (B, width), and every state after dropout (B, T, width)."""
        x = flat_steps(self.modality, x, lengths)
        for index, layer in enumerate(self.forwards):
            states, _ = layer(x)
            final = last_step(states, lengths)
            if self.backwards:
                behind, _ = self.backwards[index](reverse_steps(x, lengths))
                # The backward direction ends at a row's first step, which is its last one in reverse.
                final = torch.cat([final, last_step(behind, lengths)], -1)
                states = torch.cat([states, reverse_steps(behind, lengths)], -1)
            x = self.dropout(states)
            yield final, x


class GRU(_Recurrent):
    """A gated recurrent unit; the state after each row's last own step.

    ``hidden`` is the state's width, mapped to ``out_dim`` by a linear layer; None makes it ``out_dim`` and leaves the
    layer out. ``bidirectional`` gives each direction half of the width. ``dropout`` follows every layer. With
    ``form="sequence"`` every state is given, and zeros beyond a row's length. A row without steps has the initial
    state, zeros.

    Source: Cho et al. (2014).
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: int | None = None,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__(nn.GRU, modality, out_dim, hidden, layers, bidirectional, dropout, form)


class LSTM(_Recurrent):
    """A long short-term memory; the hidden state after each row's last own step. Parameters as in :class:`GRU`.

    Source: Hochreiter & Schmidhuber (1997).
    """

    def __init__(
        self,
        modality: Modality,
        out_dim: int = 64,
        hidden: int | None = None,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        form: Literal["vector", "sequence"] = "vector",
    ) -> None:
        super().__init__(nn.LSTM, modality, out_dim, hidden, layers, bidirectional, dropout, form)
