"""Chapter 6 of the thesis, measured anew: figures 6.2 and 6.3, tables 6.1, 6.2 and 6.3.

    python -m braidbench_interactions.study joints -o docs
    python -m braidbench_interactions.study examples
    python -m braidbench_interactions.study synergy
    python -m braidbench_interactions.study accuracy --results DIR -o docs

Tables come out as Markdown; docs/interactions.md holds them with what they mean. Exit codes as of ``braidbench``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from braidbench.specs import Dataset, Task
    from braidbench_interactions.figures import Gains
    from braidbench_interactions.measured import Best
    from braidbench_interactions.panels import Panel
    from braidbench_interactions.random_joints import Study
    from braidbench_interactions.samples import Samples

_SEED = click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Draw there, as SVG."
)
_CLUSTERS = click.option(
    "--clusters", type=click.IntRange(2), default=20, show_default=True, help="Symbols a modality."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def study() -> None:
    """Figures 6.2 and 6.3 and tables 6.1, 6.2 and 6.3 of the thesis on what is bundled."""


# --- random joints ----------------------------------------------------------------------------------------------------


@study.command()
@click.option("--count", default=100_000, show_default=True, help="Random joints of 2 × 2 × 2.")
@_SEED
@_OUTPUT
def joints(count: int, seed: int, output: Path | None) -> None:
    """Figure 6.2, disagreement against synergy, and theorem 8 on random distributions."""
    from braidbench_interactions import random_joints

    found = random_joints.study(random_joints.draw(count, seed=seed))
    rows: list[Sequence[Any]] = []
    for sign, bounds in ((-1, found.lower), (1, found.upper)):
        for name, bound in bounds.items():
            gap = random_joints.gap(bound, found.synergy, sign)
            side = "at least" if sign < 0 else "at most"
            wrong = f"{gap.violated:.2%}, by up to {gap.worst:.3f}" if gap.violated else "none"
            rows.append((side, name, f"{gap.mean:.3f}", f"{gap.median:.3f}", f"{gap.high:.3f}", wrong))
    high = int((found.synergy > random_joints.HIGH).sum())
    _say(("S is", "bound", "mean gap", "median gap", f"mean gap, S > {random_joints.HIGH:g}", "violated"), rows)
    click.echo(
        f"\n{count:,} joints, seed {seed}: mean S {found.synergy.mean():.4f} bits, largest {found.synergy.max():.3f}, "
        f"{high} above {random_joints.HIGH:g}.\n"
    )
    _better(found)
    _disagreement(found)
    rows.clear()
    for labels in (2, 3, 10):
        table = random_joints.accuracy(max(count // 5, 1), labels, seed)
        shares = [f"{v:.2%}" for v in (*table.violated, *table.printed_violated)]
        widths = (f"{table.width:.3f}", f"{table.printed_width:.3f}")
        rows.append((str(labels), *shares, f"{table.printed_empty:.1%}", *widths))
    head = (
        "labels", "lower violated", "upper violated", "printed lower violated", "printed upper violated",
        "printed upper ≥ 1", "width", "printed width",
    )  # fmt: skip
    _say(head, rows)
    if output is not None:
        from braidbench_interactions.figures import bound_panels, disagreement_panels

        _draw(output / "figure-6-2.svg", "Bounds on synergy of random distributions, in bits", bound_panels(found))
        _draw(output / "disagreement.svg", "Disagreement and synergy", disagreement_panels(found))


def _better(found: Study) -> None:
    """How often the other lower bounds say more than S_R, or anything at all."""
    least = found.bounds.lower_redundancy
    for name, bound in found.lower.items():
        if bound is not least:
            ahead, positive = (bound > least + 1e-9).mean(), (bound > 0).mean()
            click.echo(f"- {name}: above S_R in {ahead:.1%} of joints, above 0 in {positive:.1%}.")
    click.echo(f"- S_R: above 0.01 bit in {(least > 0.01).mean():.1%} of joints.\n")


def _disagreement(found: Study) -> None:
    """How synergy goes with disagreement of posteriors and of decisions."""
    from braidbench_interactions.agreement import correlation
    from braidbench_interactions.random_joints import decisions

    alpha, synergy, bounds = found.bounds.disagreement, found.synergy, found.bounds
    unique = bounds.unique1 + bounds.unique2
    for name, other in (("S", synergy), ("U1 + U2", unique), ("S + (U1 + U2) / 2", synergy + unique / 2)):
        click.echo(f"- correlation of α with {name}: {correlation(alpha.tolist(), other.tolist()):.3f}.")
    differ, overruled = decisions(found.joints)
    for name, chosen in (
        ("always alike, and both together as they do", (differ == 0) & (overruled == 0)),
        ("always alike, and both together sometimes otherwise", (differ == 0) & (overruled > 0)),
        ("sometimes not alike, and never overruled where alike", (differ > 0) & (overruled == 0)),
        ("sometimes not alike, and sometimes overruled where alike", (differ > 0) & (overruled > 0)),
    ):
        if chosen.any():
            means = f"mean S {synergy[chosen].mean():.4f}, mean α {alpha[chosen].mean():.4f}"
            click.echo(f"- decisions {name}: {chosen.mean():.1%} of joints, {means}.")
    click.echo("")


# --- the examples of table 6.2 ----------------------------------------------------------------------------------------


@study.command()
def examples() -> None:
    """Table 6.2: its distributions, their interactions and every bound."""
    import numpy as np

    from braidbench_interactions.decomposition import pid_batch
    from braidbench_interactions.random_joints import DECISIONS, DISTANCE, EXAMPLES, SQUARED, study

    p = np.array(list(EXAMPLES.values())).reshape(-1, 2, 2, 2)
    found, parts = study(p / p.sum((1, 2, 3), keepdims=True)), pid_batch(p)
    columns = {
        "R": parts.redundancy, "U1": parts.unique1, "U2": parts.unique2, "S": parts.synergy,
        "α": found.bounds.disagreement, "S_R": found.bounds.lower_redundancy,
        "S_U": found.bounds.lower_uniqueness, "Minkowski": found.bounds.lower_minkowski,
        "Chernoff": found.bounds.lower_chernoff, **{name: found.lower[name] for name in (SQUARED, DISTANCE, DECISIONS)},
        "S̄, pairings": found.bounds.upper_pairings, "S̄, least": found.bounds.upper,
    }  # fmt: skip
    values = np.array(list(columns.values())).T
    _say(("", *columns), [(name, *_numbers(row)) for name, row in zip(EXAMPLES, values, strict=True)])


# --- bundled datasets -------------------------------------------------------------------------------------------------

TWO = ("digits", "cohort", "wrist")
MORE = ("numerals", "sp500-food", "sp500-health", "sp500-tech")


@study.command()
@click.argument("datasets", nargs=-1)
@_CLUSTERS
@_SEED
def synergy(datasets: tuple[str, ...], clusters: int, seed: int) -> None:
    """Table 6.1 on DATASETS, by default every bundled one of two modalities or more and the synthetic ten."""
    from braidbench_interactions.semi_supervised import synergy as measure

    rows = []
    for name, (a, b), samples in _samples(_find(datasets or (*TWO, *MORE, *_ten())), seed):
        found = measure(samples, clusters, seed)
        bounds = found.bounds
        values = (bounds.lower_redundancy[0], bounds.lower_uniqueness[0], bounds.lower_chernoff[0], found.clusters,
                  bounds.upper[0], bounds.disagreement[0])  # fmt: skip
        estimated = f"{found.estimate.synergy.value:.3f} ({found.estimate.estimator})"
        rows.append((name, f"{a}, {b}", *_numbers(values), estimated, f"{found.rows:,} / {found.cells:,}"))
    head = ("dataset", "pair", "S_R", "S_U", "Chernoff", "S of clusters", "S̄", "α", "S estimated", "rows / cells")
    _say(head, rows)


@study.command()
@click.argument("datasets", nargs=-1)
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Results of braidbench run; repeatable.  [default: the recorded ones of synthetic/…]",
)
@_CLUSTERS
@_SEED
@_OUTPUT
def accuracy(
    datasets: tuple[str, ...], results: tuple[Path, ...], clusters: int, seed: int, output: Path | None
) -> None:
    """Table 6.3 and figure 6.3 on DATASETS of two modalities, by default the synthetic ten and those with results."""
    from braidbench_interactions.measured import accuracies, best_of_each
    from braidbench_interactions.semi_supervised import performance

    scores = accuracies(results)
    found = _find(datasets or (*(name for name in TWO if name in scores), *_ten()), only_two=True)
    measured = {name: best_of_each(name, scores.get(spec.name, {})) for name, spec, _ in found}
    rows: list[Sequence[Any]] = []
    gains: Gains = []
    for name, _, samples in _samples(found, seed):
        bounds, seen = performance(samples, clusters, seed), measured[name]
        best = seen.best.accuracy
        error = (best * (1 - best) / bounds.test_rows) ** 0.5
        (low, high, average, lowest, highest), (least, most) = (
            [float(value.item()) for value in values]
            for values in (
                (bounds.clusters.lower, bounds.clusters.upper, bounds.clusters.average, *bounds.clusters.printed),
                (bounds.posterior.lower, bounds.posterior.upper),
            )
        )
        rows.append((
            name, *(_named(kind) for kind in (seen.unimodal, seen.simple, seen.complex)), f"{error:.3f}",
            _interval(low, high), f"{average:.3f}", f"{lowest:.2f} – {highest:.2f}", f"{bounds.clusters_accuracy:.3f}",
            _place(best, low, high, error), f"{bounds.union:.3f}", f"{bounds.information:.3f}", _interval(least, most),
            _place(best, least, most, error),
        ))  # fmt: skip
        gains.append((name.removeprefix("synthetic/"), average, seen))
    head = ("dataset", "best unimodal", "best simple", "best complex", "s.e.", "clusters", "average", "as printed",
            "clusters' best", "within?", "union, at least", "I (bits)", "posterior", "within?")  # fmt: skip
    _say(head, rows)
    _gains(gains, output)


def _gains(gains: Gains, output: Path | None) -> None:
    """Figure 6.3: what fusion, and complex fusion, gained against the estimated performance."""
    from braidbench_interactions.figures import gain_panels

    panels = gain_panels(gains)
    for panel in panels:
        click.echo(f"\nEstimated performance with {panel.y}: {panel.title} over {len(panel.points)} datasets.")
    if output is not None and panels:
        _draw(output / "figure-6-3.svg", "Gains against estimated performance", panels)


def _find(names: Iterable[str], only_two: bool = False) -> list[tuple[str, Dataset, Task]]:
    """Datasets of two modalities or more, or of two; all are looked up before the first is read."""
    from braidbench.errors import UsageError
    from braidbench.recipe import find_task
    from braidbench.registry import registry

    found = [(name, *find_task(registry(), name)) for name in dict.fromkeys(names)]
    for name, spec, _ in found:
        number = len(spec.modalities)
        if number < 2:
            raise UsageError(f"dataset {name!r} has one modality; interactions are between two or more")
        if only_two and number > 2:
            raise UsageError(f"dataset {name!r} has {number} modalities: models see all of them, the bounds are of two")
    return found


def _samples(found: Iterable[tuple[str, Dataset, Task]], seed: int) -> Iterator[tuple[str, tuple[str, str], Samples]]:
    """Every pair of modalities of every dataset."""
    from braidbench_interactions.reading import read
    from braidbench_interactions.samples import check_samples

    for name, spec, task in found:
        click.echo(f"{name} …", err=True)
        table = read(spec, task)
        for a, b in combinations(table.features, 2):
            yield name, (a, b), check_samples(table.features[a], table.features[b], table.labels, table.split, seed)


def _ten() -> list[str]:
    from braidbench_interactions.generators import TEN

    return [f"synthetic/{name}" for name in TEN]


# --- saying -----------------------------------------------------------------------------------------------------------


def _say(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table in Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        click.echo(f"| {' | '.join(str(cell).replace('|', '∣') for cell in row)} |")


def _numbers(values: Iterable[float]) -> list[str]:
    return [f"{float(value) + 0.0:.3f}".replace("-0.000", "0.000") for value in values]


def _named(best: Best | None) -> str:
    return "" if best is None else f"{best.accuracy:.3f} {best.method}"


def _interval(low: float, high: float) -> str:
    return f"{low:.3f} – {high:.3f}"


def _place(value: float, low: float, high: float, error: float) -> str:
    """Whether a measured accuracy lies between two bounds, and if not by how many standard errors it does not."""
    if low <= value <= high:
        return "yes"
    by = value - high if value > high else low - value
    return f"{by:.3f} {'above' if value > high else 'below'} ({by / error:.1f} s.e.)"


def _draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    from braidbench.files import write_text
    from braidbench_interactions.panels import draw

    write_text(path, draw(title, panels))
    click.echo(f"drawn to {path}", err=True)


if __name__ == "__main__":
    from braidbench.cli.app import run

    run(sys.argv[1:], study, "python -m braidbench_interactions.study")
