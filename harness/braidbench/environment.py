"""Where a cell ran: versions, commit, hardware, threads. Recorded with every result, part of no identity."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun and accelerate's launcher set for each of their processes, all of it."""

LAUNCHERS = re.compile(
    r"(LOCAL_)?RANK|(LOCAL_)?WORLD_SIZE|NODE_RANK|GROUP_RANK|MASTER_(ADDR|PORT)|(PMI|OMPI_COMM_WORLD|MV2_COMM_WORLD)_\w+"
    r"|MPI_LOCAL(RANKID|NRANKS)|TORCHELASTIC_\w+"
)
"""Variables of any launcher, from some of which accelerate would conclude that there are other processes."""


@dataclass(frozen=True)
class Launch:
    """This process's place among those that a distributed launcher has started."""

    rank: int
    world: int
    """How many processes there are, two or more."""


def launch() -> Launch | None:
    """What a distributed launcher says of this process; None where there is none.

    Only a whole and possible set of its variables counts. A job script's ``RANK`` alone, what an earlier launch has
    left, and a launch of one process are no reason to wait for others, or to leave the results to them.
    """
    given = {name: os.environ.get(name, "") for name in LAUNCH}
    numbers = [given[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")]
    if not given["MASTER_ADDR"] or not all(re.fullmatch("[0-9]{1,6}", number) for number in numbers):
        return None
    rank, local, world, _ = (int(number) for number in numbers)
    return Launch(rank, world) if local <= rank < world and world > 1 else None


def not_a_launch() -> str | None:
    """One sentence where variables look like a distributed launch and are none, and would leave results to others."""
    if launch() is not None or os.environ.get("RANK", "0") == "0":
        return None
    given = " ".join(f"{name}={os.environ[name]}" for name in LAUNCH[:3] if name in os.environ)
    missing = ", ".join(name for name in LAUNCH if not os.environ.get(name))
    why = f"without {missing}" if missing else "do not fit together"
    return f"{given} {why}: not one of several processes of a distributed launch, so this one runs alone"


def is_main_process() -> bool:
    """False in all but the first of a distributed launcher's processes: the others train, and write nothing."""
    found = launch()
    return found is None or found.rank == 0


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
