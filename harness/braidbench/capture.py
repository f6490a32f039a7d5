"""Whose the standard streams are: what a cell's code prints belongs in the cell's log, and standard output belongs to
the command. From Python, from C, from a process that is started.

A command's output is a document for the next program, so whatever else is printed while it is made (by a plugin that
greets, a library that warns, a child process) goes to standard error.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import errno
import functools
import io
import os
import select
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

from braidbench.errors import StorageError
from braidbench.files import storage
from braidbench.interruption import discard

Item = TypeVar("Item")

_ASCII = "braidbench_ascii"
"""Our name for ASCII with what stands for the rest; click takes a stream that says "ascii" for a mistake."""

_FORMS = {
    **dict.fromkeys("–—−‐‑─━═┄┅┈┉╌╍╴╶╸╺╼╾", "-"),
    **dict.fromkeys("│┃║┆┇┊┋╎╏╵╷╹╻╽╿", "|"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("\u00a0\u2009\u202f", " "),
    "…": "...", "→": "->", "←": "<-", "↑": "^", "↓": "v", "±": "+/-", "×": "x", "·": "*", "•": "*", "≥": ">=",
    "≤": "<=", "≈": "~", "≠": "!=", "µ": "u", "μ": "u", "²": "^2",
}  # fmt: skip


class _Private:
    """What :func:`claim` has set up; nothing in a process that is no command's."""

    own: TextIO | None = None
    """The command's standard output."""
    rest: TextIO | None = None
    """Where everything else goes that is printed."""


def claim() -> None:
    """For the rest of the process, standard output is the command's alone: ``sys.stdout`` leads there on a private
    descriptor, and descriptor 1, which C libraries and child processes write to, to standard error.

    Whatever a terminal's coding has no sign for is replaced. What the reader of a closed pipe does not take is dropped,
    a disk that is full is a StorageError at once, and standard error never fails.
    """
    fill_standard_streams()
    encodings = [getattr(stream, "encoding", None) or "utf-8" for stream in (sys.stdout, sys.stderr)]
    flush()
    own = os.dup(1)
    os.dup2(2, 1)
    _Private.own = sys.stdout = _writer(_Output(own, "w"), encodings[0])
    sys.stderr = _writer(_Talk(2, "w", closefd=False), encodings[1])
    sys.__stdout__ = _rest()  # type: ignore[misc, assignment]


def release() -> None:
    """The command has said what it had to say: what is printed from now on, at exit for one, goes to standard error.
    Raises StorageError if its last words cannot be written."""
    if _Private.own is not None:
        sys.stdout = _rest()
        _Private.own.flush()


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """In a command, what the block prints goes to standard error: it runs a plugin's code, and standard output belongs
    to the command. Anywhere else, nothing changes."""
    if _Private.own is None:
        yield
        return
    kept = sys.stdout
    sys.stdout = _rest()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        sys.stdout = kept


def each_aside(found: Iterable[Item]) -> Iterator[Item]:
    """The items, of which each is made :func:`aside`."""
    items = iter(found)
    while True:
        with aside():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _rest() -> TextIO:
    """A stream on descriptor 1, made anew if somebody has closed it."""
    if _Private.rest is None or _Private.rest.closed:
        _Private.rest = _writer(_Talk(1, "w", closefd=False), sys.stderr.encoding, _Rest)
    return _Private.rest


class _Output(io.FileIO):
    """The command's standard output: a file, a pipe, a terminal."""

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:
                # Somebody has made the pipe one that does not wait.
                select.select([], [self.fileno()], [])
        except BrokenPipeError:
            # The reader has enough: 'braidbench list methods | head'. What the command does is done all the same.
            discard(self.fileno())
            return len(data)
        except OSError as error:
            discard(self.fileno())
            full = "; free some space and give the same command again" if error.errno == errno.ENOSPC else ""
            raise StorageError(f"standard output cannot be written ({error.strerror}){full}") from error
        return written


class _Talk(io.FileIO):
    """Standard error: it may be closed, or nobody may read it, and the work goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


class _Rest(io.TextIOWrapper):
    """Takes the place of ``sys.__stdout__``, which programs ask how wide the terminal of the command's output is."""

    def fileno(self) -> int:
        return self.buffer.fileno() if _Private.own is None else _Private.own.fileno()


def _writer(raw: io.FileIO, encoding: str, kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> TextIO:
    _register()
    if codecs.lookup(encoding).name == "ascii":
        encoding = _ASCII
    talk = isinstance(raw, _Talk)
    return kind(io.BufferedWriter(raw), encoding, "braidbench", line_buffering=talk or raw.isatty())


@functools.cache
def _register() -> None:
    plain = codecs.lookup("ascii")
    ours = codecs.CodecInfo(
        plain.encode, plain.decode, plain.streamreader, plain.streamwriter, plain.incrementalencoder,
        plain.incrementaldecoder, _ASCII,
    )  # fmt: skip
    codecs.register(lambda name: ours if name == _ASCII else None)
    codecs.register_error("braidbench", _in_its_place)


def _in_its_place(error: UnicodeError) -> tuple[str | bytes, int]:
    """For a sign that a coding does not have: one that says the same, the byte of a file's name that is no text, or the
    sign's number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign, end = error.object[error.start], error.start + 1
    if "\udc80" <= sign <= "\udcff":
        return bytes([ord(sign) - 0xDC00]), end
    if "\u2500" <= sign <= "\u259f":
        return _FORMS.get(sign, "+" if sign <= "\u257f" else "#"), end
    return _FORMS.get(sign) or sign.encode("ascii", "backslashreplace").decode(), end


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
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


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
