"""What to run: from a command line or a plan file to cells, each cached, to run, or skipped with its reason."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from braidbench.cell import Cell, Request, check_seed, make_cell, skipped
from braidbench.errors import (
    DataError,
    MissingPackageError,
    NewerVersionError,
    PluginError,
    StorageError,
    UsageError,
)
from braidbench.execution import execute, robustness_current
from braidbench.failures import kind_of, reason_of
from braidbench.interruption import raise_if_received
from braidbench.recipe import CannotServeError, find_task, resolve, rows_of
from braidbench.registry import Registry, load_target
from braidbench.results import Result
from braidbench.store import RESULT, Store, aside, lost_files

MOST_SEEDS = 100_000


class _Block(BaseModel):
    """One block of a plan file: every dataset with every method, override set and seed."""

    model_config = ConfigDict(extra="forbid")

    datasets: list[str]
    methods: list[str]
    seeds: int | list[int] = 1
    epochs: int | None = None
    robustness: bool = False
    set: dict[str, Any] = {}


class _PlanFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: list[_Block]


@dataclass
class Planned:
    """One cell of a plan."""

    request: Request
    dataset: str
    task: str
    state: Literal["cached", "to run", "skipped"]
    cell: Cell | None = None
    result: Result | None = None
    """The stored result of a cached cell, or the row of a skipped one."""
    seconds: float | None = None
    """Estimated from earlier cells; None when there is none to go by."""


@dataclass
class Plan:
    cells: list[Planned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What running will put aside or make again, one sentence each."""

    def of(self, state: str) -> list[Planned]:
        return [planned for planned in self.cells if planned.state == state]


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """``3`` means 0, 1, 2."""
    if isinstance(seeds, int):
        if not 1 <= seeds <= MOST_SEEDS:
            raise UsageError(f"--seeds {seeds}: give {'1 or more' if seeds < 1 else f'at most {MOST_SEEDS:,}'}")
        return list(range(seeds))
    return [check_seed(seed) for seed in seeds]


def requests(
    registry: Registry,
    datasets: Iterable[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, Any],
    **options: Any,
) -> list[Request]:
    """Every dataset × row × seed, in that order; a method of one row a modality is spread over them."""
    found: list[Request] = []
    for query in datasets:
        dataset, _ = find_task(registry, query)
        rows = list(dict.fromkeys(row for method in methods for row in rows_of(registry, method, dataset)))
        found += [Request(query, row, seed, dict(overrides), **options) for row in rows for seed in seeds]
    return found


def read_plan(registry: Registry, path: Path, **options: Any) -> list[Request]:
    """The requests of a plan file. Raises UsageError with the place that is wrong."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such plan file") from None
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(f"{path}: not a TOML file ({error})") from None
    try:
        plan = _PlanFile.model_validate(content if "run" in content else {"run": [content]})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {place}: {first['msg']}") from None
    found: list[Request] = []
    for block in plan.run:
        overrides = flatten(block.set)
        if block.epochs is not None:
            overrides["training.epochs"] = block.epochs
        chosen = {**options, "robustness": options.get("robustness", False) or block.robustness}
        found += requests(registry, block.datasets, block.methods, seed_list(block.seeds), overrides, **chosen)
    return found


def flatten(tables: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """TOML's nested tables as dotted keys: ``{"fusion": {"rank": 8}}`` → ``{"fusion.rank": 8}``."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        place = f"{at}.{key}" if at else key
        flat |= flatten(value, place) if isinstance(value, Mapping) else {place: value}
    return flat


def make_plan(registry: Registry, wanted: Sequence[Request], *, lenient: bool, prepare: bool = True) -> Plan:
    """Resolve every request before anything runs.

    A method that cannot serve a dataset is skipped with its reason, and so is, if ``lenient`` (a plan file, several
    datasets), a dataset or a package that is not here. Otherwise that is raised, and if no method at all can serve,
    why the first one cannot. Unknown names and parameters are raised either way. A component that breaks before there
    is a cell is a failed row, and raised if nothing else is left. Of requests for one cell there is one, with
    robustness if any asks for it. With ``prepare`` the datasets are prepared now; without, nothing is written.
    """
    plan = Plan()
    unavailable: dict[str, DataError | MissingPackageError] = {}
    unserved: list[CannotServeError | PluginError] = []
    known: dict[str, Planned] = {}
    for request in wanted:
        dataset, task = find_task(registry, request.dataset)
        try:
            recipe = resolve(registry, request.dataset, request.row, request.overrides)
            if dataset.name in unavailable:
                raise unavailable[dataset.name]
            try:
                cell = make_cell(request, recipe)
                if prepare:
                    # Data that cannot be prepared is found before anything runs.
                    _ = cell.prepared
            except (DataError, MissingPackageError) as error:
                unavailable[dataset.name] = error
                raise
        except (CannotServeError, DataError, MissingPackageError) as error:
            if isinstance(error, CannotServeError):
                unserved.append(error)
            elif not lenient:
                raise
            row = skipped(request, dataset.name, task.name, str(error))
            plan.cells.append(Planned(request, dataset.name, task.name, "skipped", result=row))
            continue
        except (UsageError, StorageError):
            raise
        except (Exception, SystemExit) as error:
            raise_if_received()
            broken = error if isinstance(error, PluginError) else PluginError(reason_of(error))
            unserved.append(broken)
            row = skipped(request, dataset.name, task.name, str(broken), kind_of(error))
            plan.cells.append(Planned(request, dataset.name, task.name, "skipped", result=row))
            continue
        if cell.id in known:
            if not request.robustness or known[cell.id].request.robustness:
                continue
            plan.cells.remove(known.pop(cell.id))
        # Whatever changes until it runs, what runs is this cell or none.
        request = replace(request, planned=cell.id)
        cell = replace(cell, request=request)
        known[cell.id] = _planned(registry, plan, request, cell)
        plan.cells.append(known[cell.id])
    if not lenient and unserved and len(unserved) == len(plan.cells):
        raise unserved[0]
    _estimate(plan)
    return plan


def _planned(registry: Registry, plan: Plan, request: Request, cell: Cell) -> Planned:
    """What there is to do for a cell."""
    names = cell.recipe.dataset.name, cell.recipe.task.name
    try:
        stored = Store(request.results).load(cell.folder)
    except NewerVersionError as error:
        return Planned(request, *names, "skipped", result=skipped(request, *names, str(error)))
    except DataError as error:
        plan.notes.append(f"{error}; run sets it aside as {aside(cell.folder / RESULT).name} and makes the cell again")
        stored = None
    done = stored if stored is not None and stored.status == "ok" else None
    if done is not None:
        missing = lost_files(cell.folder, done)
        if missing:
            plan.notes.append(f"{cell.folder} has lost {', '.join(missing)}: made again")
        if missing or (request.robustness and not robustness_current(registry, cell, done)):
            done = None
    return Planned(request, *names, "cached" if done else "to run", cell, done)


def _estimate(plan: Plan) -> None:
    """Seconds of each cell to run: the median of earlier cells of its row on its dataset, or else of its dataset."""
    by_row: dict[tuple[str, ...], list[float]] = {}
    for root in {planned.request.results for planned in plan.cells}:
        for _, result in Store(root).all().results:
            if result.cost is not None:
                for key in ((result.dataset, result.method), (result.dataset,)):
                    by_row.setdefault(key, []).append(result.cost.train_seconds)
    for planned in plan.of("to run"):
        known = by_row.get((planned.dataset, planned.request.row)) or by_row.get((planned.dataset,))
        planned.seconds = statistics.median(known) if known else None


def run_plan(
    registry: Registry, plan: Plan, executor: str, jobs: int, progress: Callable[[Cell, int, int, float], None]
) -> Iterator[tuple[Planned, Result]]:
    """Run what is to run; yields every planned cell with its result, the cached and skipped ones first.

    A cell that another run holds is left for the end and waited for, so that two runs share the work.
    """
    for planned in plan.cells:
        if planned.result is not None:
            yield planned, planned.result
    todo = {planned.cell.id: planned for planned in plan.of("to run") if planned.cell is not None}
    if not todo:
        return
    for root in {planned.request.results for planned in todo.values()}:
        Store(root).check_writable()
    runner = load_target(registry.find("executors", executor).spec)(jobs)
    held: list[Cell] = []
    for wait in (False, True):
        cells = held if wait else [planned.cell for planned in todo.values() if planned.cell is not None]
        for cell, result in runner.run(cells, execute, progress, wait):
            if result is None:
                held.append(cell)
            else:
                todo[cell.id].result = result
                yield todo[cell.id], result


def estimate_text(seconds: Sequence[float | None], jobs: int) -> str:
    """``about 41 min`` for cells side by side, or that there is nothing to go by."""
    if any(value is None for value in seconds):
        return "time unknown until a cell of each dataset has run"
    total = sum(value for value in seconds if value is not None) / max(jobs, 1)
    return f"about {total / 60:.0f} min" if total >= 90 else f"about {total:.0f} s"
