"""Ctrl-C and SIGTERM, taken at a moment when nothing breaks, and said in one line.

Python's own answer to Ctrl-C is an exception at any bytecode: in the middle of an import (where a C++ extension may
abort the process), in a finaliser (where it is printed and lost), while a progress bar is being drawn. Here the first
signal raises :class:`Interrupted` once it is safe to; further ones are ignored while that unwinds, and it is raised
again if something has swallowed it. The handlers belong to the command line; a library call has the caller's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

LINE = "interrupted; the same command goes on where this one stopped"

_SOON, _AGAIN = 0.02, 3.0
"""Seconds until the next look whether it is safe, and until an exception that has not arrived was swallowed."""


class Interrupted(BaseException):
    """The user, or the system, wants this process to end. Not an Exception, so that nobody takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


class _State:
    received: int | None = None
    held: int = 0
    ending: bool = False
    installed: bool = False


_state = _State()


def install() -> None:
    """Take over SIGINT and SIGTERM for the rest of this process. A signal that the caller ignores stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _take)
    signal.signal(signal.SIGALRM, _take)
    sys.unraisablehook = _unraisable
    _state.installed = True


def listen() -> None:
    """Let the signals through that were blocked until the handlers were there; one that waits is raised here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))


def received() -> int | None:
    """The signal that has asked this process to end, if one has."""
    return _state.received


def raise_if_received() -> None:
    """Raise :class:`Interrupted` if a signal has asked this process to end. Whatever has gone wrong since may be its
    consequence (an import that was broken off, an exception that was swallowed): no failure of anybody's."""
    if _state.received is not None and not _state.ending:
        _raise()


def is_ours(error: BaseException) -> bool:
    """Whether an exception says that somebody wants this process to end, or comes of it: it must go through. Where the
    handlers are in place Ctrl-C raises nothing else, and a KeyboardInterrupt is some code's own."""
    if isinstance(error, Interrupted) or _state.received is not None:
        return True
    return isinstance(error, KeyboardInterrupt) and not _state.installed


def end(code: int = 0) -> int:
    """The process is about to end with ``code``, or with the signal's and one line: no more signals from here on."""
    _state.ending = True
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    # Ignored in C too: the interpreter takes Python's handlers down before it has taken everything else down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _state.received is None:
        return code
    try:
        print(LINE, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        # Nobody reads it; what is left in the buffer must not fail again at exit.
        discard(2)
    return 128 + _state.received


@contextmanager
def held() -> Iterator[None]:
    """A signal that arrives in the block raises at its end. For what must not stop half-way, and is quick."""
    _state.held += 1
    try:
        yield
    finally:
        _state.held -= 1
    if _state.received is not None and not _state.held and not _state.ending:
        _raise()


def discard(stream: int) -> None:
    """Let a file descriptor that nobody reads any more lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, stream)
    os.close(nowhere)


def _take(number: int, frame: FrameType | None) -> None:
    if number != signal.SIGALRM:
        if _state.received is not None:
            return
        _state.received = number
    if _state.received is None or _state.ending:
        return
    if _state.held or _importing(frame):
        signal.setitimer(signal.ITIMER_REAL, _SOON)
        return
    _raise()


def _raise() -> None:
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    assert _state.received is not None
    raise Interrupted(_state.received)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _unraisable(unraisable: Any) -> None:
    """A finaliser cannot let an exception through: take ours up again after it, say the others as ever."""
    if unraisable.exc_type is not None and issubclass(unraisable.exc_type, Interrupted):
        signal.setitimer(signal.ITIMER_REAL, _SOON)
    else:
        sys.__unraisablehook__(unraisable)
