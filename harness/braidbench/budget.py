"""What a procedure spent, as the harness measures it: seconds, and rows of the training split that it trained on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from braidbench.data import Batch, Split


@dataclass
class Meter:
    """Seconds since it was made, and rows of the training split that an optimiser's step followed.

    Rows that were read for anything else (statistics, scores) do not count: neither those that are read with gradients
    switched off, nor a pass over the split without a step. A run that goes on from a checkpoint goes on counting from
    what the checkpoint says (:meth:`resume`).
    """

    rows: int = 0
    pending: int = 0
    """Rows that were read since the last step."""
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count the steps of every optimiser in the block."""

        def stepped(*_: Any) -> None:
            self.rows, self.pending = self.rows + self.pending, 0

        # torch types its own hook's arguments as those of the call that it follows; they are of no interest here.
        handle = register_optimizer_step_post_hook(stepped)
        try:
            yield
        finally:
            handle.remove()

    def spent(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"seconds": self.seconds, "rows": self.rows}

    def resume(self, spent: Mapping[str, float]) -> None:
        """Count on from ``spent``, which an interrupted run had reached; never back."""
        self._started = min(self._started, time.perf_counter() - float(spent["seconds"]))
        self.rows = max(self.rows, int(spent["rows"]))


class Metered(Split):
    """A split whose rows a meter counts where they are trained on, whoever's loop reads them."""

    def __init__(self, split: Split, meter: Meter) -> None:
        super().__init__(split.columns, split.target, split.modalities, split.times, split.ids, split.masked)
        self.meter = meter

    def batch(self, index: Tensor) -> Batch:
        if torch.is_grad_enabled():
            self.meter.pending += len(index)
        return super().batch(index)

    def batches(self, size: int) -> Iterator[Batch]:
        yield from super().batches(size)
        self.meter.pending = 0

    def shuffled(self, size: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        yield from super().shuffled(size, seed, epoch, rank, world)
        self.meter.pending = 0

    def only(self, names: tuple[str, ...]) -> Split:
        return Metered(super().only(names), self.meter)

    def with_input(self, name: str, values: Tensor) -> Split:
        return Metered(super().with_input(name, values), self.meter)


def epochs_spent(meter: Meter, rows: int, recorded: int, processes: int = 1) -> int:
    """Epochs that a procedure trained for: passes over the ``rows`` of the training split that were counted, or the
    epochs of the core's own loop if those are more, for it also trains on what was made of the rows."""
    return max(recorded, round(meter.rows * processes / max(rows, 1)))


def budget_deviation(spent: int, budget: int, patience: int | None) -> str | None:
    """Where a procedure left the dataset's budget of epochs, as a sentence; None where it kept to it.

    Stopping early is what ``patience`` allows.
    """
    if spent > budget:
        return f"trained for {spent} epochs where the budget is {budget}"
    if spent < budget and patience is None:
        return f"trained for {spent} of the budget's {budget} epochs"
    return None
