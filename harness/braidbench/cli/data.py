"""``data``: where datasets come from and whether they are here."""

from __future__ import annotations

import json

import click

from braidbench.errors import BraidbenchError
from braidbench.registry import Registry, registry
from braidbench.specs import Dataset


@click.group()
def data() -> None:
    """Where datasets come from, whether they are here, and preparing them."""


def _chosen(found: Registry, names: tuple[str, ...]) -> list[Dataset]:
    if names:
        return [found.find("datasets", name).spec for name in names]
    return [registered.spec for registered in found.all("datasets")]


@data.command()
@click.argument("names", nargs=-1, metavar="[DATASET]…")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(names: tuple[str, ...], as_json: bool) -> None:
    """For each dataset: prepared, available (its sources are here), or missing and what to do."""
    from braidbench.preparation import is_prepared

    rows = []
    for spec in _chosen(registry(), names):
        try:
            state, note = ("prepared" if is_prepared(spec) else "available"), ""
        except BraidbenchError as error:
            state, note = "missing", str(error)
        rows.append({"dataset": spec.name, "source": spec.source, "state": state, "note": note})
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['dataset']:<14} {row['source']:<9} {row['state']:<10} {row['note']}".rstrip())


@data.command()
@click.argument("names", nargs=-1, metavar="[DATASET]…")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def where(names: tuple[str, ...], as_json: bool) -> None:
    """Where the prepared data lies, and where official files belong and are published."""
    from braidbench.paths import data_root
    from braidbench.preparation import official_folder

    rows = []
    for spec in _chosen(registry(), names):
        row = {"dataset": spec.name, "source": spec.source, "prepared_below": f"{data_root()}/prepared"}
        if spec.source == "official":
            row |= {
                "folder": str(official_folder(spec)),
                "files": ", ".join(spec.files),
                "obtain": spec.obtain,
                "access": "restricted" if spec.restricted else "open",
            }
        else:
            row |= {"packages": ", ".join(file.requirement for file in spec.packages)}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(row["dataset"])
        for key, value in row.items():
            if key != "dataset" and value:
                click.echo(f"  {key:<15} {value}")


@data.command()
@click.argument("names", nargs=-1, metavar="[DATASET]…")
def prepare(names: tuple[str, ...]) -> None:
    """Prepare datasets now. Without names, every one whose sources are here."""
    from braidbench.preparation import prepare as make

    for spec in _chosen(registry(), names):
        try:
            prepared = make(spec)
        except BraidbenchError as error:
            if names:
                raise
            click.echo(f"{spec.name}: skipped: {error}", err=True)
            continue
        rows = ", ".join(f"{count} {split}" for split, count in prepared.meta["splits"].items())
        click.echo(f"{spec.name}: {rows}; {prepared.folder}")
        for sentence in prepared.deviations:
            click.echo(f"warning: dataset {spec.name!r}: {sentence}", err=True)


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="DATASET…")
def verify(names: tuple[str, ...]) -> None:
    """Hash everything again: sources against the fingerprint, the cache against its own record."""
    from braidbench.cli.show import count
    from braidbench.preparation import verify as check

    for spec in _chosen(registry(), names):
        found = check(spec)
        click.echo(
            f"{spec.name}: {count(found['files'], 'source file')} and the cache agree; "
            f"fingerprint {found['fingerprint'][:12]}"
        )
