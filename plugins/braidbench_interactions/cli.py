"""``quantify`` and ``advise``."""

from __future__ import annotations

import json
import shlex
import sys
import warnings
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from braidbench.specs import Dataset, Task
    from braidbench_interactions.advise import Advice
    from braidbench_interactions.estimation import Estimate
    from braidbench_interactions.reading import Table

_ESTIMATORS = ["auto", "cvx", "batch", "posterior"]


@click.command()
@click.argument("dataset")
@click.option("--pair", "pairs", multiple=True, metavar="A,B", help="Only this pair; repeatable.  [default: all pairs]")
@click.option("--estimator", type=click.Choice(_ESTIMATORS), default="auto", show_default=True)
@click.option("--label", metavar="NAME", help="The label of a multilabel task.  [default: the most balanced]")
@click.option("--quantiles", default=2, show_default=True, help="Classes that a number to predict is cut into.")
@click.option("--clusters", default=20, show_default=True, help="Symbols a modality (cvx).")
@click.option("--bootstrap", default=100, show_default=True, help="Draws for the intervals.")
@click.option("--permutations", type=int, help="Permutations for the bias.  [default: cvx 20, posterior 3, batch 1]")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--semi-supervised", is_flag=True, help="Bounds on S from pairwise marginals, no label of a pair used.")
@click.option("--measures", is_flag=True, help="Beside it what I-min, WMS, CI, co-training and CCA say.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Draw a stacked bar: .svg, .png")
@click.option("--save", is_flag=True, help="Keep the terms beside the results, for the leaderboard's page.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR",
    help="Where --save keeps them.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def quantify(
    dataset: str,
    pairs: tuple[str, ...],
    estimator: str,
    label: str | None,
    quantiles: int,
    clusters: int,
    bootstrap: int,
    permutations: int | None,
    seed: int,
    semi_supervised: bool,
    measures: bool,
    output: Path | None,
    save: bool,
    results: Path,
    as_json: bool,
) -> None:
    """How much redundant, unique and synergistic information a DATASET (or DATASET/TASK) holds about its task.

    R is what both modalities tell, U1 and U2 what only one of them tells, S what only both together tell, each in bits
    and with a 95 % interval.
    """
    from braidbench_interactions.pictures import check_picture, write_picture

    check_picture(output)
    spec, task = _find(dataset)
    chosen = _pairs(spec, pairs)
    from braidbench_interactions.reading import read

    table = read(spec, task, quantiles, label)
    if semi_supervised and measures:
        raise click.UsageError("--measures needs the labels of pairs, which --semi-supervised does without")
    if measures:
        if output is not None or save:
            raise click.UsageError("--measures prints several decompositions; -o draws and --save keeps one")
        _measures(spec, table, chosen, clusters, seed, as_json)
        return
    if semi_supervised:
        if output is not None or save:
            raise click.UsageError("--semi-supervised gives bounds, which have no stacked bar to draw or to save")
        _bounds(spec, table, chosen, clusters, seed, as_json)
        return
    options = {
        "estimator": estimator,
        "clusters": clusters,
        "bootstrap": bootstrap,
        "permutations": permutations,
        "seed": seed,
    }
    found = _estimates(table, chosen, options)
    if output is not None:
        from braidbench_interactions.chart import stacked_bars

        write_picture(output, stacked_bars(f"{spec.name}: {table.label}", [(f"{a} + {b}", e) for (a, b), e in found]))
    if save:
        from braidbench.measurements import save as keep
        from braidbench.measuring import measurement
        from braidbench_interactions.panel import panel

        given = {"pair": pairs, **options, "label": label, "quantiles": quantiles}
        command = _command(f"quantify {spec.name}/{task.name}", given)
        document = measurement(spec, task, "interactions", "Interactions", panel(table.label, found), command)
        kept = keep(results, document)
        click.echo(f"saved to {kept}", err=True)
    if as_json:
        rows = [{"dataset": spec.name, "label": table.label, "pair": pair, **e.as_plain()} for pair, e in found]
        click.echo(json.dumps(rows, indent=1))
        return
    _print(spec, table, found)
    if output is not None:
        click.echo(f"drawn to {output}", err=True)


@click.command()
@click.argument("dataset")
@click.option("--pair", metavar="A,B", help="The two modalities.  [default: the first two]")
@click.option("--estimator", type=click.Choice(_ESTIMATORS), default="auto", show_default=True)
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Results on synthetic/… to recommend from; repeatable.  [default: the recorded ones]",
)
@click.option(
    "--check",
    "checked",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Results on DATASET to judge the advice by.",
)
@click.option("--top", default=3, show_default=True, help="Methods to recommend.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def advise(
    dataset: str,
    pair: str | None,
    estimator: str,
    results: tuple[Path, ...],
    checked: Path | None,
    top: int,
    seed: int,
    as_json: bool,
) -> None:
    """Which methods to try on a DATASET: those that do best on the synthetic dataset whose interactions are nearest.

    \b
    The evidence is shown: the dataset's decomposition, its distance to each synthetic dataset, and why these methods.
    """
    spec, task = _find(dataset)
    chosen = _pairs(spec, (pair,) if pair else ())[:1]
    from braidbench_interactions.advise import advice, check, measured_scores
    from braidbench_interactions.reading import read

    [(names, estimate)] = _estimates(read(spec, task), chosen, {"estimator": estimator, "seed": seed})
    reached = {} if checked is None else measured_scores((checked,), spec.name).get(spec.name, {})
    if checked is not None and not reached:
        raise click.UsageError(f"{checked} holds no result on {spec.name}: braidbench run {spec.name} METHOD …")
    given = advice(estimate, names, results, top, among=reached or None)
    judged = check(given.recommended, reached) if reached else None
    if as_json:
        plain = {"dataset": spec.name, "pair": names, **given.as_plain(), "check": judged and asdict(judged)}
        click.echo(json.dumps(plain, indent=1))
        return
    _print_advice(spec, names, given)
    if judged is not None:
        click.echo(
            f"The best of {', '.join(judged.tried)} reaches {judged.share:.1%} of the best of {judged.methods} methods "
            f"({judged.best}) in {checked}; as many drawn at random {judged.by_chance:.1%}."
        )


def _find(query: str) -> tuple[Dataset, Task]:
    from braidbench.recipe import find_task
    from braidbench.registry import registry

    return find_task(registry(), query)


def _pairs(spec: Dataset, asked: tuple[str, ...]) -> list[tuple[str, str]]:
    from braidbench.errors import UsageError
    from braidbench.registry import did_you_mean

    names = [modality.name for modality in spec.modalities]
    if len(names) < 2:
        raise UsageError(f"dataset {spec.name!r} has one modality; interactions are between two or more")
    if not asked:
        return list(combinations(names, 2))
    pairs = []
    for text in asked:
        parts = [part.strip() for part in text.split(",")]
        for part in parts:
            if part not in names:
                raise UsageError(
                    f"dataset {spec.name!r} has no modality {part!r}.{did_you_mean(part, names)} "
                    f"Its modalities are {', '.join(names)}"
                )
        if len(parts) != 2 or parts[0] == parts[1]:
            raise UsageError(f"a pair is two modalities, such as {names[0]},{names[1]}; got {text!r}")
        pairs.append((parts[0], parts[1]))
    return pairs


def _estimates(
    table: Table, pairs: list[tuple[str, str]], options: dict[str, Any]
) -> list[tuple[tuple[str, str], Estimate]]:
    from braidbench_interactions.several import estimate_pairs

    said: set[str] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = estimate_pairs(table.features, table.labels, pairs=pairs, split=table.split, **options)
    for warning in caught:
        if str(warning.message) not in said:
            said.add(str(warning.message))
            click.echo(f"warning: {warning.message}", err=True)
    return list(found.items())


def _command(start: str, given: dict[str, Any]) -> str:
    """A command line with every option that has a value."""
    words = ["braidbench", *start.split()]
    for name, value in given.items():
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None:
                words += [f"--{name}", str(one)]
    return shlex.join(words)


_HEAD = ("PAIR", "R", "U1", "U2", "S", "I(X1,X2;Y)", "ESTIMATOR", "GAP")


def _print(spec: Dataset, table: Table, found: list[tuple[tuple[str, str], Estimate]]) -> None:
    from tabulate import tabulate

    first = found[0][1]
    rows = []
    for (a, b), estimate in found:
        terms = [f"{t.value:.3f} [{t.low:.3f}, {t.high:.3f}]" for t in estimate.terms.values()]
        rows.append((f"{a}, {b}", *terms, f"{estimate.total:.3f}", estimate.estimator, f"{estimate.gap:.0e}"))
    click.echo(tabulate(rows, headers=_HEAD, tablefmt="simple", disable_numparse=True))
    click.echo(
        f"\n{spec.name}, {table.label}: {first.classes} classes, H(Y) = {first.label_entropy:.3f} {first.unit}; "
        f"{first.unit}, {first.confidence:.0%} intervals, corrected for bias.",
    )
    sys.stdout.flush()


def _measures(
    spec: Dataset, table: Table, pairs: list[tuple[str, str]], clusters: int, seed: int, as_json: bool
) -> None:
    from braidbench_interactions.attributions import canonical_correlations
    from braidbench_interactions.discretise import clustered_joint
    from braidbench_interactions.measures import every_decomposition
    from braidbench_interactions.samples import check_samples

    rows: list[dict[str, Any]] = []
    for a, b in pairs:
        samples = check_samples(table.features[a], table.features[b], table.labels, table.split, seed)
        joint = clustered_joint(samples, clusters, seed)
        correlations = canonical_correlations(samples.first, samples.second, samples.train)
        rows.append(
            {"dataset": spec.name, "label": table.label, "pair": [a, b], "unit": "bits", "symbols": joint.shape[:2]}
            | {"measures": {name: [float(v) for v in terms] for name, terms in every_decomposition(joint).items()}}
            | {"canonical_correlations": [float(value) for value in correlations]}
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    for row in rows:
        lines = [
            (name, *(f"{round(value, 3) + 0.0:+.3f}" for value in terms)) for name, terms in row["measures"].items()
        ]
        head = (", ".join(row["pair"]), "R", "U1", "U2", "S")
        click.echo(tabulate(lines, headers=head, tablefmt="simple", disable_numparse=True))
        found = row["canonical_correlations"]
        top = ", ".join(f"{value:.2f}" for value in found[:5])
        click.echo(
            f"canonical correlations on held-out rows: {top}; mean of {len(found)}: {sum(found) / len(found):.2f}\n"
        )
    click.echo(f"{spec.name}, {table.label}: bits; clusters of features, not corrected for bias.")


def _bounds(spec: Dataset, table: Table, pairs: list[tuple[str, str]], clusters: int, seed: int, as_json: bool) -> None:
    import numpy as np

    from braidbench_interactions.samples import check_samples
    from braidbench_interactions.semi_supervised import bound_clusters

    rows: list[dict[str, Any]] = []
    for a, b in pairs:
        samples = check_samples(table.features[a], table.features[b], table.labels, table.split, seed)
        joint, found = bound_clusters(samples, clusters, seed)
        accuracy = found.performance()
        values = {
            "redundancy": found.redundancy, "unique1": found.unique1, "unique2": found.unique2,
            "synergy_lower": found.lower, "synergy_upper": found.upper, "disagreement": found.disagreement,
            "accuracy_lower": accuracy.lower, "accuracy_upper": accuracy.upper,
        }  # fmt: skip
        rows.append(
            {"dataset": spec.name, "label": table.label, "pair": [a, b], "unit": found.unit, "symbols": joint.shape[:2]}
            | {name: float(np.asarray(value).reshape(-1)[0]) for name, value in values.items()}
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    head = ("PAIR", "R", "U1", "U2", "S AT LEAST", "S AT MOST", "ACCURACY AT LEAST", "AT MOST")
    keys = ("redundancy", "unique1", "unique2", "synergy_lower", "synergy_upper", "accuracy_lower", "accuracy_upper")
    lines = [(", ".join(row["pair"]), *(f"{row[key]:.3f}" for key in keys)) for row in rows]
    click.echo(tabulate(lines, headers=head, tablefmt="simple", disable_numparse=True))
    click.echo(f"\n{spec.name}, {table.label}: {rows[0]['unit']}; clusters of features, not corrected for bias.")


def _print_advice(spec: Dataset, names: tuple[str, str], given: Advice) -> None:
    from tabulate import tabulate

    head = ("DATASET", "R", "U1", "U2", "S", "DISTANCE")
    own = (f"{spec.name} ({', '.join(names)})", *(f"{share:.0%}" for share in given.shares), "")
    near = [(n.dataset, *(f"{share:.0%}" for share in n.shares), f"{n.distance:.2f}") for n in given.neighbours]
    click.echo(tabulate([own, *near], headers=head, tablefmt="simple", disable_numparse=True))
    click.echo(f"\nOn {given.neighbours[0].dataset}, the nearest:")
    rows = [(name, f"{score:.4f}", "try" if name in given.recommended else "") for name, score in given.scores.items()]
    click.echo(tabulate(rows, headers=("METHOD", "SCORE", ""), tablefmt="simple", disable_numparse=True))
    click.echo(f"\nTry {', '.join(given.recommended)}. Scores: {given.source}.")
    for note in given.notes:
        click.echo(f"note: {note}", err=True)
