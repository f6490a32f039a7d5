"""Where a cell ran: versions, commit, hardware, threads. Recorded with every result, part of no identity."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from braidbench.registry import registry
from braidbench.results import Environment

PACKAGES = (
    "torch",
    "accelerate",
    "datasets",
    "numpy",
    "scipy",
    "scikit-learn",
    "torchmetrics",
    "safetensors",
    "pyarrow",
)


def environment(
    threads: int,
    device: str,
    precision: str,
    nondeterministic: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Environment:
    """Where this process runs, for the record. ``nondeterministic`` names the kernels that were not deterministic,
    ``variables`` what was set in the environment and can change what torch computes."""
    import braidbench

    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    commit, dirty = _commit()
    return Environment(
        braidbench=braidbench.__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processor=_processor(),
        cpu_count=os.cpu_count() or 1,
        threads=threads,
        device=device,
        precision=precision,
        commit=commit,
        dirty=dirty,
        packages=versions,
        plugins={plugin.name: plugin.owner for plugin in registry().plugins},
        deterministic=not nondeterministic,
        nondeterministic=list(nondeterministic),
        variables=dict(variables or {}),
    )


def is_main_process() -> bool:
    """False in all but the first of a distributed launcher's processes: the others train, and write nothing."""
    return os.environ.get("RANK", "0") == "0"


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def _commit() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the source tree that this package is run from; None for an installed wheel."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        # A wheel inside somebody else's repository must not report that repository's commit.
        if not git("ls-files", "cell.py"):
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
