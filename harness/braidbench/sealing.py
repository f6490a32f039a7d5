"""The test split stays shut while a method is trained: whoever reaches for it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from braidbench.errors import PluginError
from braidbench.paths import data_root


class SealedError(PluginError):
    """A component reached for the test split while it was being trained."""


_sealed: list[str] = []
"""Who is trained, in words. For the whole process: a component may have threads."""
_reached: list[str] = []
_watched: list[str] = []
"""The folder below which opened files are watched; set with the first seal."""


@contextmanager
def test_split_sealed(what: str) -> Iterator[None]:
    """Inside, nobody opens a test split: neither by :func:`braidbench.data.open_split` nor as a prepared file.

    That is a guard against mistakes, and no wall: code that opens files without Python's knowledge (another process,
    Arrow's own memory map) is not seen.

    ``what`` (a method, in words) is being trained. Raises SealedError for the attempt, and again at the end of the
    block, in case that somebody has swallowed the first one.
    """
    if not _watched:
        # Hooks cannot be taken away again; this one does nothing while nobody is trained.
        sys.addaudithook(_watch)
    _watched[:] = [os.path.join(os.path.realpath(data_root()), "prepared") + os.sep]
    _sealed.append(what)
    try:
        yield
    finally:
        _sealed.pop()
        attempts, _reached[:] = list(_reached), []
    if attempts:
        raise SealedError(attempts[0])


def refuse_if_sealed(place: str) -> None:
    """Raise SealedError if the test split, which is at ``place``, is sealed."""
    if _sealed:
        _reached.append(
            f"{_sealed[-1]} reaches for the test split ({place}) while it is trained: a procedure and a preprocessing "
            "work on what they are given"
        )
        raise SealedError(_reached[-1])


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not _sealed or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path = os.fsdecode(arguments[0])
    # <prepared>/<dataset>/<fingerprint>/test/…, by whatever name it is opened.
    real = os.path.realpath(path)
    if real.startswith(_watched[0]) and Path(real[len(_watched[0]) :]).parts[2:3] == ("test",):
        refuse_if_sealed(path)
