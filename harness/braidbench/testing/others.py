"""Checks of executors, measures and commands."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

from braidbench.cell import Cell, Request, skipped
from braidbench.registry import Registry, load_target
from braidbench.results import Result
from braidbench.testing.kit import Subject, check, require

KINDS = ("executors", "measures", "commands")


@check(*KINDS)
def resolves(subject: Subject) -> None:
    """Its target can be imported and called."""
    require(callable(load_target(subject.spec)), f"its target {subject.spec.target!r} cannot be called")


@check(*KINDS)
def has_a_summary(subject: Subject) -> None:
    """What ``braidbench list`` and ``--help`` print of it."""
    require(subject.spec.summary, "it has no summary: say in one line what it is")


@check("executors", needs=("resolves",))
def runs_every_cell_once(subject: Subject) -> None:
    """``run(cells, execute, progress)`` yields (cell, result) once for each cell, with what ``execute`` gave."""
    with tempfile.TemporaryDirectory(prefix="braidbench-check-") as folder:
        cells = _cells(subject.registry, Path(folder))
        found = list(load_target(subject.spec)(jobs=1).run(cells, pretend, lambda *point: None))
    seeds = sorted(cell.request.seed for cell, _ in found)
    require(seeds == [0, 1], f"of two cells, seeds 0 and 1, it yields those of seeds {seeds}: yield each once")
    for cell, result in found:
        require(
            result is not None and result.seed == cell.request.seed and result.reason == "a check",
            f"for the cell of seed {cell.request.seed} it does not yield what execute(request, progress, wait) gave",
        )


@check("measures", needs=("resolves",))
def takes_data_first(subject: Subject) -> None:
    """``(data, **parameters)``, with a default for each parameter."""
    first, *rest = inspect.signature(load_target(subject.spec)).parameters.values()
    require(first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD), "its first parameter is not the data")
    bare = [p.name for p in rest if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    require(not bare, f"its parameter {bare[0] if bare else ''!r} has no default: give one")


@check("commands", needs=("resolves",))
def prints_its_help(subject: Subject) -> None:
    """It is a click command with a help text."""
    import click
    from click.testing import CliRunner

    command = load_target(subject.spec)
    require(isinstance(command, click.Command), f"its target is a {type(command).__name__}, not a click command")
    done = CliRunner().invoke(command, ["--help"])
    require(done.exit_code == 0 and "Usage" in done.output, f"--help ends with exit code {done.exit_code}")


def pretend(request: Request, progress: Any = None, wait: bool = True, measuring: Any = None) -> Result:
    """Stands for training: a result at once. Importable, because an executor may call it in another process."""
    return skipped(request, request.dataset, "classes", "a check")


def _cells(registry: Registry, folder: Path) -> list[Cell]:
    from braidbench.recipe import resolve
    from braidbench.specs import Method
    from braidbench.testing.synthetic import DATASETS, Overlay, plain_method

    method: Method = plain_method("fusion", "conformance/beside")
    recipe = resolve(Overlay(registry, (("methods", method),)), DATASETS[0], method.name, {})
    requests = [Request(DATASETS[0], method.name, seed, results=folder) for seed in (0, 1)]
    return [Cell(request, recipe, {"seed": request.seed}) for request in requests]
