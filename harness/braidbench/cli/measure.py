"""``measure``: a plugin's measure of a dataset, kept for the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("dataset")
@click.argument("name", metavar="MEASURE")
@click.option("--set", "settings", multiple=True, metavar="PARAMETER=VALUE", help="Override a parameter. Repeatable.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR",
    help="Where it is kept.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def measure(dataset: str, name: str, settings: tuple[str, ...], results: Path, as_json: bool) -> None:
    """Measure a DATASET (or DATASET/TASK), and keep what was found beside the results.

    braidbench list measures says which there are; the leaderboard shows the kept ones on the dataset's page.
    """
    from braidbench.errors import UsageError
    from braidbench.measurements import save
    from braidbench.measuring import measure as measured
    from braidbench.recipe import parse_value
    from braidbench.registry import registry

    given = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r}: write PARAMETER=VALUE")
        given[key.strip()] = parse_value(value)
    found = measured(registry(), dataset, name, given)
    path = save(results, found)
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=1))
    else:
        from tabulate import tabulate

        rows = []
        for bar in found.bars:
            parts = {part.name: f"{part.value:.3f} [{part.low:.3f}, {part.high:.3f}]" for part in bar.parts}
            rows.append((bar.name, *(parts.get(part, "") for part in found.parts)))
        click.echo(tabulate(rows, headers=("", *found.parts), tablefmt="simple", disable_numparse=True))
        click.echo(f"\n{found.dataset}, {found.label}: {found.unit}.")
        for note in found.notes:
            click.echo(f"note: {note}")
    click.echo(f"saved to {path}", err=True)
