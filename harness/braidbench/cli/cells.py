"""``show`` and ``why``: one cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from braidbench.store import Found

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
    from braidbench.cli.show import print_cell
    from braidbench.vetting import vet_one

    found = _stored(results)
    folder, result = found.find(cell, results)
    one = vet_one(folder, result)
    if as_json:
        told = {"apart": bool(one.apart), "apart_reason": one.apart or None, "verified": one.verified}
        click.echo(json.dumps({**one.result.model_dump(), **told, "notes": one.notes, "path": str(folder)}, indent=1))
    else:
        print_cell(one)


def _stored(results: Path) -> Found:
    """What a results folder holds; what cannot be read is named on stderr and left as it is."""
    from braidbench.store import Store

    found = Store(results).all()
    for sentence in found.corrupt:
        click.echo(f"warning: left out: {sentence}", err=True)
    return found


@click.command()
@click.argument("cell")
@_RESULTS
@_JSON
def why(cell: str, results: Path, as_json: bool) -> None:
    """Which part of a stored cell's identity differs from what the same command would run now."""
    from braidbench.cell import Request, differences, make_cell
    from braidbench.recipe import resolve
    from braidbench.registry import registry
    from braidbench.text import plain

    _, result = _stored(results).find(cell, results)
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
        click.echo("\n".join(f"  {plain(line)}" for line in lines))
    elif result.status != "ok":
        click.echo(plain(f"not reused because it {result.status}: {result.reason}"))
    else:
        click.echo("reused: nothing that decides its result has changed")
