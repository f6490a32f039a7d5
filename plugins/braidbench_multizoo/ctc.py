"""An alignment front that is learned: unaligned sequences on the steps of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Head, MultimodalModel, Output, out_dim
from braidbench.precision import as_float32
from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import valid_steps, zero_padding
from braidbench_multizoo.encoders.recurrent import GRU
from braidbench_multizoo.losses.extended import Extended


@dataclass
class Positions:
    """Where a modality's steps lie on the pace's: logits (B, T, 1 + L), the first for "nowhere", and both lengths."""

    logits: Tensor
    lengths: Tensor
    pace_lengths: Tensor


@dataclass
class AlignedOutput(Output):
    """An output that also has the positions that each aligned modality's steps were given."""

    positions: dict[str, Positions]


def pace_of(modalities: Sequence[Modality]) -> Modality:
    """The modality whose steps the others are put on: the first text, or else the shortest sequence."""
    sequences = [m for m in modalities if m.is_sequence]
    return next((m for m in sequences if m.kind == "text"), min(sequences, key=lambda m: m.length or 0))


class CTCAligned(MultimodalModel):
    """A model whose fusion meets every sequence on the steps of one, by positions that it learns.

    For each other sequence, a bidirectional GRU of ``hidden`` units gives every step a distribution over the pace's
    steps (and a blank, for "nowhere"). The aligned sequence is, at each of the pace's steps, the mean of the modality's
    steps by their shares in it. The objective ``ctc`` adds the connectionist temporal classification loss of the
    positions 1, 2, …, L in order, which makes the alignment monotonic. Vectors pass as they are.

    Source: Graves et al. (2006); Tsai et al. (2019), 4.2, "CTC + …"; *Foundations of Multisensory AI*, 8.6.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: Head,
        task: Task,
        takes: str = "sequences",
        *,
        modalities: Sequence[Modality],
        hidden: int = 32,
    ) -> None:
        super().__init__(encoders, fusion, head, task, takes)
        if hidden < 2 or hidden % 2:
            raise UsageError(
                f"a CTC front shares its hidden={hidden} units between two directions: give an even number"
            )
        self.pace = pace_of(modalities).name
        length = pace_of(modalities).length
        assert length is not None
        self.fronts = nn.ModuleDict()
        for modality in modalities:
            if modality.is_sequence and modality.name != self.pace:
                width = out_dim(encoders[modality.name], f"the encoder of {modality.name!r}")
                steps = Modality("steps", "time_series", (width,))
                front = GRU(steps, length + 1, hidden=hidden, bidirectional=True, form="sequence")
                self.fronts[f"of-{modality.name}"] = front

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why there is nothing to align, or None."""
        count = sum(m.is_sequence for m in modalities)
        return None if count > 1 else f"it aligns sequences with one another; there {'is one' if count else 'are none'}"

    @staticmethod
    def presents(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        """Every sequence as long as the pace."""
        length = pace_of(modalities).length
        return tuple(replace(m, length=length) if m.is_sequence else m for m in modalities)

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> AlignedOutput:
        """As :meth:`braidbench.model.MultimodalModel.forward`; ``representations`` are the aligned ones."""
        encoders = zip(self.names, self.encoders.values(), strict=True)
        found = {name: encoder(inputs[name], lengths[name]) for name, encoder in encoders}
        pace = found[self.pace]
        pace_lengths = _known(pace, lengths[self.pace])
        positions: dict[str, Positions] = {}
        for name in self.names:
            if f"of-{name}" not in self.fronts:
                continue
            x, own = found[name], _known(found[name], lengths[name])
            # Shares of hundreds of steps are summed and divided by: in float32 under any autocast.
            logits = as_float32(self.fronts[f"of-{name}"](x, own)[..., : pace.shape[1] + 1])
            positions[name] = Positions(logits, own, pace_lengths)
            found[name] = aligned(x, positions[name])
        values = [value if value.ndim == 3 else value.unsqueeze(1) for value in found.values()]
        fused = self.fusion(values, [pace_lengths if v.ndim == 3 else None for v in found.values()])
        return AlignedOutput(self.head(fused), fused, found, positions)


def aligned(x: Tensor, positions: Positions) -> Tensor:
    """(B, T, D) → (B, L, D): at each of the pace's steps the mean of x's real steps by their shares in it.

    Shares of a step are a softmax over the blank and the row's own L positions. A position's mean is over what it got,
    however little; zero beyond the pace's length.
    """
    length = positions.logits.shape[2] - 1
    there = functional.pad(_real(length, positions.pace_lengths.clamp(min=1)), (1, 0), value=True)
    shares = positions.logits.masked_fill(~there.unsqueeze(1), -torch.inf).softmax(2)[..., 1:]
    shares = zero_padding(shares, positions.lengths)
    total = shares.sum(1).clamp(min=torch.finfo(x.dtype).tiny)
    means = shares.transpose(1, 2) @ zero_padding(x, positions.lengths) / total.unsqueeze(2)
    return zero_padding(means, positions.pace_lengths)


def _known(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B,) lengths, all of x's steps where none are given."""
    return torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths


def _real(steps: int, lengths: Tensor) -> Tensor:
    return valid_steps(lengths.new_zeros(len(lengths), steps), lengths)


class CTC(Extended):
    """The task's loss + ``weight`` · the mean over aligned modalities of the CTC loss of the positions 1, …, L.

    A row with fewer steps than the pace has, which no alignment can serve, counts nothing.

    Source: Graves et al. (2006), 4; Tsai et al. (2019), 4.2. Raises UsageError for a model without such a front.
    """

    def __init__(self, weight: float = 0.1, regression: Literal["mse", "mae"] = "mse") -> None:
        super().__init__(regression)
        self.weight = weight

    def bind(self, model: MultimodalModel, modalities: tuple[Modality, ...], task: Task) -> None:
        """See that the model aligns."""
        if not isinstance(model, CTCAligned):
            raise UsageError(
                f"objective 'ctc' needs a model with an alignment front, not {type(model).__name__}: use the method "
                "'ctc-ef-lstm' or 'ctc-raven'"
            )

    def terms(self, output: Output, batch: Batch, model: MultimodalModel) -> Mapping[str, Tensor]:
        assert isinstance(output, AlignedOutput)
        losses = []
        for found in output.positions.values():
            length = found.logits.shape[2] - 1
            order = torch.arange(1, length + 1, device=found.logits.device).expand(len(found.logits), length)
            losses.append(
                functional.ctc_loss(
                    found.logits.log_softmax(2).transpose(0, 1), order, found.lengths, found.pace_lengths,
                    zero_infinity=True,
                )
            )  # fmt: skip
        return {"positions": self.weight * torch.stack(losses).mean()}
