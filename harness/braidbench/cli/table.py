"""``table``: a comparison to read, or to paste into a paper."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from braidbench.stats import Estimate
    from braidbench.summary import Row, Table

_FORMATS = {"github": "github", "latex": "latex_booktabs", "csv": "csv"}


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["rich", "github", "latex", "csv"]), default="rich", show_default=True
)
@click.option("--dataset", metavar="NAME", help="Only this dataset, or DATASET/TASK.")
@click.option("--metric", metavar="NAME", help="Rank by this metric where a task has it.  [default: the task's first]")
@click.option("--reference", metavar="METHOD", help="Method that effective robustness is measured against.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def table(
    results: tuple[Path, ...], form: str, dataset: str | None, metric: str | None, reference: str | None, as_json: bool
) -> None:
    """A table for each task in RESULTS (default ./results): mean over seeds ± half of the 95 % interval, rank with its
    interval, parameters, training time. A cell that is missing or failed is shown as such."""
    from braidbench.errors import UsageError
    from braidbench.store import read
    from braidbench.summary import tables

    found = read(results or (Path("results"),))
    for sentence in found.corrupt:
        click.echo(f"warning: left out: {sentence}", err=True)
    made = [
        t
        for t in tables(found.results, reference or default_reference(), metric)
        if dataset in (None, t.dataset, t.name)
    ]
    if not made:
        wanted = f" of {dataset!r}" if dataset else ""
        raise UsageError(f"no results{wanted} in {', '.join(str(path) for path in results or ('results',))}")
    if as_json:
        click.echo(json.dumps([as_plain(t) for t in made], indent=1))
        return
    for number, one in enumerate(made):
        if number:
            click.echo()
        _print(one, form)


def default_reference() -> str | None:
    """The method that declares itself the reference of effective robustness, if there is one."""
    from braidbench.registry import registry

    declared = [r.spec.name for r in registry().all("methods") if r.spec.reference]
    return declared[0] if len(declared) == 1 else None


def as_plain(found: Table) -> dict[str, Any]:
    """A table as JSON has it."""
    return {
        "dataset": found.dataset,
        "task": found.task,
        "metric": found.metric,
        "direction": found.directions.get(found.metric),
        "rows": [
            {
                "row": row.label,
                "method": row.method,
                "overrides": row.overrides,
                "rank": row.rank,
                "rank_interval": row.rank_interval,
                "apart": row.apart,
                "scores": {name: _plain(value) for name, value in row.scores.items()},
                "cost": row.cost,
                "cells": {str(result.seed): {"cell": result.cell, "status": result.status} for _, result in row.cells},
                "robustness": [
                    {
                        "corruption": r.corruption,
                        "modality": r.modality,
                        "relative": _plain(r.relative),
                        "effective": _plain(r.effective),
                    }
                    for r in row.robustness
                ],
            }
            for row in found.rows
        ],
    }


def _plain(value: Estimate | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)


def _print(found: Table, form: str) -> None:
    import tabulate

    arrows = {"higher": "↑", "lower": "↓"}
    metrics = sorted(found.directions, key=lambda name: name != found.metric)
    head = [
        "method",
        *(f"{name} {arrows[found.directions[name]]}" for name in metrics),
        "rank",
        "seeds",
        "params",
        "train s",
    ]
    rows = [
        [row.label, *(score(row.scores.get(name), found.decimals(name)) for name in metrics), *_tail(row)]
        for row in found.rows
    ]
    if form == "csv":
        _print_csv(found, head, rows)
        return
    if form == "rich" and sys.stdout.isatty():
        _print_rich(found, head, rows)
        return
    click.echo(f"{found.name}\n" if form != "latex" else f"% {found.name}")
    # Numbers are formatted already; tabulate must not read "1" and "0.9130 ± 0.0096" as numbers of its own.
    click.echo(tabulate.tabulate(rows, head, tablefmt=_FORMATS.get(form, "simple"), disable_numparse=True))


def _print_csv(found: Table, head: list[str], rows: list[list[str]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["task", *head])
    writer.writerows([found.name, *row] for row in rows)


def _print_rich(found: Table, head: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=Text(found.name), title_justify="left")
    for place, title in enumerate(head):
        grid.add_column(Text(title), justify="left" if place == 0 else "right", no_wrap=place == 0)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    Console().print(grid)


def score(value: Estimate | None, decimals: int = 4) -> str:
    """``0.9133 ± 0.0096``: mean and half of the 95 % interval; no interval for one seed, a dash for none."""
    if value is None:
        return "–"
    if value.low is None:
        return f"{value.mean:.{decimals}f}"
    return f"{value.mean:.{decimals}f} ± {value.mean - value.low:.{decimals}f}"


def _tail(row: Row) -> list[str]:
    rank = "–" if row.rank is None else str(row.rank)
    if row.rank_interval is not None and row.rank is not None:
        rank += f" [{row.rank_interval[0]}–{row.rank_interval[1]}]"
    states = [f"{len(row.ok)}"]
    for status in ("failed", "skipped"):
        count = sum(result.status == status for _, result in row.cells)
        if count:
            states.append(f"{count} {status}")
    parameters, seconds = row.cost.get("parameters_total"), row.cost.get("train_seconds")
    return [
        rank,
        ", ".join(states),
        "–" if parameters is None else f"{parameters:,.0f}",
        "–" if seconds is None else f"{seconds:.1f}",
    ]
