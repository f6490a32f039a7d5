"""Results → the rows of a comparison: what ``table`` prints and the leaderboard shows.

A row is a method (or a method on one modality) with its overrides, on one dataset's task. Rows with overrides stand
apart from the method's own. Missing cells are missing: nothing is imputed.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from braidbench.results import Curve, Result
from braidbench.stats import Estimate, Floats, estimate, rank_intervals, ranks

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
    robustness: list[Robustness] = field(default_factory=list)

    @property
    def ok(self) -> list[Cell]:
        return [cell for cell in self.cells if cell[1].status == "ok"]

    @property
    def troubles(self) -> list[Cell]:
        return [cell for cell in self.cells if cell[1].status != "ok"]


@dataclass
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

    @property
    def sign(self) -> int:
        return 1 if self.directions.get(self.metric, "higher") == "higher" else -1


@dataclass
class Overall:
    """A method over all tasks: mean rank, rank of that with its bootstrap interval, and how it generalises.

    A relative score is the method's score over the best one of its table (the inverse for errors): 1 is best. Source:
    *Foundations of Multisensory AI*, 7.3 and 7.5.2: in-domain are the datasets of the paper that proposed the method.
    """

    method: str
    tasks: int
    mean_rank: float
    rank: int
    rank_interval: tuple[int, int]
    relative: dict[str, float]
    in_domain: float | None
    out_domain: float | None
    by_area: dict[str, float]
    variance: float | None
    """Of the relative score over tasks; None for fewer than two."""


def tables(cells: Iterable[Cell], reference: str | None = None, metric: str | None = None) -> list[Table]:
    """One table a task, by name. ``reference`` is the method of effective robustness; ``metric`` ranks instead of the
    task's first where a task has it."""
    by_task: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_task[cell[1].dataset, cell[1].task].append(cell)
    return [_table(*key, found, reference, metric) for key, found in sorted(by_task.items())]


def newest(cells: Iterable[Cell]) -> list[Cell]:
    """One cell a row and seed: an ok one before others, then the one that finished last.

    Results of older code have another identity and lie beside newer ones; a mean must not mix them.
    """
    chosen: dict[tuple[str, ...], Cell] = {}
    for cell in cells:
        result = cell[1]
        key = (
            result.dataset,
            result.task,
            result.method,
            json.dumps(result.overrides, sort_keys=True),
            str(result.seed),
        )
        kept = chosen.get(key)
        if kept is None or _age(result) > _age(kept[1]):
            chosen[key] = cell
    return list(chosen.values())


def _age(result: Result) -> tuple[bool, str, str]:
    return result.status == "ok", result.finished, result.cell


def label(method: str, overrides: Mapping[str, object]) -> str:
    """``late-fusion`` or ``late-fusion {training.epochs=5}``."""
    if not overrides:
        return method
    return f"{method} {{{', '.join(f'{key}={value}' for key, value in sorted(overrides.items()))}}}"


def _table(dataset: str, task: str, cells: list[Cell], reference: str | None, metric: str | None) -> Table:
    rows: dict[str, Row] = {}
    for path, result in sorted(newest(cells), key=lambda cell: (cell[1].method, cell[1].seed, cell[1].cell)):
        name = label(result.method, result.overrides)
        row = rows.setdefault(name, Row(name, result.method, dict(result.overrides), []))
        row.cells.append((path, result))
    scored = next((result for row in rows.values() for _, result in row.ok), None)
    names = list(scored.scores) if scored else []
    chosen = metric if metric in names else names[0] if names else ""
    table = Table(dataset, task, "", chosen, dict(scored.directions) if scored else {}, list(rows.values()))
    table.area = next((result.area for _, result in cells if result.area), "")
    for row in table.rows:
        row.scores = {name: estimate(_values(row, name)) for name in names}
        row.cost = _cost(row)
    _rank(table)
    curves = {row.label: _curves(row, chosen) for row in table.rows}
    yardstick = curves.get(reference or "", {})
    for row in table.rows:
        row.robustness = _robustness(curves[row.label], yardstick, table.sign)
    table.rows.sort(key=lambda row: (row.rank is None, row.rank or 0, row.label))
    return table


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
    scored = [row for row in table.rows if row.scores.get(table.metric) is not None]
    if not scored:
        return
    means = np.array([row.scores[table.metric].mean for row in scored])  # type: ignore[union-attr]
    places = ranks(table.sign * means)
    intervals = rank_intervals(_matrix([scored], table.sign, [table.metric]))
    for row, place, interval in zip(scored, places, intervals, strict=True):
        row.rank, row.rank_interval = int(place), interval


def _matrix(rows: Sequence[Sequence[Row | None]], sign: int | Sequence[int], metrics: Sequence[str]) -> Floats:
    """(methods, tasks, seeds) oriented scores, NaN where there is none; ``rows[task][method]``."""
    signs = [sign] * len(rows) if isinstance(sign, int) else sign
    values = [
        [[] if row is None else _values(row, metric) for row in task]
        for task, metric in zip(rows, metrics, strict=True)
    ]
    width = max((len(found) for task in values for found in task), default=1)
    matrix = np.full((len(rows[0]), len(rows), max(width, 1)), np.nan)
    for t, task in enumerate(values):
        for m, found in enumerate(task):
            matrix[m, t, : len(found)] = np.asarray(found) * signs[t]
    return matrix


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
        first = next(iter(by_seed.values()))
        same = [curve for curve in by_seed.values() if curve.severities == first.severities]
        gains = [
            gain
            for seed, curve in by_seed.items()
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
    if curve.severities != reference.severities or curve.source != reference.source:
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
    """Every method without overrides over the tasks where it has a score, the best mean rank first."""
    usable = [table for table in found if any(row.rank is not None for row in table.rows)]
    own = [{row.method: row for row in table.rows if not row.overrides and row.rank is not None} for table in usable]
    methods = sorted({method for rows in own for method in rows})
    if not methods:
        return []
    matrix = _matrix(
        [[rows.get(method) for method in methods] for rows in own],
        [table.sign for table in usable],
        [table.metric for table in usable],
    )
    means = np.array([[_nanmean(matrix[m, t]) for t in range(len(usable))] for m in range(len(methods))])
    by_task = ranks(means)
    mean_ranks = np.array([_nanmean(line) for line in by_task])
    places = ranks(-mean_ranks)
    intervals = rank_intervals(matrix)
    relative = _relative(means, [table.sign for table in usable])
    rows = []
    for m, method in enumerate(methods):
        scores = {table.name: float(relative[m, t]) for t, table in enumerate(usable) if not np.isnan(relative[m, t])}
        domain = {
            table.name: own[t][method].ok[0][1].in_domain for t, table in enumerate(usable) if table.name in scores
        }
        areas: dict[str, list[float]] = defaultdict(list)
        for table in usable:
            if table.name in scores:
                areas[table.area].append(scores[table.name])
        rows.append(
            Overall(
                method=method,
                tasks=len(scores),
                mean_rank=float(mean_ranks[m]),
                rank=int(places[m]),
                rank_interval=intervals[m],
                relative=scores,
                in_domain=_mean([scores[name] for name, inside in domain.items() if inside]),
                out_domain=_mean([scores[name] for name, inside in domain.items() if not inside]),
                by_area={area: statistics.fmean(values) for area, values in sorted(areas.items())},
                variance=statistics.variance(scores.values()) if len(scores) > 1 else None,
            )
        )
    return sorted(rows, key=lambda row: (row.rank, row.method))


def _nanmean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _relative(means: Floats, signs: Sequence[int]) -> Floats:
    """(methods, tasks) score over the task's best one, in [0, 1]; for errors the best one over it."""
    result = np.full_like(means, np.nan)
    for t, sign in enumerate(signs):
        column = sign * means[:, t]
        known = ~np.isnan(column)
        best = column[known].max() if sign > 0 else column[known].min()
        with np.errstate(divide="ignore", invalid="ignore"):
            value = column / best if sign > 0 else best / column
        result[known, t] = np.clip(np.nan_to_num(value[known], nan=1.0), 0.0, 1.0)
    return result
