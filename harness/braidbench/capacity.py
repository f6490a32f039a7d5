"""How many cells fit side by side: by cores, by the memory of the host, and by that of the device."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from braidbench.plan import Plan
from braidbench.store import Store

GIB = 1 << 30

HOST_BYTES = 1 * GIB
"""What a cell takes of the host's memory where nothing is known of it: Python, torch, a bundled dataset."""
HOST_BYTES_ON_DEVICE = 2 * GIB
"""The same with CUDA's libraries."""
DEVICE_BYTES = 1 * GIB
CONTEXT_BYTES = 6 * GIB // 10
"""What a process takes on the device before it puts anything there."""


@dataclass(frozen=True)
class Machine:
    """What is free now. None where it is not known, or where there is no such thing."""

    cores: float
    host_bytes: int | None = None
    device_bytes: int | None = None


@dataclass(frozen=True)
class Demand:
    """What one cell needs, in bytes."""

    host: int
    device: int = 0


def jobs(demands: Sequence[Demand], machine: Machine, threads: int = 1) -> int:
    """The largest number of cells that may run at once, whichever of them these are; at least 1."""
    number = min(len(demands), math.floor(machine.cores / threads))
    if machine.host_bytes is not None:
        number = min(number, _fit([demand.host for demand in demands], machine.host_bytes))
    if machine.device_bytes is not None:
        number = min(number, _fit([demand.device for demand in demands], machine.device_bytes))
    return max(number, 1)


def _fit(sizes: Sequence[int], free: int) -> int:
    """How many of the largest fit in ``free`` together."""
    total = 0
    for number, size in enumerate(sorted(sizes, reverse=True)):
        total += size
        if total > free:
            return number
    return len(sizes)


def demands(plan: Plan, on_device: bool) -> list[Demand]:
    """What each cell to run needs: the most that an earlier cell of its row on its dataset took, or else of its
    dataset, and no less than is usual."""
    host: dict[tuple[str, ...], int] = {}
    device: dict[tuple[str, ...], int] = {}
    for root in {planned.request.results for planned in plan.cells}:
        for _, result in Store(root).all().results:
            if result.cost is None:
                continue
            for key in ((result.dataset, result.method), (result.dataset,)):
                host[key] = max(host.get(key, 0), result.cost.peak_host_bytes)
                if result.cost.peak_device_bytes is not None:
                    device[key] = max(device.get(key, 0), result.cost.peak_device_bytes)
    found = []
    for planned in plan.of("to run"):
        keys = ((planned.dataset, planned.request.row), (planned.dataset,))
        known = next((host[key] for key in keys if key in host), 0)
        if on_device:
            there = next((device[key] for key in keys if key in device), DEVICE_BYTES)
            found.append(Demand(max(known, HOST_BYTES_ON_DEVICE), there + CONTEXT_BYTES))
        else:
            found.append(Demand(max(known, HOST_BYTES)))
    return found


def machine(on_device: bool) -> Machine:
    """What is free on this machine now, within what this process is allowed of it."""
    root, own = Path("/sys/fs/cgroup"), _read(Path("/proc/self/cgroup"))
    cores = float(len(os.sched_getaffinity(0)))
    quota = cpu_quota(root, own)
    memory = [m for m in (available(_read(Path("/proc/meminfo"))), cgroup_memory(root, own)) if m is not None]
    free = None
    if on_device:
        from torch import cuda

        free = cuda.mem_get_info()[0]
    return Machine(cores if quota is None else min(cores, quota), min(memory, default=None), free)


def available(meminfo: str) -> int | None:
    """Bytes that the kernel can give without swapping, from the text of ``/proc/meminfo``."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_quota(root: Path, own: str) -> float | None:
    """Cores' worth of time that the control groups of this process allow; None without a limit.

    ``root`` is where control groups are mounted and ``own`` the text of ``/proc/self/cgroup``.
    """
    quotas = []
    for folder in _folders(root, own, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if _is_number(quota) and _is_number(period) and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cgroup_memory(root: Path, own: str) -> int | None:
    """Bytes that the control groups of this process leave it; None without a limit. What the kernel merely caches of
    files counts as free."""
    free = []
    for folder in _folders(root, own, "memory"):
        limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")
        if not limit:
            limit, used = _read(folder / "memory.limit_in_bytes"), _read(folder / "memory.usage_in_bytes")
        if not (_is_number(limit) and _is_number(used)):
            continue
        statistics = dict(line.split()[:2] for line in _read(folder / "memory.stat").splitlines() if " " in line)
        cached = int(statistics.get("total_inactive_file") or statistics.get("inactive_file") or 0)
        free.append(max(int(limit) - max(int(used) - cached, 0), 0))
    return min(free, default=None)


def _folders(root: Path, own: str, controller: str) -> Iterable[Path]:
    """The folders of this process's control group of a controller and of those around it, in either version."""
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        top = root / controller if names else root
        folder = top / path.strip("/")
        # Inside a container the path may be the host's, of which only the top is mounted here.
        yield from {folder, *[parent for parent in folder.parents if parent.is_relative_to(top)], top}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_number(text: str) -> bool:
    """Whether it is a limit: for none, version 2 writes ``max``, version 1 -1 or a number beyond every machine."""
    return text.isdigit() and int(text) < 1 << 60
