"""Recurrent cells that advance together: one batched matrix product a step for all modalities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError


def widths_of(hidden: int | tuple[int, ...], modalities: int, what: str) -> list[int]:
    """``hidden`` as one width a modality. Raises UsageError."""
    widths = [hidden] * modalities if isinstance(hidden, int) else list(hidden)
    if len(widths) != modalities or min(widths) < 1:
        raise UsageError(
            f"{what}: hidden={hidden!r} must be one width, or one for each of the {modalities} modalities, 1 or more"
        )
    return widths


def lstm(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The output and the new memory, (…, D) each, from gates (…, 4D) before activation and the memory (…, D).

    The gates' order is input, forget, output, proposal: i, f, o and c̄ of equations 8.7–8.10.
    """
    i, f, o, proposal = gates.chunk(4, -1)
    memory = torch.addcmul(f.sigmoid() * memory, i.sigmoid(), proposal.tanh())
    return o.sigmoid() * memory.tanh(), memory


def uniform(shape: tuple[int, ...], size: int) -> nn.Parameter:
    """Drawn from U(−1/√size, 1/√size), as torch.nn.LSTM of that width draws its weights."""
    bound = size**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class JointLSTMs(nn.Module):
    """An LSTM for each of M modalities, advanced together: outputs and memories are (M, B, d), d the widest d_m.

    Every step's inputs go through their weights before the time loop, one product a modality; in the loop one batched
    product takes all cells' outputs to all gates. A narrower cell is filled with units whose weights are zero: they
    stay at exactly zero, see nothing and are seen by nobody. By itself a cell sees its own last output; what more it
    sees is for subclasses to say.

    ``inputs[m]`` (D_m, 4 d_m), ``recurrent[m]`` (d_m, 4 d_m) and ``biases[m]`` (4 d_m,) are drawn as torch.nn.LSTM
    draws them.
    """

    def __init__(self, in_dims: list[int], hidden: list[int]) -> None:
        super().__init__()
        self.hidden = hidden
        self.widest = max(hidden)
        self.out_dim = sum(hidden)
        self.inputs = nn.ParameterList(
            uniform((width, 4 * size), size) for width, size in zip(in_dims, hidden, strict=True)
        )
        self.biases = nn.ParameterList(uniform((4 * size,), size) for size in hidden)
        self.recurrent = nn.ParameterList(uniform((size, 4 * size), size) for size in hidden)

    def project(self, steps: list[Tensor]) -> tuple[Tensor, ...]:
        """M × (B, T, D_m) → T × (M, B, 4d): W x_t + b of every step and modality."""
        gates = [
            torch.addmm(self._filled(bias, size), x.transpose(0, 1).flatten(0, 1), self._filled(weight, size))
            for x, weight, bias, size in zip(steps, self.inputs, self.biases, self.hidden, strict=True)
        ]
        rows, length = steps[0].shape[:2]
        return torch.stack([gate.view(length, rows, -1) for gate in gates], 1).unbind()

    def weight(self) -> Tensor:
        """(M, d, 4d): from what a cell sees to its gates; made once, before the time loop."""
        filled = []
        for weight, size in zip(self.recurrent, self.hidden, strict=True):
            filled.append(functional.pad(self._filled(weight, size), (0, 0, 0, self.widest - size)))
        return torch.stack(filled)

    def start(self, x: Tensor) -> Tensor:
        """The output or memory before the first step: zeros (M, B, d)."""
        return x.new_zeros(len(self.hidden), len(x), self.widest)

    def beside(self, h: Tensor) -> Tensor:
        """(M, B, d) → (B, Σ d_m): the modalities side by side, without what fills them."""
        if self.out_dim == len(self.hidden) * self.widest:
            return h.transpose(0, 1).flatten(1)
        return torch.cat([one[:, :size] for one, size in zip(h, self.hidden, strict=True)], 1)

    def _filled(self, weight: Tensor, size: int) -> Tensor:
        """(…, 4 · size) → (…, 4d), each gate filled with zeros."""
        if size == self.widest:
            return weight
        return functional.pad(weight.unflatten(-1, (4, size)), (0, self.widest - size)).flatten(-2)


class JointLSTHMs(JointLSTMs):
    """Long short-term hybrid memories: LSTMs whose four gates also see a code z (B, code) of all modalities.

    Equations 8.7–8.12, with the gates of 8.11 taken at t + 1, the step whose input they have seen (8.11 prints t).
    ``cross[m]`` (code, 4 d_m) is V^m. What a cell sees is [h^m, z], (M, B, d + code).

    Source: Zadeh et al. (2018), Multi-attention recurrent network; *Foundations of Multisensory AI*, 8.3.3.
    """

    def __init__(self, in_dims: list[int], hidden: list[int], code: int) -> None:
        super().__init__(in_dims, hidden)
        self.cross = nn.ParameterList(uniform((code, 4 * size), size) for size in hidden)

    def weight(self) -> Tensor:
        """(M, d + code, 4d)."""
        cross = [self._filled(weight, size) for weight, size in zip(self.cross, self.hidden, strict=True)]
        return torch.cat([super().weight(), torch.stack(cross)], 1)
