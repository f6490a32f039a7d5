"""Where braidbench keeps things. Imports next to nothing: the command line's fast path comes through here.

A folder is never made under a name that was meant to be another one: ``~`` is the home folder wherever it comes from (a
shell does not expand ``--results=~/x``, nor what a job script or a container's file sets), and what cannot be found out
is asked for.
"""

from __future__ import annotations

import os
import sys


def home() -> str | None:
    """The user's home folder: ``$HOME`` where it is an absolute path, or what the system knows; None if neither."""
    found = os.environ.get("HOME", "")
    if not os.path.isabs(found):
        import pwd

        try:
            found = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            found = ""
    return found if os.path.isabs(found) else None


def expanded(path: str) -> str:
    """The path with a leading ``~`` or ``~user`` as the home folder that it means. Raises StorageError if there is
    none."""
    if not path.startswith("~"):
        return path
    name, slash, rest = path.partition("/")
    base = home() if name == "~" else os.path.expanduser(name)
    if base is None or base.startswith("~"):
        if os.path.lexists(name):
            # Somebody has a folder of that name, and means it.
            return path
        from braidbench.errors import StorageError

        raise StorageError(f"{path}: {name} is no home folder that is known here; write the whole path, or ./{path}")
    return base.rstrip("/") + slash + rest if rest else base


def cache_root() -> str | None:
    """The platform's user cache folder for braidbench; None for a user without a home folder. As the XDG specification
    has it, a ``$XDG_CACHE_HOME`` that is no absolute path does not count."""
    base = "" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        found = home()
        if found is None:
            return None
        base = os.path.join(found, "Library/Caches" if sys.platform == "darwin" else ".cache")
    return os.path.join(base, "braidbench")


def data_root() -> str:
    """``$BRAIDBENCH_DATA``, or ``data`` below the user cache. Raises StorageError if there is neither."""
    given = os.environ.get("BRAIDBENCH_DATA")
    if given:
        return expanded(given)
    cache = cache_root()
    if cache is None:
        from braidbench.errors import StorageError

        raise StorageError("this user has no home folder to keep prepared data in; set BRAIDBENCH_DATA to a folder")
    return os.path.join(cache, "data")
