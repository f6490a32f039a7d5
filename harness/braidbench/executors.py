"""Where cells run: one after the other in this process, or each in a process of its own.

An executor is built with ``(jobs)``. ``run(cells, execute, progress)`` yields ``(cell, result)`` as each ends; the
result is None when another run holds the cell. A stranger's executor keeps the same contract.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from braidbench.cell import Cell, Request
from braidbench.errors import StorageError, UsageError
from braidbench.execution import Reporter, Stage, ended
from braidbench.results import FailureKind, Result, parse

Progress = Callable[[Cell, int, int, float], None]
Execute = Callable[..., Result | None]


class SerialExecutor:
    """One cell after the other, in this process."""

    def __init__(self, jobs: int = 1) -> None:
        if jobs != 1:
            raise UsageError(f"the serial executor runs one job, not {jobs}; use --executor process")

    def run(
        self, cells: Sequence[Cell], execute: Execute, progress: Progress, wait: bool = False
    ) -> Iterator[tuple[Cell, Result | None]]:
        for cell in cells:
            yield cell, execute(cell.request, Reporter(lambda *point, cell=cell: progress(cell, *point)), wait)


@dataclass
class _Child:
    cell: Cell
    process: Any
    pipe: multiprocessing.connection.Connection
    deadline: float
    kills_before: int
    started: str
    stage: Stage | None = None
    """What it is measuring now: a corruption and a modality."""


class ProcessExecutor:
    """Up to ``jobs`` cells side by side, each in a process of its own.

    A cell that crashes, runs out of memory or out of time is one failed row; its siblings go on. Processes are forked
    from a server that has imported torch once. What a cell prints goes to the end of its ``log.txt``.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs {jobs}: give 1 or more")
        self.jobs = jobs
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["braidbench.worker"])

    def run(
        self, cells: Sequence[Cell], execute: Execute, progress: Progress, wait: bool = False
    ) -> Iterator[tuple[Cell, Result | None]]:
        waiting = list(reversed(cells))
        running: list[_Child] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    running.append(self._start(waiting.pop(), execute, wait))
                for child in self._ready(running):
                    ended, result = self._read(child, progress)
                    if ended:
                        running.remove(child)
                        yield child.cell, result
        finally:
            for child in running:
                child.process.terminate()
            for child in running:
                child.process.join(10)

    def _start(self, cell: Cell, execute: Execute, wait: bool) -> _Child:
        receive, send = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_work, args=(send, execute, cell.request, cell.folder, wait), daemon=True)
        process.start()
        send.close()
        limit = cell.request.timeout
        return _Child(
            cell=cell,
            process=process,
            pipe=receive,
            deadline=time.monotonic() + limit if limit else float("inf"),
            kills_before=_oom_kills(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @staticmethod
    def _ready(running: list[_Child]) -> list[_Child]:
        first = min(child.deadline for child in running) - time.monotonic()
        ready = multiprocessing.connection.wait([child.pipe for child in running], timeout=max(0.0, min(first, 3600.0)))
        late = time.monotonic()
        return [child for child in running if child.pipe in ready or child.deadline <= late]

    def _read(self, child: _Child, progress: Progress) -> tuple[bool, Result | None]:
        """(whether the child has ended, its result)."""
        if not child.pipe.poll():
            child.process.kill()
            child.process.join()
            limit = child.cell.request.timeout
            return True, _lost(child, "timeout", f"stopped after {limit:g} s; raise --timeout")
        try:
            kind, value = child.pipe.recv()
        except (EOFError, OSError):
            child.process.join()
            return True, _lost(child, *_cause(child))
        if kind == "progress":
            progress(child.cell, *value)
            return False, None
        if kind == "stage":
            child.stage = value
            return False, None
        child.process.join()
        if kind == "storage":
            raise StorageError(value)
        return True, None if value is None else parse(value, "the cell's process")


def _work(pipe: Any, execute: Execute, request: Request, folder: Any, wait: bool) -> None:
    """The child's life: run one cell, send what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        reporter = Reporter(
            epoch=lambda *point: pipe.send(("progress", point)), stage=lambda *stage: pipe.send(("stage", stage))
        )
        result = execute(request, reporter, wait)
    except StorageError as error:
        pipe.send(("storage", str(error)))
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        pipe.send(("result", None if result is None else result.model_dump_json()))


def _lost(child: _Child, kind: FailureKind, reason: str) -> Result:
    """A cell whose process is gone, as a stored failure."""
    try:
        log = (child.cell.folder / "log.txt").read_text(errors="replace")
    except OSError:
        log = ""
    return ended(child.cell, child.started, kind, reason, log, child.stage)


def _cause(child: _Child) -> tuple[FailureKind, str]:
    code = child.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL and _oom_kills() > child.kills_before:
            return "oom", "the kernel killed the process because memory ran out; lower training.batch_size or --jobs"
        return "crash", f"the process was ended by {name}"
    return "crash", f"the process ended with exit code {code} and no result"


def _oom_kills() -> int:
    """Processes that the kernel has killed for want of memory since it booted; 0 where it does not say."""
    try:
        with open("/proc/vmstat") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    except OSError:
        return 0
