"""Results → the rows of a comparison: what ``table`` prints and the leaderboard shows.

A row is a method (or a method on one modality) with its overrides, on one dataset's task. Rows with overrides stand
apart from the method's own. Missing cells are missing: nothing is imputed.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from braidbench.results import Curve, Result
from braidbench.stats import Estimate, estimate, overall_rank_intervals, rank_intervals, ranks

Cell = tuple[Path, Result]


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
    scores: dict[str, Estimate | None] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    """Means over seeds, by the names of :class:`braidbench.results.Cost`."""
    rank: int | None = None
    rank_interval: tuple[int, int] | None = None
    """None for one seed, which says nothing of noise."""
    robustness: list[Robustness] = field(default_factory=list)
    apart: bool = False
    """Measured on other data, or with other metrics or another protocol, than most rows: shown, and not ranked."""

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

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.task}"

    def decimals(self, metric: str) -> int:
        """Decimals to show this metric's column with."""
        return decimals(score.mean for row in self.rows if (score := row.scores.get(metric)) is not None)

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


def tables(cells: Iterable[Cell], reference: str | None = None, metric: str | None = None) -> list[Table]:
    """One table a task, by name. ``reference`` is the method of effective robustness; ``metric`` ranks instead of the
    task's first where a task has it."""
    by_task: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_task[cell[1].dataset, cell[1].task].append(cell)
    return [_table(*key, found, reference, metric) for key, found in sorted(by_task.items())]


def newest(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that count: of each row those of its newest make, one a seed.

    A row's cells are of one make when their identities differ in the seed alone. Results of older code, parameters or
    data lie beside newer ones, and a mean must not mix them: the make that finished last counts, whole. A cell that
    failed or was skipped counts where its seed has none that is ok.
    """
    by_row: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    for cell in cells:
        result = cell[1]
        by_row[result.dataset, result.task, *_row_key(result)].append(cell)
    return [cell for row in by_row.values() for cell in _newest_make(row)]


def _newest_make(row: Sequence[Cell]) -> list[Cell]:
    makes: dict[str, list[Cell]] = defaultdict(list)
    for cell in row:
        if cell[1].status == "ok":
            makes[_make(cell[1])].append(cell)
    kept = max(makes.values(), key=lambda found: max(_age(result) for _, result in found), default=[])
    chosen: dict[int, Cell] = {}
    for cell in [*kept, *(cell for cell in row if cell[1].status != "ok")]:
        other = chosen.get(cell[1].seed)
        if other is None or _age(cell[1]) > _age(other[1]):
            chosen[cell[1].seed] = cell
    return list(chosen.values())


def _make(result: Result) -> str:
    return json.dumps({k: v for k, v in result.identity.items() if k not in ("seed", "seeds")}, sort_keys=True)


def _row_key(result: Result) -> tuple[str, str]:
    return result.method, json.dumps(result.overrides, sort_keys=True)


def _age(result: Result) -> tuple[bool, str, str]:
    return result.status == "ok", result.finished, result.cell


def decimals(values: Iterable[float | None]) -> int:
    """How many decimals tell these numbers apart: four, or more where even the largest is below 0.1."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 4 if largest >= 0.1 or largest == 0 else min(3 - math.floor(math.log10(largest)), 12)


def label(method: str, overrides: Mapping[str, object]) -> str:
    """``late-fusion`` or ``late-fusion {training.epochs=5}``."""
    if not overrides:
        return method
    return f"{method} {{{', '.join(f'{key}={_plain(value)}' for key, value in sorted(overrides.items()))}}}"


def _plain(value: object) -> str:
    """JSON, without the quotes of a text that cannot be taken for another value."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value)


def _table(dataset: str, task: str, cells: list[Cell], reference: str | None, metric: str | None) -> Table:
    rows: dict[tuple[str, str], Row] = {}
    for path, result in sorted(newest(cells), key=lambda cell: (*_row_key(cell[1]), cell[1].seed)):
        name = label(result.method, result.overrides)
        row = rows.setdefault(_row_key(result), Row(name, result.method, dict(result.overrides), []))
        row.cells.append((path, result))
    _set_apart(list(rows.values()))
    names, directions = _metrics([row.ok[0][1] for row in rows.values() if row.ok and not row.apart])
    chosen = metric if metric in names else names[0] if names else ""
    table = Table(dataset, task, "", chosen, directions, list(rows.values()))
    table.area = next((result.area for _, result in cells if result.area), "")
    for row in table.rows:
        row.scores = {name: estimate(_values(row, name)) for name in names}
        row.cost = _cost(row)
    _rank(table)
    curves = {key: _curves(row, chosen) for key, row in rows.items()}
    yardstick = curves.get((reference or "", "{}"), {})
    for key, row in rows.items():
        row.robustness = _robustness(curves[key], yardstick, table.sign)
    table.rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.label))
    return table


def _metrics(results: Sequence[Result]) -> tuple[list[str], dict[str, Literal["higher", "lower"]]]:
    """Every metric, in the order that most results have them in, and the direction of each."""
    orders = Counter(tuple(result.scores) for result in results)
    common = max(orders, key=lambda order: (orders[order], len(order), order), default=())
    names = list(dict.fromkeys([*common, *(name for result in results for name in result.scores)]))
    known = {name: direction for result in results for name, direction in result.directions.items()}
    return names, {name: known.get(name, "higher") for name in names}


def _set_apart(rows: Sequence[Row]) -> None:
    """Mark the rows that were not measured on the data, or with the metrics, of most rows (of the newest, if equal)."""
    measured = [(row, _measured(row.ok[0][1]), max(result.finished for _, result in row.ok)) for row in rows if row.ok]
    counts: dict[str, tuple[int, str]] = {}
    for _, how, finished in measured:
        count, last = counts.get(how, (0, ""))
        counts[how] = count + 1, max(last, finished)
    for row, how, _ in measured:
        row.apart = how != max(counts, key=lambda key: (counts[key], key))


def _measured(result: Result) -> str:
    parts = {name: result.identity.get(name) for name in ("fingerprint", "metrics", "protocol_version")}
    return json.dumps(parts, sort_keys=True)


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
    if any(value is None for value in (*own, *other)):
        return None
    f, lf = np.asarray(own, np.float64), np.asarray(other, np.float64)
    return float(sign * (f - (lf + f[0] - lf[0])).mean())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


# --- over all tasks ---------------------------------------------------------------------------------------------------


def overall(found: Sequence[Table]) -> list[Overall]:
    """Every method without overrides that has a score: the complete ones by rank, then the others by name."""
    own = {table.name: {row.method: row for row in table.rows if not row.overrides and row.rank} for table in found}
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
