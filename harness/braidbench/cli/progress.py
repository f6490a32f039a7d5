"""Progress on stderr: a bar a running cell on a terminal, a plain line a finished cell elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import click

from braidbench.cell import Cell
from braidbench.environment import is_main_process
from braidbench.plan import Plan, Planned
from braidbench.results import Result


class Progress:
    """Context manager around a run."""

    def __init__(self, plan: Plan) -> None:
        self._total = len(plan.cells)
        self._done = 0
        self._bars: dict[str, Any] = {}
        self._rich: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and is_main_process():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._rich = Bars(*columns, console=Console(stderr=True), transient=True)
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()

    def epoch(self, cell: Cell, epoch: int, epochs: int, score: float) -> None:
        """A cell has finished an epoch with this validation score."""
        if self._rich is None:
            return
        if cell.id not in self._bars:
            self._bars[cell.id] = self._rich.add_task(cell.name, total=epochs)
        self._rich.update(self._bars[cell.id], completed=epoch, description=f"{cell.name} {score:.3f}")

    def done(self, planned: Planned, result: Result) -> None:
        """A cell has ended."""
        self._done += 1
        if self._rich is not None and planned.cell is not None and planned.cell.id in self._bars:
            self._rich.remove_task(self._bars.pop(planned.cell.id))
        if planned.state == "cached" or not is_main_process():
            return
        text = f"[{self._done}/{self._total}] {result.dataset}/{result.task} {result.method} seed {result.seed}: "
        if result.status == "ok":
            name = result.primary
            score = result.scores[name] if name else None
            shown = "undefined" if score is None else f"{score:.4f}"
            seconds = result.cost.train_seconds if result.cost else 0.0
            text += f"{name} {shown} ({seconds:.1f} s)"
        else:
            text += f"{result.status}: {result.reason}"
        if self._rich is not None:
            self._rich.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)
