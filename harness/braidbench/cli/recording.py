"""Keeps what a listing printed, for :mod:`braidbench.cli.snapshot` to print again."""

from __future__ import annotations

import io
import os
import sys
import sysconfig
import time
from types import TracebackType
from typing import Any, TextIO

from braidbench.cli import snapshot


class Recorder:
    """Context manager around a listing: keeps what it prints, if it is whole and every plugin is well.

    What it was made from is what the interpreter was seen to use: the files of every module that is not the
    interpreter's own, the folders of packages, the places where modules are looked for, and every file that was opened
    and every folder that was read in the block: the distributions' entry points, a table that a plugin's hook reads.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._circumstances = snapshot.circumstances()
        self._began = time.time_ns()
        self._used: set[str] | None = set()
        self._tee: _Tee | None = None

    def __enter__(self) -> Recorder:
        sys.addaudithook(self._see)
        self._tee = _Tee(sys.stdout)
        sys.stdout = self._tee
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        used, self._used = self._used, None
        if self._tee is None or used is None:
            return
        sys.stdout = self._tee.to
        whole = error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
        if whole:
            self._keep("".join(self._tee.parts), used)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._used is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        path = arguments[0]
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if isinstance(path, str | os.PathLike):
            self._used.add(os.path.abspath(os.fspath(path)))

    def _keep(self, text: str, used: set[str]) -> None:
        from braidbench.registry import registry

        path = snapshot.location(self._arguments)
        if path is None or not text or registry().quarantined or registry().collisions:
            return
        lines = [snapshot.HEADER, self._circumstances]
        for watched in sorted(_watched(used)):
            state = snapshot.state(watched)
            if "\n" in watched or (os.path.isfile(watched) and int(state.split(",")[1]) >= self._began - 20_000_000):
                # Changed while it was read, perhaps: what was printed may be from before, or from after.
                return
            lines.append(f"{state} {watched}")
        temporary = f"{path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.write("\n".join([*lines, snapshot.END, text]))
            os.replace(temporary, path)
        except (OSError, ValueError):
            # A snapshot saves time and nothing else; the command has done its work.
            return


class _Tee(io.TextIOBase):
    """Writes on, and keeps what is written."""

    def __init__(self, to: TextIO) -> None:
        self.to = to
        self.parts: list[str] = []

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.to.encoding

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            # click asks in this way whether a stream takes bytes.
            raise TypeError(f"text, not {type(text).__name__}")
        self.parts.append(text)
        return self.to.write(text)

    def flush(self) -> None:
        self.to.flush()


def _watched(used: set[str]) -> set[str]:
    """The files and folders that decide what was printed."""
    found = {path for path in sys.path if path} | used
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str):
            found.add(os.path.abspath(file))
        folders = getattr(module, "__path__", None)
        if folders is not None:
            # A namespace package computes its own; a package may look through its folder for modules to import.
            found.update(os.path.abspath(folder) for folder in list(folders) if isinstance(folder, str))
    # The interpreter's own files change with its version, and compiled ones follow their source.
    own = tuple(
        sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib") if sysconfig.get_path(name) is not None
    )
    sites = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))
    return {
        path
        for path in found
        if "__pycache__" not in path
        and not path.startswith(("/proc/", "/sys/", "/dev/"))
        and (not path.startswith(own) or path.startswith(sites) or path in sys.path)
    }
