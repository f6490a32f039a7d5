"""The multi-attention recurrent network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench_multizoo.fusions.recurrent.cells import JointLSTHMs, lstm, widths_of
from braidbench_multizoo.fusions.recurrent.steps import Stepwise, after_last


class MARN(Stepwise):
    """The multi-attention recurrent network: LSTHMs that get a code z_t made by K attentions at once.

    At every step the multi-attention block makes K distributions over all numbers of the LSTHMs' outputs h_t, each a
    softmax of a linear layer of h_t, and multiplies each with h_t. What the K attentions leave of modality m,
    K · d_m numbers, is reduced to ``reduced`` numbers by its own rectified linear layer 𝒞_m; tanh of a linear layer 𝒢
    on all of them is z_t, ``code`` numbers, which the LSTHMs see at the next step. The representation is all outputs
    and z after a row's last step, Σ d_m + code wide.

    The authors' published code multiplies the attentions, which run over all modalities for each k, with the modalities
    repeated K times one after the other, so that numbers meet attentions that were made for others, and takes a softmax
    over z. Here each attention meets h_t itself, and 𝒢 is as above.

    ``hidden`` is d_m, one for all modalities or one each; ``attentions`` is K.
    Source: Zadeh et al. (2018), Multi-attention recurrent network for human communication comprehension, AAAI. Raises
    UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        attentions: int = 4,
        reduced: int = 16,
        code: int = 32,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(attentions, reduced, code) < 1:
            raise UsageError(
                f"fusion 'marn': attentions={attentions}, reduced={reduced} and code={code} must be 1 or more"
            )
        widths = widths_of(hidden, len(in_dims), "fusion 'marn'")
        self.attentions = attentions
        self.code = code
        self.cells = JointLSTHMs(self.widths, widths, code)
        self.attend = nn.Linear(sum(widths), attentions * sum(widths))
        self.reduce = nn.ModuleList(nn.Linear(attentions * size, reduced) for size in widths)
        self.encode = nn.Linear(len(widths) * reduced, code)
        self.out_dim = sum(widths) + code

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, Σ d_m + code)."""
        inputs, steps = self.clock(representations, lengths)
        weight, reduction, offset = self.cells.weight(), *self._reduction()
        h = memory = self.cells.start(inputs[0])
        z = h.new_zeros(h.shape[1], self.code)
        states = [torch.cat([self.cells.beside(h), z], 1)]
        for gates in self.cells.project(inputs):
            seen = torch.cat([h, z.expand(len(h), -1, -1)], 2)
            h, memory = lstm(torch.baddbmm(gates, seen, weight), memory)
            outputs = self.cells.beside(h)
            attention = self.attend(outputs).view(len(outputs), self.attentions, -1).softmax(2)
            attended = (attention * outputs[:, None]).flatten(1)
            z = self.encode(torch.addmm(offset, attended, reduction).relu()).tanh()
            states.append(torch.cat([outputs, z], 1))
        return after_last(states, steps)

    def _reduction(self) -> tuple[Tensor, Tensor]:
        """All 𝒞_m as one weight (K · Σ d_m, M · reduced), attention by attention, and its bias (M · reduced,)."""
        layers = [layer for layer in self.reduce if isinstance(layer, nn.Linear)]
        own = [layer.weight.t().unflatten(0, (self.attentions, -1)) for layer in layers]
        rows = [torch.block_diag(*parts) for parts in zip(*(weight.unbind() for weight in own), strict=True)]
        return torch.cat(rows), torch.cat([layer.bias for layer in layers])
