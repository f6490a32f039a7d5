"""``compare``: paired tests between methods on their per-sample predictions, and a gate for continuous integration."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from braidbench.comparison import Comparison, Stored

FOLDER = click.Path(path_type=Path)


@click.command(no_args_is_help=True)
@click.argument("methods", nargs=-1, metavar="[METHOD]…")
@click.option("--dataset", metavar="NAME", help="Only this dataset, or DATASET/TASK.")
@click.option("--results", type=FOLDER, default=Path("results"), show_default=True, metavar="DIR")
@click.option(
    "--baseline",
    type=FOLDER,
    metavar="DIR",
    help="Results kept from before: compare each METHOD, or every row, with its own there.",
)
@click.option(
    "--margin",
    type=float,
    metavar="M",
    help="Non-inferiority: worse is whatever has an interval with its lower end below -M, so is not shown to be no "
    "worse than that; in the scores' unit (0.01: one sample in a hundred).",
)
@click.option(
    "--fail-if",
    type=click.Choice(["worse"]),
    help="Exit with 1 when any verdict is this, or a comparison is not whole: a row or seed is missing or stands "
    "apart, a cell failed, a metric is undefined, the data differ.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    methods: tuple[str, ...],
    dataset: str | None,
    results: Path,
    baseline: Path | None,
    margin: float | None,
    fail_if: str | None,
    as_json: bool,
) -> None:
    """Is one METHOD better than another, beyond chance? For every task and pair, over the seeds that both have.

    The difference is the second's mean per-sample score minus the first's: 0/1 correctness, share of right labels, or
    squared error with its sign turned, so that more is better. Its 95 % interval is a bootstrap over seeds and samples,
    its p a sign-flip test over samples, Holm-adjusted over all pairs and tasks shown. Without --margin the second is
    better or worse where p is at most 0.05 and the interval does not hold 0; otherwise it is a tie.

    With --baseline the first is a row as it was, the second the same row in --results. Samples are paired by their id
    where both have one, otherwise by their row.

    Exit codes: 0 ok, 1 --fail-if, 2 usage, 3 results that cannot be paired.
    """
    from braidbench.comparison import compare as compared
    from braidbench.comparison import failures, pairs_with_baseline, pairs_within, stored
    from braidbench.errors import DataError, UsageError

    if baseline is None and len(set(methods)) < 2:
        raise UsageError("name two different methods or more, as braidbench table shows them, or a --baseline")
    here = stored(results, dataset)
    before = stored(baseline, dataset) if baseline is not None else None
    folders = [here] if before is None else [before, here]
    for sentence in (text for folder in folders for text in folder.corrupt):
        click.echo(f"warning: left out: {sentence}", err=True)
    if fail_if is None:
        _check_known(folders, methods)
    found = pairs_within(here, methods) if before is None else pairs_with_baseline(here, before, methods)
    made = compared(found, margin)
    refused = next((one.refused for one in made if one.refused), "")
    if fail_if is None:
        # Who only looks is told of what there is; what is not is no line, as in a table.
        if refused:
            raise DataError(refused)
        made = [one for one in made if one.difference is not None]
        if not made:
            raise UsageError(
                f"no task in {' and '.join(str(f.root) for f in folders)} has a pair with a seed in common"
            )
    show(made, baseline, as_json)
    if fail_if is not None:
        sentences = failures(made, "worse")
        # On no task at all: a name that is misspelt, or a method that never ran.
        named = {name for one in made for name in (one.first, one.second)}
        sentences += [
            f"there are no results of {method!r}.{here.near(method)}" for method in methods if method not in named
        ]
        for sentence in sentences:
            click.echo(f"fails: {sentence}", err=True)
        if sentences:
            raise click.exceptions.Exit(1)


def _check_known(folders: Sequence[Stored], methods: Sequence[str]) -> None:
    """Raise UsageError for a method without results in a folder, DataError for one whose results stand apart."""
    from braidbench.errors import DataError, UsageError

    for folder in folders:
        known = folder.labels
        for method in methods:
            if method not in known and (why := folder.apart(method)):
                raise DataError(f"{method!r} stands apart in {folder.root}: {why}")
            if method not in known:
                raise UsageError(f"no results of {method!r} in {folder.root}.{folder.near(method)}")


def show(made: Sequence[Comparison], baseline: Path | None, as_json: bool) -> None:
    """One JSON document of all comparisons, or a line for each that has numbers."""
    if as_json:
        lines = []
        for one in made:
            line = dataclasses.asdict(one)
            del line["refused"]
            lines.append({**line, "baseline": None if baseline is None else str(baseline)})
        click.echo(json.dumps(lines, indent=1))
        return
    for one in made:
        if one.interval is None:
            continue
        low, high = one.interval
        first = one.first if baseline is None else f"{one.first} (baseline)"
        click.echo(
            f"{one.task}  {first} -> {one.second}  {one.score} {one.difference:+.4f} "
            f"[{low:+.4f}, {high:+.4f}]  {one.seeds} seeds x {one.samples} samples  "
            f"p {one.p_holm:.2g} (Holm)  {one.verdict}"
        )
