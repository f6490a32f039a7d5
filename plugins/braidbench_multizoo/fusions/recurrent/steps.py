"""What the recurrent fusions share: all modalities on one clock, and the state after each row's last step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import zero_padding


class Stepwise(nn.Module):
    """A fusion that reads one step of every modality at a time.

    A row has as many steps as the longest of its modalities; one that ended earlier gives zeros from there. After its
    last step a row's state stays as it is.

    ``frames`` consecutive steps are read as one, side by side (a last window that is not full is filled with zeros):
    fewer, wider steps. The papers' sequences are 20 to 50 words long; this brings a long recording of a sensor into
    that range without leaving anything out. ``widths`` are the modalities' numbers a step after that.
    """

    def __init__(self, in_dims: list[int], frames: int = 1) -> None:
        super().__init__()
        if frames < 1:
            raise UsageError(f"frames={frames}: give the number of steps that are read as one, 1 or more")
        self.frames = frames
        self.widths = [size * frames for size in in_dims]

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why these modalities cannot be read step by step, or None."""
        if len({modality.length for modality in modalities}) == 1 and modalities[0].is_sequence:
            return None
        found = ", ".join(f"{m.name}: {f'{m.length} steps' if m.length else 'no sequence'}" for m in modalities)
        return (
            f"every modality must be a sequence of the same declared length, all on one clock ({found}); "
            "align them first with the preprocessing word-align or the procedure ctc"
        )

    def clock(self, representations: list[Tensor], lengths: list[Tensor | None]) -> tuple[list[Tensor], Tensor | None]:
        """M × (B, T_i, D_i) and lengths (B,) or None → M × (B, T, frames · D_i), and each row's steps (B,).

        The steps are None where every row has all T. Padding becomes zero, whatever stood in it.
        """
        longest = max(x.shape[1] for x in representations)
        full = -(-longest // self.frames) * self.frames
        framed = []
        for x, own in zip(representations, lengths, strict=True):
            x = functional.pad(zero_padding(x, own), (0, 0, 0, full - x.shape[1]))
            framed.append(x.reshape(len(x), full // self.frames, -1))
        if any(own is None and x.shape[1] == longest for x, own in zip(representations, lengths, strict=True)):
            return framed, None
        spans = [
            torch.full((len(x),), x.shape[1], device=x.device) if own is None else own.to(x.device)
            for x, own in zip(representations, lengths, strict=True)
        ]
        steps = torch.stack(spans).amax(0)
        return framed, torch.div(steps + self.frames - 1, self.frames, rounding_mode="floor")


def after_last(states: list[Tensor], steps: Tensor | None) -> Tensor:
    """(B, D): from the initial state and the T that follow it, T + 1 × (B, D), the one after each row's last step.

    Later steps are computed with the rest of the batch and never looked at, which is what a frozen state gives and
    costs one selection instead of one a step. A row without steps has the initial state.
    """
    if steps is None:
        return states[-1]
    return torch.stack(states)[steps, torch.arange(len(steps), device=steps.device)]
