"""Keeps what a listing printed, for :mod:`braidbench.cli.snapshot` to print again."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from braidbench.cli import snapshot
from braidbench.registry import registry


@contextmanager
def recorded(arguments: list[str]) -> Iterator[None]:
    """Keep what the block prints, if it is whole and every plugin is well."""
    real, kept = sys.stdout, io.StringIO()
    sys.stdout = kept
    code: object = None
    try:
        yield
    except SystemExit as stop:
        code = stop.code
        raise
    finally:
        sys.stdout = real
        real.write(kept.getvalue())
        real.flush()
        if code in (None, 0):
            _record(arguments, kept.getvalue())


def _record(arguments: list[str], text: str) -> None:
    if not text or registry().quarantined or registry().collisions:
        return
    files = {module.__file__ for module in list(sys.modules.values()) if _ours(module)}
    watched = sorted({path for path in sys.path if path} | {str(file) for file in files if file})
    lines = [snapshot.HEADER, snapshot.circumstances()]
    for path in watched:
        size, modified = snapshot.state(path)
        lines.append(f"{size} {modified} {path}")
    path = snapshot.location(arguments)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, snapshot.END, text]))
        os.replace(temporary, path)
    except OSError:
        # A snapshot saves time and nothing else; the command has done its work.
        return


def _ours(module: object) -> bool:
    """Whether a module's source decides what is printed: the core's, or a plugin's."""
    name = getattr(module, "__name__", "").partition(".")[0]
    return name in {"braidbench"} | {plugin.module.partition(".")[0] for plugin in registry().plugins}
