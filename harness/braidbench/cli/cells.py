"""``show`` and ``why``: one cell."""

from __future__ import annotations

import json
from pathlib import Path

import click

_RESULTS = click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR"
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("cell")
@_RESULTS
@_JSON
def show(cell: str, results: Path, as_json: bool) -> None:
    """One cell, by the beginning of its identity: scores, cost, failure with the end of its log, provenance."""
    from braidbench.cli.show import format_score
    from braidbench.store import Store

    folder, result = Store(results).find(cell)
    if as_json:
        click.echo(json.dumps({**result.model_dump(), "path": str(folder)}, indent=1))
        return
    click.echo(f"{result.dataset}/{result.task}  {result.method}  seed {result.seed}  {result.status}")
    click.echo(f"cell      {result.cell}\nfolder    {folder}\ncommand   {result.command}")
    for name, value in result.scores.items():
        click.echo(f"{name:<9} {format_score(value)} test, {format_score(result.valid_scores.get(name))} validation")
    if result.cost is not None:
        for name, number in result.cost.model_dump().items():
            click.echo(f"{name:<29} {number}")
    for curve in result.robustness:
        points = " ".join(format_score(value) for value in curve.scores)
        click.echo(f"{curve.corruption} on {curve.modality}, {curve.metric}: {points}")
    for note in result.deviations:
        click.echo(f"differs   {note}")
    if result.environment is not None:
        e = result.environment
        dirty = " (dirty)" if e.dirty else ""
        click.echo(f"ran on    {e.processor}, {e.device}, {e.threads} threads, torch {e.packages.get('torch')}")
        click.echo(f"code      braidbench {e.braidbench}, commit {e.commit or 'unknown'}{dirty}")
    if result.reason:
        click.echo(f"{result.status:<9} {result.failure}: {result.reason}")
        click.echo("\n".join(result.log_tail))


@click.command()
@click.argument("cell")
@_RESULTS
@_JSON
def why(cell: str, results: Path, as_json: bool) -> None:
    """Which part of a stored cell's identity differs from what the same command would run now."""
    from braidbench.cell import Request, differences, make_cell
    from braidbench.recipe import resolve
    from braidbench.registry import registry
    from braidbench.store import Store

    _, result = Store(results).find(cell)
    query = f"{result.dataset}/{result.task}"
    request = Request(query, result.method, result.seed, result.overrides, results, precision=result.precision)
    current = make_cell(request, resolve(registry(), request.dataset, request.row, request.overrides))
    lines = differences(result.identity, current.identity)
    if as_json:
        reused = not lines and result.status == "ok"
        click.echo(
            json.dumps({"cell": result.cell, "current": current.id, "reused": reused, "changed": lines}, indent=1)
        )
        return
    if lines:
        click.echo("not reused; changed since:")
        click.echo("\n".join(f"  {line}" for line in lines))
    elif result.status != "ok":
        click.echo(f"not reused because it {result.status}: {result.reason}")
    else:
        click.echo("reused: nothing that decides its result has changed")
