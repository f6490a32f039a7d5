"""``leaderboard build`` and ``leaderboard check``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.group()
def leaderboard() -> None:
    """Build a static leaderboard from results, or check one that is built."""


@leaderboard.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of the site."
)
@click.option("--reference", metavar="METHOD", help="Method that effective robustness is measured against.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build(results: tuple[Path, ...], output: Path, reference: str | None, as_json: bool) -> None:
    """Build the site from RESULTS folders (or single result files) into DIR.

    DIR is made, or replaced if it holds an earlier site. Corrupt results are left out and listed.
    """
    from braidbench.cli.show import count
    from braidbench_leaderboard.build import build_site

    made = build_site(results, output, reference)
    for sentence in made.corrupt:
        click.echo(f"warning: left out: {sentence}", err=True)
    for sentence in made.homeless:
        click.echo(f"note: left out: {sentence}", err=True)
    if as_json:
        click.echo(json.dumps(made.summary()))
    else:
        told = f"{count(made.cells, 'cell')} on {count(made.tasks, 'task')}, {count(made.rows, 'row')}"
        click.echo(f"{told}; open {output / 'index.html'}")


@leaderboard.command()
@click.argument("site", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(site: Path, as_json: bool) -> None:
    """Check a built SITE: links resolve, nothing is loaded from elsewhere, vendored files are the pinned ones."""
    from braidbench_leaderboard.check import check_site

    found = check_site(site)
    if as_json:
        click.echo(json.dumps({"pages": found.pages, "links": found.links, "problems": found.problems}))
    else:
        for problem in found.problems:
            click.echo(problem)
        click.echo(
            f"{found.pages} pages, {found.links} links, 0 files from elsewhere"
            if not found.problems
            else f"{len(found.problems)} problems in {found.pages} pages"
        )
    if found.problems:
        raise click.exceptions.Exit(1)
