"""The gated multimodal embedding LSTM with temporal attention."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality
from braidbench_multizoo.encoders.masking import valid_steps
from braidbench_multizoo.encoders.recurrent import LSTM
from braidbench_multizoo.fusions.recurrent.steps import Stepwise


class GMELSTM(Stepwise):
    """GME-LSTM(A): gates let each step of a modality through or hold it back; an LSTM with attention over time follows.

    A controller for each gated modality, one layer of ``inner`` rectified units on its step's input, gives the
    probability p_t of a binary gate. The gated inputs stand beside the language's, which has no gate; an LSTM reads
    them, and the representation is Σ_t α_t h_t with α the softmax of v · tanh(W h_t + b) over a row's real steps (zero
    for a row without steps). ``language`` is the ungated modality's place, None gates all of them.

    The paper trains the gates by policy gradient (REINFORCE), with the validation error as reward. Here
    ``gate="straight-through"`` draws the gate from p_t in training and passes the gradient on to p_t as if it had been
    used itself (Bengio et al., 2013): one pass, no reward, and no look at the validation split. In evaluation the gate
    is open where p_t > ½. ``gate="soft"`` multiplies with p_t in both. Gates start open, at p_t about 0.88.

    Source: Chen, Wang, Liang, Baltrušaitis, Zadeh & Morency (2017), Multimodal sentiment analysis with word-level
    fusion and reinforcement learning, ICMI. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int = 64,
        inner: int = 16,
        language: int | None = 0,
        gate: Literal["straight-through", "soft"] = "straight-through",
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(hidden, inner) < 1:
            raise UsageError(f"fusion 'gme-lstm': hidden={hidden} and inner={inner} must be 1 or more")
        if language is not None and not 0 <= language < len(in_dims):
            raise UsageError(
                f"fusion 'gme-lstm': language={language} is no modality's place; there are {len(in_dims)}, from 0"
            )
        if gate not in ("straight-through", "soft"):
            raise UsageError(f"fusion 'gme-lstm': gate={gate!r} must be 'straight-through' or 'soft'")
        self.language = language
        self.gate = gate
        self.controllers = nn.ModuleDict(
            {str(index): _controller(width, inner) for index, width in enumerate(self.widths) if index != language}
        )
        self.lstm = LSTM(Modality("steps", "time_series", (sum(self.widths),)), hidden, form="sequence")
        self.score = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
        self.out_dim = hidden

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, hidden)."""
        inputs, steps = self.clock(representations, lengths)
        gated = [
            x * self._open(self.controllers[str(index)](x).sigmoid()) if str(index) in self.controllers else x
            for index, x in enumerate(inputs)
        ]
        states = self.lstm(torch.cat(gated, 2), steps)
        real = valid_steps(states, steps)
        # A finite floor: a row without steps has nothing to attend to, and its states are zero anyway.
        scores = self.score(states).squeeze(2)
        scores = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
        result: Tensor = torch.bmm(scores.softmax(1)[:, None], states).squeeze(1)
        return result

    def _open(self, probability: Tensor) -> Tensor:
        """The gate of each step, (B, T, 1)."""
        if self.gate == "soft":
            return probability
        if not self.training:
            return (probability > 0.5).to(probability.dtype)
        drawn = torch.bernoulli(probability.detach())
        return drawn + probability - probability.detach()


def _controller(width: int, inner: int) -> nn.Sequential:
    """A step's input → the log odds that its gate is open; 2 to begin with, but for what the input adds."""
    last = nn.Linear(inner, 1)
    nn.init.constant_(last.bias, 2.0)
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), last)
