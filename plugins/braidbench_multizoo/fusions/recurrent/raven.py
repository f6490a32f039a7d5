"""The recurrent attended variation embedding network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.recurrent import LSTM
from braidbench_multizoo.fusions.recurrent.steps import Stepwise


class RAVEN(Stepwise):
    """RAVEN: each word's representation is shifted by what was seen and heard with it; an LSTM reads the shifted words.

    An LSTM over each non-verbal modality gives h^m; its weight is w^m = σ(W [h^m, e] + b), one number a word e. The
    shift is s = Σ_m W_m (w^m h^m) + b, and the word becomes e + α s with α = min(β ‖e‖ / ‖s‖, 1), so that no shift is
    longer than β times the word. An LSTM of ``hidden`` units reads the words; the representation is its output after a
    row's last step. A word of zeros stays zero.

    The paper's non-verbal LSTMs start anew in each word and read the frames inside it. Aligned data has one step a
    word, so here they run over the words, and what was seen before a word can shift it too. The published code takes
    the weights w^m without σ and cuts the gradient of the shift (it passes on ``.data``), so that nothing before the
    last LSTM is trained; here everything is.

    ``language`` is the place of the modality that is shifted; ``nonverbal`` the width of each h^m; ``beta`` is β.
    Source: Wang, Shen, Liu, Liang, Zadeh & Morency (2019), Words can shift, AAAI. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int = 64,
        nonverbal: int = 32,
        language: int = 0,
        beta: float = 1.0,
        dropout: float = 0.0,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(hidden, nonverbal) < 1 or beta <= 0:
            raise UsageError(
                f"fusion 'raven': hidden={hidden} and nonverbal={nonverbal} must be 1 or more, beta={beta} above 0"
            )
        if len(in_dims) < 2 or not 0 <= language < len(in_dims):
            raise UsageError(
                f"fusion 'raven': language={language} must be one of {len(in_dims)} modalities' places, from 0, "
                "and there must be another one to shift it"
            )
        self.language = language
        self.beta = beta
        word = self.widths[language]
        others = [width for index, width in enumerate(self.widths) if index != language]
        self.nonverbal = nn.ModuleList(
            LSTM(Modality("steps", "time_series", (width,)), nonverbal, form="sequence") for width in others
        )
        self.weights = nn.ModuleList(nn.Linear(nonverbal + word, 1) for _ in others)
        self.shift = nn.Linear(len(others) * nonverbal, word)
        self.dropout = nn.Dropout(dropout)
        self.lstm = LSTM(Modality("steps", "time_series", (word,)), hidden)
        self.out_dim = hidden

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, hidden)."""
        inputs, steps = self.clock(representations, lengths)
        words = inputs.pop(self.language)
        mixed = []
        for x, network, weight in zip(inputs, self.nonverbal, self.weights, strict=True):
            states = network(x, steps)
            mixed.append(weight(torch.cat([states, words], 2)).sigmoid() * states)
        shift = self.shift(torch.cat(mixed, 2))
        # A floor for a shift of length zero, which has no direction to be scaled in.
        length = vector_norm(shift, dim=2, keepdim=True).clamp(min=torch.finfo(shift.dtype).tiny)
        scale = (self.beta * vector_norm(words, dim=2, keepdim=True) / length).clamp(max=1.0)
        result: Tensor = self.lstm(self.dropout(words + scale * shift), steps)
        return result
