"""The library's two verbs: run a cell, load a component."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braidbench.cell import Request, check_precision, check_seed, make_cell
from braidbench.errors import DataError, NewerVersionError, UsageError
from braidbench.execution import execute
from braidbench.executors import SerialExecutor
from braidbench.recipe import resolve, rows_of
from braidbench.registry import did_you_mean, registry
from braidbench.results import Result
from braidbench.specs import KINDS
from braidbench.store import Store


class RunResult(Result):
    """A result and where it lies. ``cached`` says that it was there already."""

    path: str | None = None
    cached: bool = False


def run(
    dataset: str,
    method: str,
    *,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    device: str = "auto",
    threads: int = 1,
    robustness: bool = False,
    precision: str = "fp32",
) -> RunResult:
    """Run one cell in this process, or give the stored result of the very same cell. What it prints goes to its log.

    ``dataset`` is ``NAME`` or ``NAME/TASK``; ``method`` a row such as ``late-fusion`` or ``unimodal[image]``;
    ``overrides`` are ``{"fusion.rank": 8, "training.epochs": 5}``; ``precision`` is ``fp32``, or ``bf16`` for
    everything under autocast. A cell that fails is a result with status ``failed``. Raises UsageError, DataError,
    MissingPackageError or StorageError before anything runs.
    """
    found = registry()
    request = Request(
        dataset,
        method,
        check_seed(seed),
        dict(overrides or {}),
        Path(results),
        device,
        threads,
        robustness,
        precision=check_precision(precision),
    )
    from braidbench.recipe import find_task

    rows = rows_of(found, method, find_task(found, dataset)[0])
    if len(rows) != 1:
        raise UsageError(f"method {method!r} is one row a modality here; run one of {', '.join(rows)}")
    cell = make_cell(request, resolve(found, dataset, method, request.overrides))
    Store(request.results).check_writable()
    try:
        stored = Store(request.results).load(cell.folder)
    except NewerVersionError:
        raise
    except DataError:
        stored = None  # execute puts it aside
    [(_, result)] = SerialExecutor().run([cell], execute, lambda *point: None, wait=True)
    assert result is not None, "execute waits for the cell's lock"
    cached = stored is not None and stored.status == "ok"
    return RunResult(**result.model_dump(), path=str(cell.folder), cached=cached)


def load(kind: str, name: str) -> Any:
    """The class or function behind a name: ``load("fusion", "tensor")``. ``kind`` may be singular or plural."""
    plural = kind if kind in KINDS else f"{kind}s"
    if plural not in KINDS:
        raise UsageError(f"no kind {kind!r}.{did_you_mean(plural, KINDS)} Kinds are {', '.join(KINDS)}")
    return registry().load(plural, name)
