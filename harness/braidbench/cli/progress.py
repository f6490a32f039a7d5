"""Progress on standard error: on a terminal a bar of the whole run and a line a running cell, and everywhere a plain
line a finished cell. Nothing that goes wrong with it stops the run."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from braidbench.cell import Cell
from braidbench.cli.remaining import Remaining, left
from braidbench.cli.talk import say
from braidbench.environment import is_main_process
from braidbench.interruption import held
from braidbench.plan import Plan, Planned
from braidbench.results import Result

REASON = 160
"""Longest reason of a failed cell, in characters; the whole of it stands in the result."""


@dataclass
class _Running:
    cell: Cell
    epoch: int
    epochs: int
    score: float = math.nan


class Progress:
    """Context manager around a run, from before its plan is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._done = self._total = 0
        self._jobs = 1
        self._running: dict[str, _Running] = {}
        self._remaining: Remaining | None = None
        self._screen: Any = None
        self._live: Any = None

    def __enter__(self) -> Progress:
        if is_main_process() and _is_terminal():
            from rich.console import Console
            from rich.live import Live

            with held():
                # A duplicate: standard error itself belongs to the cell while one runs in this process.
                self._screen = _screen(os.dup(2))
                self._console = Console(file=self._screen)
                self._live = Live(
                    console=self._console,
                    get_renderable=self._render,
                    transient=True,
                    redirect_stdout=False,
                    vertical_overflow="crop",
                )
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with held():
                self._live.stop()
                self._live = None
                self._screen.close()

    def begin(self, plan: Plan, jobs: int) -> None:
        """The plan is made, and its cells are about to run."""
        remaining = Remaining(jobs)
        for planned in plan.of("to run"):
            if planned.cell is not None:
                epochs = planned.cell.recipe.training.epochs
                remaining.add(planned.cell.id, planned.dataset, planned.request.row, epochs, planned.seconds)
        self._jobs = jobs
        self._total = len(plan.cells) - len(plan.of("skipped"))
        self._remaining = remaining

    def epoch(self, cell: Cell, epoch: int, epochs: int, score: float) -> None:
        """A cell has finished an epoch with this validation score; epoch 0 is its beginning."""
        with held():
            now = time.monotonic()
            self._running[cell.id] = _Running(cell, epoch, epochs, score)
            if self._remaining is not None:
                if epoch:
                    self._remaining.epoch(cell.id, epoch, epochs, now)
                else:
                    self._remaining.begin(cell.id, now)

    def done(self, planned: Planned, result: Result) -> None:
        """A cell has ended. A cached one is counted and not listed; of skipped ones the plan has told."""
        if planned.state == "skipped":
            return
        self._done += 1
        if planned.cell is not None and planned.state == "to run":
            self._running.pop(planned.cell.id, None)
            if self._remaining is not None:
                self._remaining.end(planned.cell.id, time.monotonic())
        if planned.state == "cached":
            return
        text = f"[{self._done}/{self._total}] {result.dataset}/{result.task} {result.method} seed {result.seed}: "
        if result.status == "ok":
            name = result.primary
            score = result.scores[name] if name else None
            shown = "undefined" if score is None else f"{score:.4f}"
            seconds = result.cost.train_seconds if result.cost else 0.0
            text += f"{name} {shown} ({seconds:.1f} s)"
        else:
            text += f"{result.status}: {shorten(result.reason or '', REASON)}"
        self.say(text)
        for sentence in _notes(planned, result):
            self.say(f"  {shorten(sentence, REASON)}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar if there is one."""
        if not is_main_process():
            return
        with held():
            if self._live is None:
                say(text)
            else:
                self._fit()
                self._console.print(text, markup=False, highlight=False)

    # --- the bar ------------------------------------------------------------------------------------------------------

    def _fit(self) -> None:
        """Follow the terminal's size: rich asks the standard streams, which may lead to a cell's log just now."""
        try:
            columns, lines = os.get_terminal_size(self._screen.fileno())
        except OSError:
            columns, lines = 0, 0
        self._console.size = (columns or 80, lines or 24)

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        self._fit()
        width, height = self._console.size
        # A cell that another run holds has begun and does not go on; it is not one of those that run.
        running = sorted(self._running.values(), key=lambda one: one.epoch == 0)[: self._jobs]
        running.sort(key=lambda one: list(self._running).index(one.cell.id) if one.cell.id in self._running else 0)
        room = max(height - 3, 1)
        lines = [_line(one, width) for one in running[:room]]
        if len(running) > room:
            lines[-1] = f"… and {len(running) - room + 1} more"
        return Group(*[Text(line, no_wrap=True, overflow="crop") for line in lines], self._overall(width))

    def _overall(self, width: int) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        short = width < 60
        seconds = None if self._remaining is None else self._remaining.seconds(now)
        if self._remaining is None:
            text = f"making the plan  {_clock(now - self._began)}"
        else:
            cells = f"{self._done}/{self._total}" + ("" if short else " cells")
            parts = [cells, _clock(now - self._began)]
            text = "  ".join(parts if self._done == self._total else [*parts, left(seconds, short)])
        # The line does not fill the last columns: an echoed ^C there would wrap, and the bar not be wiped whole.
        bar = min(width - len(text) - 6, 40)
        if bar < 4:
            return Text(text[: max(width - 4, 1)], no_wrap=True, overflow="crop")
        part = sum(min(one.epoch / one.epochs, 1.0) for one in list(self._running.values()) if one.epochs)
        total = float(self._total) if self._remaining is not None else None
        table = Table.grid(padding=(0, 2))
        table.add_row(ProgressBar(total, self._done + part, width=bar, pulse=total is None), Text(text, no_wrap=True))
        return table


def _notes(planned: Planned, result: Result) -> list[str]:
    """What a reader of the scores has to know and was not told before the run: a sentence each."""
    told: set[str] = set()
    if planned.cell is not None:
        told = {*planned.cell.recipe.deviations, *planned.cell.data_deviations}
    return [
        *(f"{metric} is undefined: {reason}" for metric, reason in result.undefined.items()),
        *(sentence for sentence in result.deviations if sentence not in told),
        *(
            f"robustness to {curve.corruption} of {curve.modality} was not measured: {curve.failure}: {curve.reason}"
            for curve in (result.robustness_failures if planned.request.robustness else ())
        ),
    ]


def _line(running: _Running, width: int) -> str:
    """``digits late-fusion seed 0  epoch 3/20  valid 0.912`` in ``width`` columns; the name gives way."""
    from rich.cells import cell_len, set_cell_size

    short = width < 60
    if not running.epoch:
        state = "starting"
    else:
        score = "–" if math.isnan(running.score) else f"{running.score:.3f}"
        state = f"{running.epoch}/{running.epochs}  {score}" if short else (
            f"epoch {running.epoch}/{running.epochs}  valid {score}"
        )  # fmt: skip
    name, seed = f"{running.cell.recipe.dataset.name} {running.cell.recipe.row}", f" seed {running.cell.request.seed}"
    room = width - 1 - len(state) - 2 - len(seed)
    if room < 4:
        return set_cell_size(f"{name}{seed}  {state}", max(width - 1, 1))
    if cell_len(name) > room:
        name = set_cell_size(name, room - 1) + "…"
    return f"{name}{seed}  {state}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(text: str, length: int) -> str:
    """The first line of a text, cut where it is too long."""
    first = next(iter(text.strip().splitlines()), "")
    return first if len(first) <= length else first[: length - 1] + "…"


def _is_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class _Unbreakable(io.FileIO):
    """A terminal that may be gone: what is written to it then is lost, and that is all."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def _screen(stream: int) -> io.TextIOWrapper:
    raw = _Unbreakable(stream, "w")
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace")
