"""``compare``: paired tests between methods on their per-sample predictions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from braidbench.summary import Row, Table


@click.command(no_args_is_help=True)
@click.argument("methods", nargs=-1, required=True, metavar="METHOD METHOD…")
@click.option("--dataset", metavar="NAME", help="Only this dataset, or DATASET/TASK.")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR")
@click.option("--fail-if", type=click.Choice(["worse"]), help="Exit with 1 when any verdict is this.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(methods: tuple[str, ...], dataset: str | None, results: Path, fail_if: str | None, as_json: bool) -> None:
    """Is one METHOD better than another, beyond chance? For every task and pair, over the seeds that both have.

    The difference is the second's mean per-sample score minus the first's: 0/1 correctness, share of right labels, or
    squared error with its sign turned, so that more is better. Its interval is a bootstrap over seeds and samples, its
    p a sign-flip test over samples, Holm-adjusted over all pairs and tasks shown.

    Exit codes: 0 ok, 1 a verdict is what --fail-if names, 2 usage, 3 results that cannot be paired.
    """
    from braidbench.errors import DataError, UsageError
    from braidbench.registry import did_you_mean
    from braidbench.stats import holm
    from braidbench.store import read
    from braidbench.summary import tables

    if len(set(methods)) < 2:
        raise UsageError("name two different methods or more, as braidbench table shows them")
    found = read((results,))
    for sentence in found.corrupt:
        click.echo(f"warning: left out: {sentence}", err=True)
    made = [t for t in tables(found.results) if dataset in (None, t.dataset, t.name)]
    known = {row.label for t in made for row in t.rows if not row.apart}
    for method in methods:
        aside = [line.apart for t in made for line in t.rows if line.label.startswith(f"{method} (apart")]
        if method not in known and aside:
            raise DataError(f"{method!r} stands apart in {results}: {aside[0]}")
        if method not in known:
            raise UsageError(f"no results of {method!r} in {results}.{did_you_mean(method, known)}")
    lines = [
        line for t in made for pair in itertools.combinations(dict.fromkeys(methods), 2) for line in _pair(t, *pair)
    ]
    if not lines:
        raise UsageError(f"no task in {results} has two of these methods with a seed in common")
    for line, adjusted in zip(lines, holm([line["p"] for line in lines]), strict=True):
        line["p_holm"] = adjusted
        low, high = line["interval"]
        line["verdict"] = (
            "tie" if adjusted > 0.05 or low <= 0 <= high else "better" if line["difference"] > 0 else "worse"
        )
    if as_json:
        click.echo(json.dumps(lines, indent=1))
    for line in () if as_json else lines:
        low, high = line["interval"]
        click.echo(
            f"{line['task']}  {line['first']} -> {line['second']}  {line['score']} {line['difference']:+.4f} "
            f"[{low:+.4f}, {high:+.4f}]  {line['seeds']} seeds x {line['samples']} samples  "
            f"p {line['p_holm']:.2g} (Holm)  {line['verdict']}"
        )
    if any(line["verdict"] == fail_if for line in lines):
        raise click.exceptions.Exit(1)


def _pair(table: Table, first: str, second: str) -> list[dict[str, Any]]:
    """One line for a pair on a task; none where they have no seed in common."""
    import numpy as np

    from braidbench.errors import DataError
    from braidbench.stats import paired_interval, sign_flip_p

    rows = {row.label: row for row in table.rows}
    if first not in rows or second not in rows:
        return []
    kind = rows[first].cells[0][1].task_kind
    one, other = _by_seed(rows[first]), _by_seed(rows[second])
    shared = sorted(set(one) & set(other))
    if not shared:
        return []
    name = ""
    differences = []
    for seed in shared:
        name, rows_of_one, target, scores_of_one = sample_scores(one[seed], kind)
        _, rows_of_other, other_target, scores_of_other = sample_scores(other[seed], kind)
        if not (np.array_equal(rows_of_one, rows_of_other) and np.array_equal(target, other_target)):
            raise DataError(
                f"{one[seed]} and {other[seed]} are predictions of different rows or targets and cannot be paired; "
                "run both cells again on the same data"
            )
        differences.append(scores_of_other - scores_of_one)
    matrix = np.stack(differences)
    return [
        {
            "task": table.name,
            "first": first,
            "second": second,
            "score": name,
            "difference": float(matrix.mean()),
            "interval": list(paired_interval(matrix)),
            "p": sign_flip_p(matrix.mean(axis=0)),
            "seeds": len(shared),
            "samples": matrix.shape[1],
        }
    ]


def _by_seed(row: Row) -> dict[int, Path]:
    return {
        result.seed: folder / "predictions.parquet"
        for folder, result in row.ok
        if (folder / "predictions.parquet").exists()
    }


def sample_scores(
    path: Path, kind: str | None
) -> tuple[str, NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(what it is, rows of the split, targets, score a row) of one cell's predictions, by row; more is better."""
    import numpy as np

    from braidbench.errors import DataError
    from braidbench.predictions import read_predictions

    read = read_predictions(path)
    index, prediction, target = read.index, read.prediction.astype(np.float64), read.target.astype(np.float64)
    if kind != "classification" and prediction.shape != target.shape:
        raise DataError(f"{path}: predictions {prediction.shape} for targets {target.shape}; run its cell again")
    if kind == "classification":
        return "accuracy", index, target, (prediction.argmax(axis=1) == target).astype(np.float64)
    if kind == "multilabel":
        return "label accuracy", index, target, ((prediction > 0.5) == (target > 0.5)).mean(axis=1)
    return "-squared error", index, target, -((prediction - target) ** 2).mean(axis=1)
