"""Alignment of modalities in time by their timestamps: one step a word."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from braidbench.data import Column, Split
from braidbench.errors import DataError, UsageError
from braidbench.specs import Modality, Task

ROWS = 128
"""Rows that are aligned at a time: the overlaps of all their words and frames are in memory at once."""


class WordAlign:
    """Every sequence gets the steps of one modality, the words: the mean of its own steps over each word's time span.

    A step counts by how long it overlaps the span; one without duration counts where it lies in it. A word that nothing
    overlaps gets zeros, which after normalising is the mean. ``pace`` is the modality whose steps are the words; the
    first text when empty. Modalities that are no sequences stay as they are.

    Source: Chen et al. (2017), Multimodal sentiment analysis with word-level fusion; *Foundations of Multisensory AI*,
    7.4.1. Raises UsageError.
    """

    def __init__(self, pace: str = "") -> None:
        self.pace = pace

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why these modalities cannot be aligned, or None."""
        untimed = [m.name for m in modalities if m.is_sequence and not m.times]
        if untimed:
            return f"it needs timestamps; {', '.join(untimed)} has none (Modality.times)"
        if not any(m.times for m in modalities):
            return "it aligns sequences; there is none"
        return None

    def modalities(self, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        """Every sequence as long as the words'."""
        pace = self._pace(modalities)
        return tuple(replace(m, length=pace.length) if m.is_sequence else m for m in modalities)

    def __call__(self, split: Split) -> Split:
        """The same rows, every sequence with the words' steps, lengths and times."""
        pace = self._pace(split.modalities)
        words, lengths = split.times[pace.name], split.columns[pace.name].lengths
        if lengths is None:
            raise DataError(f"preprocessing 'word-align': {pace.name!r} has no lengths")
        columns, times = {}, {}
        for modality in split.modalities:
            column = split.columns[modality.name]
            if modality.is_sequence:
                times[modality.name] = words
                if modality.name != pace.name:
                    if column.lengths is None or not column.all().is_floating_point():
                        raise DataError(
                            f"preprocessing 'word-align' averages numbers; {modality.name!r} holds integers: set "
                            f"preprocessing.pace={modality.name}"
                        )
                    values = averages(column.all(), column.lengths, split.times[modality.name], words, lengths)
                    column = Column.of(values, lengths)
            columns[modality.name] = column
        return Split(columns, split.target, self.modalities(split.modalities), times, split.ids)

    def _pace(self, modalities: tuple[Modality, ...]) -> Modality:
        timed = {m.name: m for m in modalities if m.times}
        if self.pace:
            if self.pace not in timed:
                raise UsageError(
                    f"preprocessing 'word-align': pace={self.pace!r} is no modality with timestamps; there are "
                    f"{', '.join(timed) or 'none'}"
                )
            return timed[self.pace]
        return next((m for m in timed.values() if m.kind == "text"), next(iter(timed.values())))


def averages(x: Tensor, lengths: Tensor, times: Tensor, words: Tensor, word_lengths: Tensor) -> Tensor:
    """Means of x (N, T, …) over the spans of words (N, W, 2), by overlap of times (N, T, 2): (N, W, …).

    Steps from ``lengths`` (N,) on, and words from ``word_lengths`` (N,) on, are padding: the former count nowhere, the
    latter are zero.
    """
    parts = []
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        overlap = _overlaps(times[rows].unsqueeze(1), words[rows].unsqueeze(2))
        overlap = overlap * _real(x.shape[1], lengths[rows]).unsqueeze(1)
        overlap = overlap * _real(words.shape[1], word_lengths[rows]).unsqueeze(2)
        total = overlap.sum(2, keepdim=True)
        shares = overlap / total.masked_fill(total == 0, 1.0)
        parts.append((shares.to(x.dtype) @ x[rows].flatten(2)).unflatten(2, x.shape[2:]))
    return torch.cat(parts)


def _overlaps(times: Tensor, words: Tensor) -> Tensor:
    """(N, 1, T, 2) and (N, W, 1, 2) → (N, W, T): seconds in common; a moment inside counts a little."""
    begin = torch.maximum(times[..., 0], words[..., 0])
    end = torch.minimum(times[..., 1], words[..., 1])
    moment = (times[..., 0] == times[..., 1]) & (times[..., 0] >= words[..., 0]) & (times[..., 0] < words[..., 1])
    return (end - begin).clamp(min=0.0) + moment * 1e-6


def _real(steps: int, lengths: Tensor) -> Tensor:
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
