"""What a cell's code prints belongs in the cell's log: from Python, from C, from a process that it starts."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from braidbench.files import storage


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """Standard output and standard error of the block go to the end of the file ``path``.

    Both as file descriptors, which C libraries and child processes write to, and as ``sys.stdout`` and ``sys.stderr``,
    which a notebook replaces. They are what they were when the block ends, however it ends, and when it calls
    ``breakpoint()``. They belong to the whole process: not for two threads at once. Raises StorageError if the file
    cannot be opened.
    """
    log = _open(path)
    streams, hook = (sys.stdout, sys.stderr), sys.breakpointhook
    flush()
    kept = {stream: _duplicate(stream) for stream in (1, 2)}
    writer = _text(os.dup(log))

    def restore() -> None:
        if sys.breakpointhook is not debug:
            return
        flush()
        sys.stdout, sys.stderr = streams
        sys.breakpointhook = hook
        for stream, saved in kept.items():
            if saved is None:
                os.close(stream)
            else:
                os.dup2(saved, stream)
                os.close(saved)

    def debug(*arguments: Any, **options: Any) -> Any:
        restore()
        return hook(*arguments, **options)

    sys.breakpointhook = debug
    try:
        _lead(log)
        sys.stdout = sys.stderr = writer
        yield
    finally:
        restore()
        # Left open: a logging handler that was made in the block may hold it, and write to it later.


def capture(path: Path) -> None:
    """Like :func:`captured`, for the rest of the process."""
    log = _open(path)
    flush()
    _lead(log)
    sys.stdout = sys.stderr = _text(1)


def fill_standard_streams() -> None:
    """Open what the caller has closed of the descriptors 0 to 2, on nothing: or else the next file or pipe that is
    opened gets such a number, and whoever writes to standard error writes into it."""
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            # The lowest free number: this one. A process that is started has to find it open as well.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _open(path: Path) -> int:
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _lead(log: int) -> None:
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _text(stream: int) -> TextIO:
    # Written at once: a crash takes the buffers along.
    return open(stream, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=stream > 2)


def _duplicate(stream: int) -> int | None:
    try:
        return os.dup(stream)
    except OSError:
        return None


def flush() -> None:
    """Write out what Python and the C library still hold of what was printed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)
