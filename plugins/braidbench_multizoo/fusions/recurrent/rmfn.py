"""The recurrent multistage fusion network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench_multizoo.fusions.recurrent.cells import JointLSTHMs, JointLSTMs, lstm, uniform, widths_of
from braidbench_multizoo.fusions.recurrent.steps import Stepwise, after_last


class Highlight(nn.Module):
    """HIGHLIGHT (8.1–8.3): h_t (B, D) → the attentions a^[1], …, a^[K], each softmax over all D numbers.

    An LSTM over the stages, as wide as h_t: its memory starts at M(h_t), here tanh of a linear layer; its input at
    stage k is the attention of stage k − 1, and its output, through the softmax, the one of stage k. Stage 1 has no
    attention or output before it: both are zero.
    """

    def __init__(self, in_dim: int, stages: int) -> None:
        super().__init__()
        self.stages = stages
        self.memory = nn.Linear(in_dim, in_dim)
        self.bias = uniform((4 * in_dim,), in_dim)
        # One stage has none before it, so there is no weight for what would come from there.
        if stages > 1:
            self.recurrent = uniform((2 * in_dim, 4 * in_dim), in_dim)

    def forward(self, h: Tensor) -> list[Tensor]:
        """(B, D) → K × (B, D)."""
        output, memory = lstm(self.bias[None], self.memory(h).tanh())
        attentions = [output.softmax(1)]
        for _ in range(1, self.stages):
            gates = torch.addmm(self.bias, torch.cat([attentions[-1], output], 1), self.recurrent)
            output, memory = lstm(gates, memory)
            attentions.append(output.softmax(1))
        return attentions


class Fuse(nn.Module):
    """FUSE (8.5): the stages' signals → the fusions s^[1], …, s^[K] (B, size), the outputs of an LSTM over the stages.

    Its memory starts at a trained vector of unit length in a random direction, a row of a random orthogonal matrix; its
    output before stage 1 is zero.
    """

    def __init__(self, in_dim: int, size: int, stages: int) -> None:
        super().__init__()
        self.weight = uniform((in_dim, 4 * size), size)
        self.bias = uniform((4 * size,), size)
        self.memory = nn.Parameter(nn.init.orthogonal_(torch.empty(1, size)))
        if stages > 1:
            self.recurrent = uniform((size, 4 * size), size)

    def forward(self, signals: list[Tensor], stages: int) -> list[Tensor]:
        """``stages`` × (B, D), or 1 × (B, D) that is the same at every stage → ``stages`` × (B, size)."""
        read = torch.addmm(self.bias, torch.cat(signals), self.weight).chunk(len(signals))
        fused: list[Tensor] = []
        memory: Tensor = self.memory
        for stage in range(stages):
            gates = read[min(stage, len(read) - 1)]
            if fused:
                gates = torch.addmm(gates, fused[-1], self.recurrent)
            result, memory = lstm(gates, memory)
            fused.append(result)
        return fused


class MultistageFusion(nn.Module):
    """The multistage fusion process: h_t (B, D) → z_t (B, code), by K stages of HIGHLIGHT and FUSE, then SUMMARIZE.

    The signals of stage k are h_t ⊙ a^[k] (8.4), or h_t itself with ``highlight=False``. SUMMARIZE (8.6) is tanh of a
    linear layer on s^[1], …, s^[K].

    Source: *Foundations of Multisensory AI*, 8.3.2; Liang et al. (2018), section 3.2.
    """

    def __init__(self, in_dim: int, fuse: int, code: int, stages: int, highlight: bool) -> None:
        super().__init__()
        self.stages = stages
        self.highlight = Highlight(in_dim, stages) if highlight else None
        self.fuse = Fuse(in_dim, fuse, stages)
        self.summarize = nn.Linear(stages * fuse, code)

    def forward(self, h: Tensor) -> tuple[Tensor, list[Tensor]]:
        """h (B, D) → z (B, code), and the stages' attentions, K × (B, D) (none without HIGHLIGHT)."""
        attentions = [] if self.highlight is None else self.highlight(h)
        fused = self.fuse([h * attention for attention in attentions] or [h], self.stages)
        z: Tensor = self.summarize(torch.cat(fused, 1)).tanh()
        return z, attentions


class RMFN(Stepwise):
    """The recurrent multistage fusion network: LSTHMs that get a code z_t of all their outputs, made in K stages.

    At every step the modalities' LSTHMs (8.7–8.12) read their input and z of the step before; from their outputs the
    multistage fusion process makes the next z (:class:`MultistageFusion`). The representation is that of 8.13: all
    outputs and z after a row's last step, Σ d_m + code wide. States and z start at zero.

    ``hidden`` is the width d_m of the LSTHMs, one for all modalities or one each; ``fuse`` that of FUSE; ``code`` that
    of z. The ablations of tables 8.5 and 8.6: ``stages`` is K; ``multistage=False`` is "no MFP", LSTHMs without z;
    ``highlight=False`` is "no HIGHLIGHT". σ is the sigmoid (the thesis writes "(hard-)sigmoid"). No code was released.

    Source: Liang, Liu, Zadeh & Morency (2018); *Foundations of Multisensory AI*, 8.3. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        stages: int = 3,
        fuse: int = 32,
        code: int = 32,
        multistage: bool = True,
        highlight: bool = True,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(stages, fuse, code) < 1:
            raise UsageError(f"fusion 'rmfn': stages={stages}, fuse={fuse} and code={code} must be 1 or more")
        widths = widths_of(hidden, len(in_dims), "fusion 'rmfn'")
        self.cells = JointLSTHMs(self.widths, widths, code) if multistage else JointLSTMs(self.widths, widths)
        self.process = MultistageFusion(sum(widths), fuse, code, stages, highlight) if multistage else None
        self.code = code if multistage else 0
        self.out_dim = sum(widths) + self.code

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, Σ d_m + code)."""
        return self._run(representations, lengths)[0]

    def highlights(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """(B, T, K, Σ d_m): the attention of every step and stage, as figure 8.9 shows it.

        Steps after a row's last one have values too, which mean nothing. Raises UsageError without HIGHLIGHT.
        """
        attentions = self._run(representations, lengths)[1]
        if not attentions or not attentions[0]:
            raise UsageError("fusion 'rmfn' highlights nothing with multistage=False or highlight=False")
        return torch.stack([torch.stack(stages, 1) for stages in attentions], 1)

    def _run(self, representations: list[Tensor], lengths: list[Tensor | None]) -> tuple[Tensor, list[list[Tensor]]]:
        inputs, steps = self.clock(representations, lengths)
        weight = self.cells.weight()
        h = memory = self.cells.start(inputs[0])
        z = h.new_zeros(h.shape[1], self.code)
        states = [torch.cat([self.cells.beside(h), z], 1)]
        attentions = []
        for gates in self.cells.project(inputs):
            seen = h if self.process is None else torch.cat([h, z.expand(len(h), -1, -1)], 2)
            h, memory = lstm(torch.baddbmm(gates, seen, weight), memory)
            state = self.cells.beside(h)
            if self.process is not None:
                z, highlighted = self.process(state)
                state = torch.cat([state, z], 1)
                attentions.append(highlighted)
            states.append(state)
        return after_last(states, steps), attentions
