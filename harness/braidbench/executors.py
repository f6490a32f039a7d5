"""Where cells run: one after the other in this process, or each in a process of its own.

An executor is built with ``(jobs)``. ``run(cells, execute, progress)`` yields ``(cell, result)`` as each ends; the
result is None when another run holds the cell. It may call ``progress(cell, 0, epochs, nan)`` when a cell starts. A
stranger's executor keeps the same contract.

Whatever a cell's code prints goes to the end of the cell's ``log.txt``, and whatever it raises becomes a failed row.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any, Literal

from braidbench.capture import capture, captured, flush
from braidbench.cell import Cell, Request
from braidbench.errors import StorageError, UsageError
from braidbench.execution import Measuring, Stage, ended
from braidbench.failures import kind_of, reason_of
from braidbench.interruption import Interrupted, held, install, is_ours, raise_if_received
from braidbench.results import FailureKind, Result, parse

Progress = Callable[[Cell, int, int, float], None]
Execute = Callable[..., Result | None]

LOG = "log.txt"

PATIENCE = 5.0
"""Seconds that a child has to end by itself once it was told to."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _Begun:
    cell: Cell
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    stage: Stage | None = None
    """What it is measuring now: a corruption and a modality."""

    def enter(self, corruption: str, modality: str) -> None:
        self.stage = (corruption, modality)


class SerialExecutor:
    """One cell after the other, in this process."""

    def __init__(self, jobs: int = 1) -> None:
        if jobs != 1:
            raise UsageError(f"the serial executor runs one job, not {jobs}; use --executor process")

    def run(
        self, cells: Sequence[Cell], execute: Execute, progress: Progress, wait: bool = False
    ) -> Iterator[tuple[Cell, Result | None]]:
        for cell in cells:
            begun = _Begun(cell)
            progress(cell, 0, cell.recipe.training.epochs, math.nan)
            with captured(cell.folder / LOG):
                kind, value = _attempt(
                    execute, cell.request, lambda *point, cell=cell: progress(cell, *point), wait, begun.enter
                )
            yield cell, _lost(begun, *value) if kind == "failed" else value


def _attempt(
    execute: Execute, request: Request, progress: Callable[[int, int, float], None], wait: bool, measuring: Measuring
) -> tuple[Literal["result", "failed"], Any]:
    """``("result", result)``, or ``("failed", (kind, reason))`` for what ``execute`` has let through: a component that
    exits, or that breaks before the cell begins. Only the disk's and the user's say goes through here too."""
    try:
        return "result", execute(request, progress, wait, measuring)
    except StorageError:
        raise
    except BaseException as error:
        raise_if_received()
        if is_ours(error):
            raise
        traceback.print_exc()
        return "failed", (kind_of(error), reason_of(error))


@dataclass
class _Child(_Begun):
    process: Any = None
    pipe: Any = None
    """What the child says, to read."""
    deadline: float = math.inf
    kills_before: int = 0
    starting: threading.Thread | None = None
    error: BaseException | None = None
    """Why it could not be started."""
    unwanted: bool = False
    """Whether the run has ended before it was started."""


class ProcessExecutor:
    """Up to ``jobs`` cells side by side, each in a process of its own.

    A cell that crashes, runs out of memory or out of time is one failed row; its siblings go on. Processes are forked
    from a server that has imported torch once. They end with this process, however it ends.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs {jobs}: give 1 or more")
        self.jobs = jobs
        _place_sockets()
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["braidbench.worker"])

    def run(
        self, cells: Sequence[Cell], execute: Execute, progress: Progress, wait: bool = False
    ) -> Iterator[tuple[Cell, Result | None]]:
        waiting = list(reversed(cells))
        running: list[_Child] = []
        whole = False
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    cell = waiting.pop()
                    progress(cell, 0, cell.recipe.training.epochs, math.nan)
                    self._start(cell, execute, wait, running)
                    if running[-1].error is not None:
                        child = running.pop()
                        reason = f"its process could not be started: {type(child.error).__name__}: {child.error}"
                        yield child.cell, _lost(child, "crash", reason)
                for child in self._ready(running) if running else []:
                    ended, result = self._read(child, progress)
                    if ended:
                        running.remove(child)
                        yield child.cell, result
            whole = True
        finally:
            if not whole:
                with held():
                    _end(running)

    def _start(self, cell: Cell, execute: Execute, wait: bool, running: list[_Child]) -> None:
        """Add the cell's child to ``running``, with ``error`` if it could not be started."""
        limit = cell.request.timeout
        with held():
            receive, send = self.context.Pipe(duplex=False)
            arguments = (send, execute, cell.request, cell.folder, wait)
            process = self.context.Process(target=_work, args=arguments, daemon=True)
            child = _Child(cell, process=process, pipe=receive, kills_before=_oom_kills())
            # A thread of its own, because this takes as long as the server's imports: an interruption of this thread
            # comes through at once, and none can tear what is said to the server and leave a half-started child.
            child.starting = threading.Thread(target=_launch, args=(child, send), daemon=True)
            running.append(child)
            child.starting.start()
        child.starting.join()
        child.deadline = time.monotonic() + limit if limit else math.inf

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
            _join(child)
            if child.process.exitcode in (-signal.SIGTERM, 255):
                # It may be that everybody here was told to end; then this process hears of it about now.
                time.sleep(0.2)
            return True, _lost(child, *_cause(child))
        if kind == "progress":
            progress(child.cell, *value)
            return False, None
        if kind == "stage":
            child.enter(*value)
            return False, None
        _join(child)
        if kind == "storage":
            raise StorageError(value)
        if kind == "failed":
            return True, _lost(child, *value)
        return True, None if value is None else parse(value, "the cell's process")


LONGEST_FOLDER = 70
"""Bytes of the folder for temporary files with which a socket in a folder of its own there has a name that the system
takes: at most 107 bytes. Source: unix(7)."""


def _place_sockets() -> None:
    """Let the sockets that the processes talk through lie in a folder of a short name, whatever ``TMPDIR`` says.

    Raises StorageError where no folder for temporary files can be written to.
    """
    usual = tempfile.tempdir
    try:
        if len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
            tempfile.tempdir = next((place for place in ("/tmp", "/var/tmp") if os.access(place, os.W_OK)), None)
        # Made now and remembered.
        util.get_temp_dir()
    except OSError as error:
        raise StorageError(f"no folder for temporary files can be written to ({error}); set TMPDIR to one") from None
    finally:
        tempfile.tempdir = usual


def _launch(child: _Child, send: Any) -> None:
    """Start a child's process, and first the server that forks it, deaf to the terminal's Ctrl-C from its first
    instruction: whoever handles that here ends the children."""
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        with _variable("PYTHONWARNINGS", "ignore:resource_tracker"):
            # It would otherwise complain of the semaphores of a child that was killed; it removes them in any case.
            resource_tracker.ensure_running()
        # The tracker's start has let them through again.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            child.process.start()
        except (EOFError, ConnectionError):
            # The server was killed, by somebody short of memory perhaps; another try starts another one.
            if child.unwanted:
                raise
            child.process.start()
    except BaseException as error:
        child.error = error
    finally:
        send.close()


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """``value`` at the end of the comma-separated environment variable, in the block."""
    before = os.environ.get(name)
    os.environ[name] = f"{before},{value}" if before else value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _join(child: _Child) -> None:
    """Wait for a child that has said its last word; threads that its cell's code has left do not hold us up."""
    child.process.join(PATIENCE)
    if child.process.exitcode is None:
        child.process.kill()
        child.process.join()


def _end(running: list[_Child]) -> None:
    """End all children, those that have started and those that are about to, and the server."""
    started = [child for child in running if child.process.pid is not None]
    for child in started:
        child.process.terminate()
    deadline = time.monotonic() + PATIENCE
    for child in started:
        child.process.join(max(0.0, deadline - time.monotonic()))
        if child.process.exitcode is None:
            child.process.kill()
            child.process.join(1.0)
    for child in running:
        child.unwanted = True
    deadline = time.monotonic() + PATIENCE
    while True:
        # The server may be importing still, and would go on with that on its own for seconds. It holds nothing.
        server = getattr(forkserver._forkserver, "_forkserver_pid", None)
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server, signal.SIGKILL)
        if time.monotonic() > deadline or not any(c.starting is not None and c.starting.is_alive() for c in running):
            break
        time.sleep(0.01)
    for child in running:
        if child not in started and child.process.pid is not None:
            # Forked at the last moment: it has no parent any more that could tell us of its end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGKILL)


# --- in the child -----------------------------------------------------------------------------------------------------


class _Unheard(Interrupted):
    """Nobody listens to the child any more: it is to end and to leave everything as it is."""


def _work(pipe: Any, execute: Execute, request: Request, folder: Path, wait: bool) -> None:
    """The child's life: run one cell, send what it says."""
    capture(folder / LOG)
    # Ctrl-C is for the parent, which ends its children by SIGTERM; what they start ignores it as well.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    install()
    try:
        threading.Thread(target=_watch, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            kind, value = _attempt(
                execute,
                request,
                lambda *point: _send(pipe, ("progress", point)),
                wait,
                lambda *stage: _send(pipe, ("stage", stage)),
            )
        except StorageError as error:
            _send(pipe, ("storage", str(error)))
        else:
            flush()
            _send(pipe, (kind, value.model_dump_json() if isinstance(value, Result) else value))
    except (Interrupted, _Unheard):
        # By the very signal, so that a parent that has not sent it sees what has happened.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _send(pipe: Any, message: Any) -> None:
    try:
        pipe.send(message)
    except OSError:
        raise _Unheard(signal.SIGTERM) from None


def _watch() -> None:
    """End this process when its parent has gone, which is told by a pipe that only the parent holds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)


# --- rows of cells that could not say their own end -------------------------------------------------------------------


def _lost(child: _Begun, kind: FailureKind, reason: str) -> Result:
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
