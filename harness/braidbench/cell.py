"""One cell: what it is, before it runs.

A cell is one dataset's task, one row (a method, or a method on one modality), its overrides and one seed. Its identity
is a sha256 over names, declared versions, source hashes, parameters, the data's fingerprint, the seeds and the
precision where it is not full; never over the device, the number of workers, the order of arguments, the host or the
time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from braidbench.environment import environment
from braidbench.errors import UsageError
from braidbench.files import sha256_json
from braidbench.preparation import Prepared, fingerprint, locate, prepare
from braidbench.recipe import Recipe
from braidbench.results import FailureKind, Result
from braidbench.store import Store

IDENTITY_VERSION = 1
PROTOCOL_VERSION = 1
"""Raised when the core's own loop, seeding or scoring changes what a cell's result is."""

SEED_AXES = ("data", "init", "order", "corruption")

LOG_LINES = 20
PRECISIONS = ("fp32", "bf16")
FULL_PRECISION = PRECISIONS[0]


@dataclass(frozen=True)
class Request:
    """What to run and how, as names and plain values: it travels between processes."""

    dataset: str
    row: str
    seed: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    results: Path = Path("results")
    device: str = "auto"
    threads: int = 1
    robustness: bool = False
    timeout: float | None = None
    """Seconds; only an executor whose spec says ``timeouts`` can keep it."""
    precision: str = FULL_PRECISION
    """``fp32``, or ``bf16`` for everything under autocast."""
    planned: str | None = None
    """The identity that a plan has promised: what runs must be that cell and no other."""


@dataclass(frozen=True)
class Cell:
    """A resolved request: the recipe and the identity that follows from it and from the data."""

    request: Request
    recipe: Recipe
    identity: Mapping[str, Any]

    @cached_property
    def id(self) -> str:
        return sha256_json(self.identity)

    @cached_property
    def prepared(self) -> Prepared:
        """The prepared dataset, made now if it is not there. Raises DataError when that cannot be."""
        return prepare(self.recipe.dataset)

    @property
    def data_deviations(self) -> list[str]:
        """Where the prepared data differs from its publisher's; nothing of data that were not prepared yet."""
        prepared: Prepared | None = self.__dict__.get("prepared")
        return [] if prepared is None else prepared.deviations

    @property
    def folder(self) -> Path:
        r = self.recipe
        return Store(self.request.results).folder(r.dataset.name, r.task.name, r.row, self.request.seed, self.id)

    @property
    def name(self) -> str:
        return f"{self.recipe.dataset.name} {self.recipe.row} seed {self.request.seed}"


def seeds(seed: int) -> dict[str, int]:
    """One seed an axis, each a hash of the cell's seed and the axis's name: changing one leaves the others."""
    return dict(_seeds(seed))


@functools.lru_cache(maxsize=1024)
def _seeds(seed: int) -> tuple[tuple[str, int], ...]:
    # Reading thousands of results asks for the same few again and again.
    digests = {axis: hashlib.sha256(f"{axis}:{seed}".encode()).digest() for axis in SEED_AXES}
    return tuple((axis, int.from_bytes(digest[:8], "big") >> 1) for axis, digest in digests.items())


def make_cell(request: Request, recipe: Recipe) -> Cell:
    """The cell of a request. Reads the dataset's source files and prepares nothing; raises DataError when they are not
    here."""
    identity = {
        "identity_version": IDENTITY_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        **recipe.identity(),
        "fingerprint": fingerprint(recipe.dataset, locate(recipe.dataset)),
        "seed": request.seed,
        "seeds": seeds(request.seed),
    }
    if request.precision != FULL_PRECISION:
        identity["precision"] = request.precision
    return Cell(request, recipe, identity)


# --- the result around the scores -------------------------------------------------------------------------------------


def common(cell: Cell, started: str) -> dict[str, Any]:
    """What every result of a cell says, whatever came of it."""
    recipe = cell.recipe
    return {
        "cell": cell.id,
        "dataset": recipe.dataset.name,
        "task": recipe.task.name,
        "task_kind": recipe.task.kind,
        "method": recipe.row,
        "seed": cell.request.seed,
        "overrides": dict(recipe.overrides),
        "precision": cell.request.precision,
        "deviations": [*recipe.deviations, *cell.data_deviations],
        "directions": {name: metric.direction for name, metric in recipe.metrics.items()},
        "identity": dict(cell.identity),
        "command": command(recipe, cell.request),
        "started": started,
        "finished": now(),
        "area": recipe.dataset.area,
        "modalities": [m.name for m in recipe.modalities],
        "in_domain": recipe.dataset.name in recipe.method.proposed_on,
        "citation": recipe.method.citation,
    }


def command(recipe: Recipe, request: Request) -> str:
    """The command that reproduces a cell."""
    dataset = recipe.dataset.name
    if recipe.task != recipe.dataset.tasks[0]:
        dataset += f"/{recipe.task.name}"
    return _command(dataset, recipe.row, request.seed, recipe.overrides, request.precision, request.robustness)


def command_of(result: Result, first_task: str | None = None) -> str:
    """The command that reproduces a stored result, from its checked fields and never from what it says itself.

    ``first_task`` is the dataset's first task, which need not be named."""
    dataset = result.dataset if result.task == first_task else f"{result.dataset}/{result.task}"
    robustness = bool(result.robustness or result.robustness_failures)
    return _command(dataset, result.method, result.seed, result.overrides, result.precision, robustness)


def _command(dataset: str, row: str, seed: int, overrides: Mapping[str, Any], precision: str, robustness: bool) -> str:
    parts = ["braidbench", "run", dataset, row, "--seed", str(seed)]
    for key, value in overrides.items():
        parts += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    if precision != FULL_PRECISION:
        parts += ["--precision", precision]
    if robustness:
        parts.append("--robustness")
    return shlex.join(parts)


def failure(cell: Cell, started: str, kind: FailureKind, reason: str, log: str) -> Result:
    """A failed cell as a row, with the end of its log."""
    fields = common(cell, started)
    return Result(
        **fields,
        status="failed",
        failure=kind,
        reason=reason,
        log_tail=log.strip().splitlines()[-LOG_LINES:],
        environment=environment(cell.request.threads, cell.request.device, cell.request.precision),
    )


def now() -> str:
    """This moment, as results have it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def differences(stored: Mapping[str, Any], current: Mapping[str, Any], at: str = "") -> list[str]:
    """Where two identities differ, one line each: ``fusion.source: a1b2 -> c9d4``."""
    lines: list[str] = []
    for key in sorted({*stored, *current}):
        old, new = stored.get(key), current.get(key)
        place = f"{at}.{key}" if at else str(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, place)
        elif old != new:
            lines.append(f"{place}: {json.dumps(old)} -> {json.dumps(new)}")
    return lines


def skipped(request: Request, dataset: str, task: str, reason: str, failure: FailureKind | None = None) -> Result:
    """A cell that was not run, as a row: skipped, or with ``failure`` failed because a component broke before there was
    a cell. It has no data, so its identity is the request's."""
    identity = {
        "dataset": dataset,
        "task": task,
        "method": request.row,
        "seed": request.seed,
        "overrides": dict(request.overrides),
        "skipped": reason,
    }
    moment = now()
    return Result(
        cell=sha256_json(identity),
        dataset=dataset,
        task=task,
        method=request.row,
        seed=request.seed,
        status="failed" if failure else "skipped",
        failure=failure,
        reason=reason,
        overrides=dict(request.overrides),
        identity=identity,
        command=shlex.join(["braidbench", "run", f"{dataset}/{task}", request.row, "--seed", str(request.seed)]),
        started=moment,
        finished=moment,
    )


def check_seed(seed: int) -> int:
    """A seed that every generator takes."""
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"--seed {seed}: a seed is between 0 and 4294967295")
    return seed


def check_precision(precision: str) -> str:
    """A precision that there is."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: it is {' or '.join(PRECISIONS)}")
    return precision
