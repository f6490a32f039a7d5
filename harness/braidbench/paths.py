"""Where braidbench keeps things. Imports next to nothing: the command line's fast path comes through here."""

from __future__ import annotations

import os
import sys


def cache_root() -> str:
    """The platform's user cache folder for braidbench."""
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "braidbench")


def data_root() -> str:
    """``$BRAIDBENCH_DATA``, or ``data`` below the user cache."""
    return os.environ.get("BRAIDBENCH_DATA") or os.path.join(cache_root(), "data")
