"""``agreement``: what trained models learned, and whether it is what their datasets need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from braidbench.results import Result
    from braidbench_interactions.models import Correlation, Family, Learned


@click.command()
@click.argument("datasets", nargs=-1)
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Results of braidbench run; repeatable.  [default: results]",
)
@click.option(
    "--predictions",
    type=click.Choice(["label", "drawn"]),
    default="label",
    show_default=True,
    help="The most probable class, or a draw from the model's probabilities.",
)
@click.option("--attributions", is_flag=True, help="Shapley values and integrated gradients of each model, too.")
@click.option("--permutations", default=0, show_default=True, help="Permutations for the bias of each estimate.")
@click.option("--jobs", default=1, show_default=True, help="Processes.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Draw the relations: .svg, .png")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def agreement(
    datasets: tuple[str, ...],
    results: tuple[Path, ...],
    predictions: str,
    attributions: bool,
    permutations: int,
    jobs: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """What trained models learned on DATASETS (all that have results): R, U1, U2, S of their predictions.

    \b
    Beside them stand the agreement with what the dataset needs (thesis, equation 3.6) and what the score loses when a
    modality is missing; below, table 3.4 and the correlations of figures 3.4 and 3.5.
    """
    if jobs < 1 or permutations < 0:
        raise click.UsageError(f"--jobs {jobs} must be 1 or more, --permutations {permutations} 0 or more")
    from braidbench_interactions.pictures import check_picture, write_picture

    check_picture(output)
    from braidbench.store import read
    from braidbench_interactions.models import chosen_results, correlate, families, relations

    found = read(results or (Path("results"),))
    for line in found.corrupt:
        click.echo(f"warning: {line}", err=True)
    kept = chosen_results(found.results, datasets)
    asked = {"predictions": predictions, "attributions": attributions, "permutations": permutations, "seed": seed}
    models = _all(kept, asked, jobs)
    table, found_relations = families(models), relations(models)
    said = [correlate(relation) for relation in found_relations]
    if output is not None:
        from braidbench_interactions.figures import relation_panels
        from braidbench_interactions.panels import draw

        write_picture(output, draw("What models learned and what it does", relation_panels(found_relations)))
        click.echo(f"drawn to {output}", err=True)
    if as_json:
        document = {
            "models": [asdict(model) | {"agreement": model.agreement} for model in models],
            "families": [asdict(family) for family in table],
            "correlations": [asdict(correlation) for correlation in said],
        }
        click.echo(json.dumps(_without_nan(document), indent=1))
        return
    _print(models, table, said)


def _all(kept: list[tuple[Path, Result]], asked: dict[str, Any], jobs: int) -> list[Learned]:
    """Dataset by dataset, in the order of the results; those that cannot be served are named and left out."""
    from braidbench.errors import DataError

    by_dataset: dict[str, list[tuple[Path, Result]]] = {}
    for folder, result in kept:
        by_dataset.setdefault(f"{result.dataset}/{result.task}", []).append((folder, result))
    tasks = [(query, cells, asked) for query, cells in by_dataset.items()]
    if jobs == 1 or len(tasks) == 1:
        parts = [_one(task) for task in tasks]
    else:
        import multiprocessing

        # Spawned: torch's threads do not survive a fork.
        with multiprocessing.get_context("spawn").Pool(min(jobs, len(tasks))) as pool:
            parts = pool.map(_one, tasks, chunksize=1)
    models = []
    for learned, notes in parts:
        models += learned
        for note in notes:
            click.echo(f"note: {note}", err=True)
    if not models:
        raise DataError("no result could be used; the notes above say why")
    return models


def _one(task: tuple[str, list[tuple[Path, Result]], dict[str, Any]]) -> tuple[list[Learned], list[str]]:
    """Every model on one dataset, and why some are left out."""
    from typing import cast

    import torch

    from braidbench.errors import BraidbenchError
    from braidbench.recipe import find_task
    from braidbench.registry import registry
    from braidbench_interactions.evidence import Options
    from braidbench_interactions.models import Prediction, learned
    from braidbench_interactions.reading import read

    query, cells, asked = task
    torch.set_num_threads(1)
    options = Options("posterior", permutations=asked["permutations"], bootstrap=0, seed=asked["seed"])
    models, notes = [], []
    try:
        spec, declared = find_task(registry(), query)
        if len(spec.modalities) != 2:
            return [], [f"{query} has {len(spec.modalities)} modalities and is left out: interactions are of two"]
        table = read(spec, declared)
        needed = _needed(spec.name, table, asked["seed"])
    except BraidbenchError as error:
        return [], [f"{query} is left out: {error}"]
    for folder, result in cells:
        try:
            predictions = cast(Prediction, asked["predictions"])
            models.append(learned(folder, result, table, needed, predictions, options, asked["attributions"]))
        except BraidbenchError as error:
            notes.append(f"{result.method} on {query}, seed {result.seed}, is left out: {error}")
    return models, notes


def _needed(name: str, table: Any, seed: int) -> Sequence[float]:
    """The dataset's own terms in bits: the true ones where a generator gives them, else an estimate."""
    from braidbench_interactions.estimation import estimate
    from braidbench_interactions.generators import GENERATORS
    from braidbench_interactions.truth import truth

    bare = name.removeprefix("synthetic/")
    if bare != name and bare in GENERATORS:
        return [float(value) for value in truth(bare).terms]
    first, second = table.features.values()
    found = estimate(first, second, table.labels, "posterior", split=table.split, bootstrap=0, seed=seed)
    return [float(value) for value in found.values]


def _print(models: Sequence[Learned], table: Sequence[Family], said: Sequence[Correlation]) -> None:
    import numpy as np
    from tabulate import tabulate

    groups: dict[tuple[str, str, str], list[Learned]] = {}
    for model in models:
        groups.setdefault((model.dataset, model.method, model.metric), []).append(model)
    rows: list[tuple[str, ...]] = []
    last = ""
    for (dataset, method, metric), own in groups.items():
        if dataset != last:
            rows.append((dataset, "what it needs", *(f"{value:.3f}" for value in own[0].needed), "", metric, "", ""))
            last = dataset
        terms = np.mean([m.terms for m in own], axis=0)
        drops = np.mean([m.drops for m in own], axis=0)
        score, alpha = (float(np.mean([getattr(m, name) for m in own])) for name in ("score", "agreement"))
        cells = (*(f"{v:.3f}" for v in terms), f"{alpha:.3f}", f"{score:.4f}", *(f"{v:.4f}" for v in drops))
        rows.append(("", method, *cells))
    head = ("DATASET", "MODEL", "R", "U1", "U2", "S", "ALPHA", "SCORE", "LOSS WITHOUT 1", "WITHOUT 2")
    click.echo(tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True))
    _print_attributions(groups)
    kinds = ("R", "U", "S")
    lines = [
        (
            f.method,
            *(f"{f.terms[k]:.3f}" for k in kinds),
            *(f"{f.scores[k]:.4f}" if k in f.scores else "" for k in kinds),
        )
        for f in table
    ]
    click.echo("\nThe mean over datasets, and the score on datasets where R, U or S is the largest term:")
    below = ("METHOD", "R", "U", "S", "SCORE WHERE R", "WHERE U", "WHERE S")
    click.echo(tabulate(lines, headers=below, tablefmt="simple", disable_numparse=True))
    click.echo("\nPearson's correlation over models:")
    ends = [
        (c.what, *("" if v != v else f"{v:+.2f}" for v in (c.value, c.low, c.high)), str(c.points)) for c in said
    ]  # fmt: skip
    click.echo(tabulate(ends, headers=("OF", "RHO", "LOW", "HIGH", "N"), tablefmt="simple", disable_numparse=True))


def _print_attributions(groups: Mapping[tuple[str, str, str], Sequence[Learned]]) -> None:
    import numpy as np
    from tabulate import tabulate

    rows = []
    for (dataset, method, _), own in groups.items():
        pairs = [(m.shapley, m.gradients) for m in own]
        cells = []
        for kind in (0, 1):
            found = [pair[kind] for pair in pairs]
            known = [(a.first, a.second, a.interaction) for a in found if a is not None]
            if len(known) == len(own):
                cells += [f"{value:.3f}" for value in np.mean(known, axis=0)]
        if len(cells) == 6:
            rows.append((dataset, method, *cells))
    if rows:
        click.echo("\nMean size of attributions, in nats of log-probability or in the unit of a regression:")
        head = ("DATASET", "MODEL", "SHAPLEY 1", "2", "BOTH", "GRADIENTS 1", "2", "BOTH")
        click.echo(tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True))


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
