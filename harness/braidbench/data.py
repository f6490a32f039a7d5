"""What training and evaluation read: columns over a prepared split, and batches of them with lengths.

A column is gathered by row number with one ``index_select``; nothing is decoded, collated or copied twice. Sequences
stand padded with zeros; a batch is cut to its own longest sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braidbench.columns import has_ids
from braidbench.errors import DataError
from braidbench.preparation import Prepared
from braidbench.sealing import refuse_if_sealed
from braidbench.specs import Modality, Task

LARGE = 1 << 31
"""Bytes of a column from which it stays memory-mapped instead of being copied into memory."""


@dataclass(frozen=True)
class Batch:
    """Samples side by side.

    ``inputs[name]`` is (B, …), padded with zeros for sequences (B, T, …); ``lengths[name]`` is (B,) for sequences and
    None otherwise; ``target`` is (B,) int64, (B, classes) or (B, outputs) float32; ``index`` is (B,), the row in the
    split, on which predictions are joined.
    """

    inputs: dict[str, Tensor]
    lengths: dict[str, Tensor | None]
    target: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; itself if it is there."""
        if self.index.device == device:
            return self

        def move(value: Tensor) -> Tensor:
            return value.to(device, non_blocking=True)

        return Batch(
            {name: move(value) for name, value in self.inputs.items()},
            {name: value if value is None else move(value) for name, value in self.lengths.items()},
            move(self.target),
            move(self.index),
        )


class Column:
    """One modality of a split: (N, …), or padded (N, T, …) with ``lengths`` (N,)."""

    def __init__(self, blocks: list[Tensor], lengths: Tensor | None) -> None:
        self._blocks = blocks
        self._starts = torch.tensor([0, *(len(block) for block in blocks)]).cumsum(0)
        self.lengths = lengths

    @classmethod
    def of(cls, values: Tensor, lengths: Tensor | None = None) -> Column:
        return cls([values], lengths)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows (B, …) or (B, T, …) with T the longest of them (at least 1), and their lengths."""
        lengths = None if self.lengths is None else self.lengths.index_select(0, index)
        steps = None if lengths is None else max(int(lengths.max()), 1)
        if len(self._blocks) == 1:
            return self._cut(self._blocks[0], steps).index_select(0, index), lengths
        which = torch.bucketize(index, self._starts[1:-1], right=True)
        first = self._cut(self._blocks[0], steps)
        rows = first.new_empty((len(index), *first.shape[1:]))
        for block in sorted(set(which.tolist())):
            chosen = which == block
            source = self._cut(self._blocks[block], steps)
            rows[chosen] = source.index_select(0, index[chosen] - self._starts[block])
        return rows, lengths

    @staticmethod
    def _cut(block: Tensor, steps: int | None) -> Tensor:
        return block if steps is None else block.narrow(1, 0, steps)

    def all(self) -> Tensor:
        """Every row, (N, …), in one tensor."""
        return self._blocks[0] if len(self._blocks) == 1 else torch.cat(self._blocks)


class Split:
    """One split for one task: the inputs of some modalities and the target.

    ``times[name]`` is (N, T, 2), the second at which each step starts and ends, of the modalities that declare it;
    preprocessings read it, models do not. ``ids`` are the samples' names, one a row, where the dataset gives any;
    models do not see them. ``masked`` names the modalities whose second half of channels is the observation mask.
    """

    def __init__(
        self,
        columns: dict[str, Column],
        target: Tensor,
        modalities: tuple[Modality, ...],
        times: Mapping[str, Tensor] | None = None,
        ids: tuple[str, ...] | None = None,
        masked: frozenset[str] = frozenset(),
    ) -> None:
        self.columns = columns
        self.target = target
        self.modalities = modalities
        self.times = dict(times or {})
        self.ids = ids
        self.masked = masked

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, index: Tensor) -> Batch:
        """The rows of ``index`` (B,), in that order."""
        inputs: dict[str, Tensor] = {}
        lengths: dict[str, Tensor | None] = {}
        for name, column in self.columns.items():
            inputs[name], lengths[name] = column.take(index)
        return Batch(inputs, lengths, self.target.index_select(0, index), index)

    def batches(self, size: int) -> Iterator[Batch]:
        """All rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.batch(torch.arange(start, min(start + size, len(self))))

    def shuffled(self, size: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """One training epoch: a permutation that depends on ``seed`` and ``epoch`` alone.

        Of ``world`` processes each gets its share of every batch. A last batch that would leave a process one sample
        is left out of this epoch, because batch normalisation has no variance of one.
        """
        generator = torch.Generator().manual_seed((seed + epoch * 0x9E3779B97F4A7C15) % (1 << 63))
        order = torch.randperm(len(self), generator=generator)
        for start in range(0, len(self), size):
            index = order[start : start + size]
            if world > 1:
                index = index[: len(index) - len(index) % world][rank::world]
            if len(index) > 1 or len(self) == 1:
                yield self.batch(index)

    def only(self, names: tuple[str, ...]) -> Split:
        """The same rows with some of the modalities."""
        kept = tuple(m for m in self.modalities if m.name in names)
        times = {name: spans for name, spans in self.times.items() if name in names}
        return Split({m.name: self.columns[m.name] for m in kept}, self.target, kept, times, self.ids, self.masked)

    def with_input(self, name: str, values: Tensor) -> Split:
        """The same rows with another content of one modality; steps beyond a sequence's end are zero again."""
        lengths = self.columns[name].lengths
        if lengths is not None:
            past = torch.arange(values.shape[1]) >= lengths[:, None]
            values = values.masked_fill(past.reshape(*past.shape, *(1,) * (values.ndim - 2)), 0.0)
        columns = {**self.columns, name: Column.of(values, lengths)}
        return Split(columns, self.target, self.modalities, self.times, self.ids, self.masked)


def open_split(prepared: Prepared, split: str, task: Task, modalities: tuple[str, ...] | None = None) -> Split:
    """A split of a prepared dataset, read through the Arrow files' memory map.

    Raises DataError for a damaged cache, SealedError for the test split while a method is trained.
    """
    import datasets

    if split == "test":
        refuse_if_sealed(f"of dataset {prepared.spec.name!r}")
    folder = prepared.folder / split
    try:
        table = datasets.load_from_disk(str(folder)).data.table
    except Exception as error:
        # Arrow and datasets report a damaged cache each in its own way; the remedy is one.
        raise DataError(
            f"dataset {prepared.spec.name!r}: {folder} is damaged ({type(error).__name__}: {error}); "
            f"delete {prepared.folder} and run braidbench data prepare {prepared.spec.name}"
        ) from error
    chosen = tuple(m.prepared for m in prepared.spec.modalities if modalities is None or m.name in modalities)
    columns = {modality.name: _column(modality, table.column(modality.name)) for modality in chosen}
    times = {m.name: _ragged((2,), table.column(f"{m.name}:times")).all() for m in chosen if m.times}
    declared = prepared.spec.modalities
    named = "id" in table.column_names and has_ids(prepared.spec)
    ids = tuple(table.column("id").to_pylist()) if named else None
    masked = frozenset(m.name for m in declared if m.missing == "mask" and m.name in columns)
    return Split(columns, _target(task, table.column(f"target:{task.name}")), chosen, times, ids, masked)


def _column(modality: Modality, chunked: Any) -> Column:
    import pyarrow as pa

    shape = modality.shape
    if pa.types.is_large_list(chunked.type):
        return _ragged(shape, chunked)
    # A fixed-size list's values of one chunk, honouring the chunk's offset, without a copy.
    arrays = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in chunked.chunks]
    steps = (chunked.type.list_size // int(np.prod(shape)),) if modality.is_sequence else ()
    if sum(array.nbytes for array in arrays) < LARGE:
        blocks = [torch.from_numpy(np.concatenate(arrays).reshape(-1, *steps, *shape))]
    else:
        blocks = [_read_only(array.reshape(-1, *steps, *shape)) for array in arrays]
    rows = sum(len(block) for block in blocks)
    return Column(blocks, torch.full((rows,), steps[0]) if steps else None)


def _read_only(array: np.ndarray[Any, Any]) -> Tensor:
    import warnings

    with warnings.catch_warnings():
        # The map is read-only and rows are only ever gathered from it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _ragged(shape: tuple[int, ...], chunked: Any) -> Column:
    width = int(np.prod(shape))
    counts: list[np.ndarray[Any, Any]] = []
    values: list[np.ndarray[Any, Any]] = []
    for chunk in chunked.chunks:
        offsets = chunk.offsets.to_numpy()
        counts.append(np.diff(offsets) // width)
        values.append(chunk.values.to_numpy()[offsets[0] : offsets[-1]])
    lengths = np.concatenate(counts)
    flat = np.concatenate(values).reshape(-1, width)
    padded = np.zeros((len(lengths), max(int(lengths.max()), 1), width), flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return Column.of(torch.from_numpy(padded.reshape(*padded.shape[:2], *shape)), torch.from_numpy(lengths))


def _target(task: Task, chunked: Any) -> Tensor:
    if task.kind == "classification":
        return torch.from_numpy(chunked.to_numpy().copy())
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in chunked.chunks])
    return torch.from_numpy(flat.reshape(-1, task.width).copy())


@dataclass(frozen=True)
class TrainingData:
    """What a procedure sees: never the test split."""

    train: Split
    valid: Split
    task: Task
    statistics: Mapping[str, Any]

    def only(self, names: tuple[str, ...]) -> TrainingData:
        return replace(self, train=self.train.only(names), valid=self.valid.only(names))
