"""Recurrent encoders: GRU and LSTM."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import last_step, zero_padding


class _Recurrent(nn.Module):
    """A recurrent layer; its state at the last real step, or (``form="sequence"``) at every step.

    ``hidden`` units a direction (``out_dim`` when None), then a linear layer where their width is not ``out_dim``. In
    both directions, the backward one begins at each row's own last step. A row of length zero gives zeros before that
    layer. Forward in time, padding comes after everything that counts, so the steps are run as they stand and the
    last real one is gathered, which is faster than packing; backward in time packing is what makes it right.
    """

    layer: type[nn.GRU] | type[nn.LSTM]

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
        super().__init__()
        units = hidden or out_dim
        self.form, self.out_dim, self.bidirectional = form, out_dim, bidirectional
        self.units = units
        self.recurrent = self.layer(
            modality.size // (modality.length or 1),
            units,
            num_layers=layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )
        width = units * (2 if bidirectional else 1)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(width, out_dim) if width != out_dim else nn.Identity()

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, \\*shape), lengths (B,) or None → (B, out_dim) or (B, T, out_dim)."""
        x = zero_padding(x.flatten(2), lengths)
        steps = self._packed(x, lengths) if self.bidirectional and lengths is not None else self.recurrent(x)[0]
        if self.form == "sequence":
            return zero_padding(self.project(self.dropout(zero_padding(steps, lengths))), lengths)
        if self.bidirectional:
            forward = last_step(steps[..., : self.units], lengths)
            backward = steps[:, 0, self.units :]
            if lengths is not None:
                backward = backward.masked_fill((lengths == 0)[:, None], 0.0)
            state = torch.cat([forward, backward], dim=1)
        else:
            state = last_step(steps, lengths)
        result: Tensor = self.project(self.dropout(state))
        return result

    def _packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        spans = lengths.clamp(min=1).cpu()
        packed = pack_padded_sequence(x, spans, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class GRU(_Recurrent):
    __doc__ = _Recurrent.__doc__
    layer = nn.GRU


class LSTM(_Recurrent):
    __doc__ = _Recurrent.__doc__
    layer = nn.LSTM
