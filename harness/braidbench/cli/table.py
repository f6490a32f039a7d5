"""``table``: a comparison to read, or to paste into a paper."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from braidbench.stats import Estimate
    from braidbench.summary import Table


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
    interval, parameters, training time. A cell that is missing or failed is shown as such. What cannot be compared with
    the others, or is not what it says it is, stands apart without a rank; the reason is below the table."""
    from braidbench.cli.layout import print_table
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
        print_table(one, form)


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
        "notes": found.notes,
        "rows": [
            {
                "row": row.label,
                "method": row.method,
                "overrides": row.overrides,
                "rank": row.rank,
                "rank_interval": row.rank_interval,
                "apart": bool(row.apart),
                "apart_reason": row.apart or None,
                "differs": row.differs,
                "precision": row.precision,
                "notes": row.notes,
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
