"""Results → the rows of a comparison: what ``table`` prints and the leaderboard shows.

A row is a method (or a method on one modality) with its overrides and its precision, on one dataset's task. Rows with
overrides, or in another precision, are other rows than the method's own. Results that do not count
(:mod:`braidbench.vetting`) make rows of their own that say why and are not ranked: no result that counts is mixed with
them, or gives way to them. Missing cells are missing: nothing is imputed.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from braidbench.cell import differences
from braidbench.registry import Registry, registry
from braidbench.results import Curve, Result, instant
from braidbench.stats import Estimate, estimate, overall_rank_intervals, rank_intervals, ranks
from braidbench.text import plain
from braidbench.vetting import VERSIONS, Cell, Known, Vetted, vet


@dataclass
class Robustness:
    """One corruption of one modality under the ranking metric: the mean curve and both robustness measures."""

    corruption: str
    modality: str
    severities: list[float]
    scores: list[float | None]
    relative: Estimate | None
    effective: Estimate | None
    """None where the reference method has no curve for the same seed."""


@dataclass
class Row:
    """One line of a table."""

    label: str
    method: str
    overrides: dict[str, object]
    cells: list[Cell]
    """Every cell of the row, by seed: ok, failed and skipped ones."""
    precision: str = "fp32"
    scores: dict[str, Estimate | None] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    """Means over seeds, by the names of :class:`braidbench.results.Cost`."""
    rank: int | None = None
    rank_interval: tuple[int, int] | None = None
    """None for one seed, which says nothing of noise."""
    robustness: list[Robustness] = field(default_factory=list)
    apart: str = ""
    """Why it is shown and not ranked; empty for a row that counts."""
    refused: bool = False
    """Whether it stands apart because its results cannot be believed: its numbers are not shown then."""
    notes: list[str] = field(default_factory=list)
    """What a reader has to know beside the numbers, a sentence each: why a score is undefined, what was left out."""

    @property
    def differs(self) -> list[str]:
        """In what the row is not the method's own as the dataset declares it."""
        found = ["bf16"] if self.precision != "fp32" else []
        if "training.epochs" in self.overrides:
            found.append("changed epochs")
        if any(key != "training.epochs" for key in self.overrides):
            found.append("changed parameters")
        return found

    @property
    def own(self) -> bool:
        """Whether it is the method as the dataset declares it, and counts."""
        return not self.apart and not self.differs

    @property
    def ok(self) -> list[Cell]:
        return [cell for cell in self.cells if cell[1].status == "ok"]

    @property
    def troubles(self) -> list[Cell]:
        return [cell for cell in self.cells if cell[1].status != "ok"]


@dataclass(eq=False)
class Table:
    """One task: its rows, the best first, rows without a score last."""

    dataset: str
    task: str
    area: str
    metric: str
    directions: dict[str, Literal["higher", "lower"]]
    rows: list[Row]
    known: bool = False
    """Whether a plugin that is installed here declares the dataset."""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.task}"

    def decimals(self, metric: str) -> int:
        """Decimals to show this metric's column with."""
        # What stands apart must not change how the others are written.
        counted = [row for row in self.rows if not row.apart] or self.rows
        return decimals(score.mean for row in counted if (score := row.scores.get(metric)) is not None)

    @property
    def sign(self) -> int:
        return 1 if self.directions.get(self.metric, "higher") == "higher" else -1


@dataclass
class Overall:
    """A method over all tasks: its rank by mean rank, and how it generalises.

    Tasks count where two methods or more have a score. Only a method with a score on all of them has a mean rank, among
    its like: a mean over fewer tasks is no fair comparison, and nothing is imputed.

    A relative score is where the method stands between the worst (0) and the best (1) method of a task, whatever the
    metric's sign and direction. Source: *Foundations of Multisensory AI*, 7.3 and 7.5.2: in-domain are the datasets of
    the paper that proposed the method.
    """

    method: str
    tasks: int
    of_tasks: int
    """How many tasks compare methods."""
    mean_rank: float | None
    rank: int | None
    rank_interval: tuple[int, int] | None
    relative: dict[str, float]
    in_domain: float | None
    out_domain: float | None
    by_area: dict[str, float]
    variance: float | None
    """Of the relative score over tasks (n − 1); None for fewer than two."""


def tables(
    cells: Iterable[Cell], reference: str | None = None, metric: str | None = None, found: Registry | None = None
) -> list[Table]:
    """One table a task, by name. ``reference`` is the method of effective robustness; ``metric`` ranks instead of the
    task's first where a task has it. ``found`` is the registry whose word counts, this process's unless given."""
    return tables_of(vet(cells, found), reference, metric, found)


def tables_of(
    vetted: Iterable[Vetted], reference: str | None = None, metric: str | None = None, found: Registry | None = None
) -> list[Table]:
    """The tables of results that were vetted already."""
    known = Known(found or registry())
    by_task: dict[tuple[str, str], list[Vetted]] = defaultdict(list)
    for one in vetted:
        by_task[one.result.dataset, one.result.task].append(one)
    return [_table(*key, ones, reference, metric, known) for key, ones in sorted(by_task.items())]


@dataclass
class _Chosen:
    """What makes the rows of a task."""

    rows: list[Row]
    superseded: Counter[str] = field(default_factory=Counter)
    """Reason → how many results have given way to newer ones of their rows."""


def _choose(vetted: Sequence[Vetted]) -> _Chosen:
    """The rows, each with the cells that count: those of its newest make, one a seed.

    A row's cells are of one make when their identities differ in the seed alone. Results of older code, parameters or
    data lie beside newer ones, and a mean must not mix them: the make that finished last counts, whole; one whose
    scores were verified comes before any that nobody can check. A cell that failed or was skipped counts where its seed
    has none that is ok.
    """
    by_row: dict[_RowKey, list[Vetted]] = defaultdict(list)
    apart: dict[tuple[_RowKey, str], list[Vetted]] = defaultdict(list)
    for one in vetted:
        if one.apart:
            apart[_row_key(one.result), one.apart].append(one)
        else:
            by_row[_row_key(one.result)].append(one)
    chosen = _Chosen([_row(_newest_make(row)) for _, row in sorted(by_row.items())])
    for (key, reason), row in sorted(apart.items(), key=lambda item: item[0]):
        if key in by_row and reason.startswith(VERSIONS):
            chosen.superseded[reason] += len(row)
        else:
            chosen.rows.append(_row((_each_once(row), [])))
    return chosen


def newest(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that tables are made of, those of rows that stand apart among them."""
    return [cell for table in tables(cells) for row in table.rows for cell in row.cells]


def _newest_make(row: Sequence[Vetted]) -> tuple[list[Vetted], list[str]]:
    """The cells of a row that count, and a sentence for each seed that several results claim."""
    makes: dict[str, list[Vetted]] = defaultdict(list)
    for one in row:
        if one.result.status == "ok":
            makes[_make(one.result)].append(one)
    kept = max(makes.values(), key=lambda found: max(_standing(one) for one in found), default=[])
    others = _other_makes(makes, kept)
    # Beside seeds whose scores follow from their predictions a mere claim of another seed would change their mean.
    checked = {one.result.seed for one in kept if one.verified}
    claimed = sorted({one.result.seed for one in kept} - checked) if checked else []
    kept = [one for one in kept if one.result.seed not in claimed]
    chosen: dict[int, Vetted] = {}
    claims: dict[int, list[Result]] = defaultdict(list)
    for one in [*kept, *(one for one in row if one.result.status != "ok")]:
        seed, other = one.result.seed, chosen.get(one.result.seed)
        if one.result.status == "ok":
            claims[seed].append(one.result)
        if other is None or _standing(one) > _standing(other):
            chosen[seed] = one
    notes = [
        f"{different} different results claim seed {seed}: "
        + ("the verified one counts" if chosen[seed].verified else "the one that finished last counts")
        for seed, results in sorted(claims.items())
        if len(results) > 1 and (different := len({result.model_dump_json() for result in results})) > 1
    ]
    if claimed:
        seeds = ", ".join(map(str, claimed))
        notes.append(
            f"left out: seed {seeds}, whose predictions are not there to check the scores by, as they are of the others"
        )
    return list(chosen.values()), notes + others


def _other_makes(makes: Mapping[str, Sequence[Vetted]], kept: Sequence[Vetted]) -> list[str]:
    """A sentence for each make that has given way though its scores are verified too, with the first place where it
    differs from the one that counts."""
    notes = []
    for found in makes.values():
        if found[0] not in kept and any(one.verified for one in found):
            place = plain(differences(_of_make(found[0].result), _of_make(kept[0].result))[0], 160)
            number = f"{len(found)} result{'s' if len(found) > 1 else ''}"
            notes.append(f"left out: {number} of another make that finished earlier ({place})")
    return notes


def _each_once(row: Sequence[Vetted]) -> list[Vetted]:
    """The results of a row that stands apart; the very same one from two places is one."""
    return list({one.result.model_dump_json(): one for one in row}.values())


def _make(result: Result) -> str:
    return json.dumps(_of_make(result), sort_keys=True)


def _of_make(result: Result) -> dict[str, Any]:
    """What the identities of a row's seeds have in common."""
    return {key: value for key, value in result.identity.items() if key not in ("seed", "seeds")}


_RowKey = tuple[str, str, str]


def _row_key(result: Result) -> _RowKey:
    return result.method, json.dumps(result.overrides, sort_keys=True), result.precision


def _standing(one: Vetted) -> tuple[bool, bool, datetime, str, str]:
    """What decides between two results of one seed, or two makes of one row: the larger one counts."""
    result = one.result
    return result.status == "ok", one.verified, instant(result.finished), result.cell, str(one.path)


def _row(chosen: tuple[list[Vetted], list[str]]) -> Row:
    ones, notes = chosen
    ones = sorted(ones, key=lambda one: (one.result.seed, str(one.path)))
    result = ones[0].result
    row = Row(label_of(result), result.method, dict(result.overrides), [one.cell for one in ones], result.precision)
    row.apart, row.refused = plain(ones[0].apart), ones[0].refused
    undefined = {
        f"{name} is undefined (seed {one.result.seed})": reason
        for one in ones
        if one.result.status == "ok"
        for name, value in one.result.scores.items()
        if value is None and (reason := one.result.undefined.get(name, "no reason given"))
    }
    kept = [f"{place}: {plain(reason)}" for place, reason in _merged(undefined)]
    if not row.refused:
        # Of what cannot be believed, why that is so says enough.
        row.notes = list(dict.fromkeys([*kept, *notes, *(plain(note) for one in ones for note in one.notes)]))
    return row


def _merged(undefined: Mapping[str, str]) -> list[tuple[str, str]]:
    """Reasons of a metric, those that are the same for several seeds once."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place, reason in undefined.items():
        name, _, seed = place.rpartition(" (seed ")
        found[name, reason].append(seed.rstrip(")"))
    return [
        (f"{name} (seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)})", reason)
        for (name, reason), seeds in found.items()
    ]


def decimals(values: Iterable[float | None]) -> int:
    """How many decimals tell these numbers apart: four, or more where even the largest is below 0.1."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 4 if largest >= 0.1 or largest == 0 else min(3 - math.floor(math.log10(largest)), 12)


def label(method: str, overrides: Mapping[str, object]) -> str:
    """``late-fusion`` or ``late-fusion {training.epochs=5}``."""
    if not overrides:
        return plain(method)
    changes = ", ".join(f"{key}={_plain(value)}" for key, value in sorted(overrides.items()))
    return plain(f"{method} {{{changes}}}")


def label_of(result: Result) -> str:
    """The name of a result's row: ``late-fusion {precision=bf16}`` in another precision than the method's own."""
    precision = {} if result.precision == "fp32" else {"precision": result.precision}
    return label(result.method, {**result.overrides, **precision})


def _plain(value: object) -> str:
    """JSON, without the quotes of a text that cannot be taken for another value."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _table(
    dataset: str, task: str, vetted: list[Vetted], reference: str | None, metric: str | None, known: Known
) -> Table:
    chosen = _choose(vetted)
    rows = chosen.rows
    names = _metrics(dataset, task, rows, known)
    directions = {name: spec.direction for name in names if (spec := known.metric(name)) is not None}
    first = metric if metric in names else names[0] if names else ""
    table = Table(dataset, task, "", first, directions, rows, known.task(dataset, task) is not None)
    areas = Counter(plain(one.result.area) for one in vetted if one.result.area)
    table.area = max(areas, key=lambda area: (areas[area], area), default="")
    table.notes = [
        f"{count} result{'' if count == 1 else 's'} left out, for newer ones of the same rows are there: {reason}"
        for reason, count in sorted(chosen.superseded.items())
    ]
    for row in rows:
        row.scores = {name: None if row.refused else estimate(_values(row, name)) for name in names}
        row.cost = _cost(row)
    _rank(table)
    curves = [{} if row.apart else _curves(row, first) for row in rows]
    pairs = zip(rows, curves, strict=True)
    yardstick = next((found for row, found in pairs if row.own and row.method == reference), {})
    for row, found in zip(rows, curves, strict=True):
        row.robustness = _robustness(found, yardstick, table.sign)
    table.rows.sort(key=lambda row: (row.rank is None, row.rank or 0, bool(row.apart), row.label, row.apart))
    _tell_apart(table.rows)
    return table


def _tell_apart(rows: Sequence[Row]) -> None:
    """Give every row a label of its own: one that stands apart must not be taken for the method's."""
    taken: set[str] = set()
    for row in rows:
        wanted = f"{row.label} (apart)" if row.apart else row.label
        number = 2
        name = wanted
        while name in taken:
            name = f"{wanted} ({number})"
            number += 1
        taken.add(name)
        row.label = name


def _metrics(dataset: str, task: str, rows: Sequence[Row], known: Known) -> list[str]:
    """The task's metrics as it declares them; of a task that is not known here, those of its results, in the order that
    most of them have."""
    declared = known.task(dataset, task)
    if declared is not None:
        return [name for name in declared.metrics if known.metric(name) is not None]
    results = [row.ok[0][1] for row in rows if row.ok and not row.apart]
    results = results or [row.ok[0][1] for row in rows if row.ok and not row.refused]
    orders = Counter(tuple(result.scores) for result in results)
    common = max(orders, key=lambda order: (orders[order], len(order), order), default=())
    names = dict.fromkeys([*common, *(name for result in results for name in result.scores)])
    return [name for name in names if known.metric(name) is not None]


def _values(row: Row, metric: str) -> list[float]:
    return [value for _, result in row.ok if (value := result.scores.get(metric)) is not None]


def _cost(row: Row) -> dict[str, float]:
    costs = [result.cost.model_dump() for _, result in row.ok if result.cost is not None]
    if not costs:
        return {}
    return {
        name: statistics.fmean(cost[name] for cost in costs)
        for name, value in costs[0].items()
        if value is not None and all(cost[name] is not None for cost in costs)
    }


def _rank(table: Table) -> None:
    scored = [row for row in table.rows if row.scores.get(table.metric) is not None and not row.apart]
    if not scored:
        return
    oriented = [_oriented(row, table) for row in scored]
    places = ranks(np.array([statistics.fmean(values) for values in oriented]))
    for row, place, interval in zip(scored, places, rank_intervals(oriented), strict=True):
        row.rank, row.rank_interval = int(place), interval


def _oriented(row: Row, table: Table) -> list[float]:
    """The row's scores over seeds, higher being better."""
    return [table.sign * value for value in _values(row, table.metric)]


# --- robustness -------------------------------------------------------------------------------------------------------

_Key = tuple[str, str]


def _curves(row: Row, metric: str) -> dict[_Key, dict[int, Curve]]:
    """(corruption, modality) → seed of the corruption → curve."""
    found: dict[_Key, dict[int, Curve]] = defaultdict(dict)
    for _, result in row.ok:
        for curve in result.robustness:
            if curve.metric == metric:
                found[curve.corruption, curve.modality][curve.seed] = curve
    return found


def _robustness(
    curves: Mapping[_Key, Mapping[int, Curve]], reference: Mapping[_Key, Mapping[int, Curve]], sign: int
) -> list[Robustness]:
    rows = []
    for (corruption, modality), by_seed in sorted(curves.items()):
        first = by_seed[min(by_seed)]
        same = [curve for _, curve in sorted(by_seed.items()) if curve.severities == first.severities]
        gains = [
            gain
            for seed, curve in sorted(by_seed.items())
            if (other := reference.get((corruption, modality), {}).get(seed)) is not None
            and (gain := effective_robustness(curve, other, sign)) is not None
        ]
        rows.append(
            Robustness(
                corruption,
                modality,
                first.severities,
                [_mean([curve.scores[place] for curve in same]) for place in range(len(first.severities))],
                estimate([curve.relative for curve in same if curve.relative is not None]),
                estimate(gains),
            )
        )
    return rows


def effective_robustness(curve: Curve, reference: Curve, sign: int) -> float | None:
    """Mean over severities t of sign × (f(t) − (LF(t) + f(0) − LF(0))); None unless both were measured alike.

    Source: *Foundations of Multisensory AI*, 7.3, after Taori et al. (2020); LF is the reference's curve.
    """
    if curve.severities != reference.severities or curve.source != reference.source or curve.severities[0] != 0:
        return None
    own, other = curve.scores, reference.scores
    f = [value for value in own if value is not None]
    lf = [value for value in other if value is not None]
    if len(f) < len(own) or len(lf) < len(other):
        return None
    return sign * statistics.fmean(at - (reference_at + f[0] - lf[0]) for at, reference_at in zip(f, lf, strict=True))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


# --- over all tasks ---------------------------------------------------------------------------------------------------


def overall(found: Sequence[Table]) -> list[Overall]:
    """Every method as it declares itself that has a score: the complete ones by rank, then the others by name.

    Datasets that no plugin here declares do not count beside some that are: anybody can name one, and no method would
    be complete.
    """
    if any(table.known for table in found):
        found = [table for table in found if table.known]
    own = {table.name: {row.method: row for row in table.rows if row.own and row.rank} for table in found}
    methods = sorted({method for rows in own.values() for method in rows})
    compared = [table for table in found if len(own[table.name]) > 1]
    complete = [method for method in methods if compared and all(method in own[table.name] for table in compared)]
    scores = [[_oriented(own[table.name][method], table) for method in complete] for table in compared]
    ranked: dict[str, tuple[float, int, tuple[int, int] | None]] = {}
    if complete:
        means = np.array([[statistics.fmean(values) for values in task] for task in scores])
        mean_ranks = ranks(means).mean(axis=0)
        places = ranks(-mean_ranks)
        for m, interval in enumerate(overall_rank_intervals(scores)):
            ranked[complete[m]] = float(mean_ranks[m]), int(places[m]), interval
    relative = {table.name: _relative(table, own[table.name]) for table in compared}
    lines = []
    for method in methods:
        placed = {table: relative[table.name][method] for table in compared if method in relative[table.name]}
        inside = {table: own[table.name][method].ok[0][1].in_domain for table in placed}
        areas: dict[str, list[float]] = defaultdict(list)
        for table, value in placed.items():
            areas[table.area or "other"].append(value)
        mean_rank, rank, interval = ranked.get(method, (None, None, None))
        lines.append(
            Overall(
                method=method,
                tasks=sum(method in own[table.name] for table in compared),
                of_tasks=len(compared),
                mean_rank=mean_rank,
                rank=rank,
                rank_interval=interval,
                relative={table.name: value for table, value in placed.items()},
                in_domain=_mean([value for table, value in placed.items() if inside[table]]),
                out_domain=_mean([value for table, value in placed.items() if not inside[table]]),
                by_area={area: statistics.fmean(values) for area, values in sorted(areas.items())},
                variance=statistics.variance(placed.values()) if len(placed) > 1 else None,
            )
        )
    return sorted(lines, key=lambda line: (line.rank is None, line.rank or 0, line.method))


def _relative(table: Table, rows: Mapping[str, Row]) -> dict[str, float]:
    """Method → (score − worst) / (best − worst), oriented; nothing where all are equal."""
    means = {method: statistics.fmean(_oriented(row, table)) for method, row in rows.items()}
    worst, best = min(means.values()), max(means.values())
    return {method: (mean - worst) / (best - worst) for method, mean in means.items()} if best > worst else {}
