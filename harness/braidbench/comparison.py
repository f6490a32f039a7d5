"""Is one row better than another, beyond chance: paired tests on per-sample predictions, and the gate made of them.

Two rows are paired cell by cell, by seed, and within a cell sample by sample. What keeps a pair from being whole (a
row, seed or metric that is not there, a failed cell, results that stand apart or are of other data) is kept beside its
numbers as a sentence: a reader may look past that, a gate must not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError, UsageError
from braidbench.predictions import Predictions, read_predictions
from braidbench.registry import did_you_mean
from braidbench.results import Result, instant
from braidbench.stats import holm, paired_interval, sign_flip_p
from braidbench.store import read
from braidbench.summary import Row, Table, label_of, tables
from braidbench.text import plain
from braidbench.vetting import PREDICTIONS, Cell

Verdict = Literal["better", "tie", "worse"]

ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Stored:
    """What a results folder holds, as rows."""

    root: Path
    tables: list[Table]
    cells: list[Cell]
    """As they are stored, those that no row counts among them."""
    corrupt: list[str]
    """A sentence for each file that could not be read."""

    @property
    def labels(self) -> list[str]:
        """Names of the rows that count, each once."""
        return list(dict.fromkeys(_name(row) for table in self.tables for row in table.rows if not row.apart))

    def near(self, label: str) -> str:
        """A sentence with the row that may have been meant, or nothing."""
        changed = [name for name in self.labels if name.startswith(f"{label} {{")]
        return f" Did you mean {changed[0]!r}?" if changed else did_you_mean(label, self.labels)

    def apart(self, label: str) -> str:
        """Why results of this row stand apart; empty if none do."""
        rows = (row for table in self.tables for row in table.rows if row.apart and _name(row) == label)
        return next((row.apart for row in rows), "")


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two rows of a pair, on one task."""

    label: str
    where: str
    """How a sentence calls it: ``'late-fusion' in results``."""
    row: Row | None = None
    """None where no result of it counts."""
    apart: tuple[Row, ...] = ()
    failed: tuple[Result, ...] = ()
    """Cells that failed after the row's results that count were made: by newer code, say."""
    unread: int = 0
    """Files of its folder that could not be read, and may have been its cells."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two rows to compare: is the second better than the first?"""

    task: str
    metric: str
    first: Side
    second: Side


@dataclass
class Comparison:
    """What came of a pair. The numbers are None where nothing could be paired."""

    task: str
    first: str
    second: str
    score: str | None = None
    """What a sample's score is: ``accuracy``, ``label accuracy`` or ``-squared error``; more is better."""
    difference: float | None = None
    """Mean over seeds and samples of the second's score minus the first's."""
    interval: tuple[float, float] | None = None
    """Of the difference, at 95 %."""
    p: float | None = None
    seeds: int = 0
    samples: int = 0
    p_holm: float | None = None
    verdict: Verdict | None = None
    reasons: list[str] = field(default_factory=list)
    """What keeps the pair from being whole, a sentence each."""
    refused: str = ""
    """Why predictions that are there cannot be paired; empty if they can."""


def stored(root: Path, dataset: str | None = None) -> Stored:
    """The rows of a results folder, of one dataset or DATASET/TASK if given. Raises UsageError if it is not there."""
    found = read((root,))
    cells = [cell for cell in found.results if dataset in (None, cell[1].dataset, f"{cell[1].dataset}/{cell[1].task}")]
    return Stored(root, tables(cells), cells, found.corrupt)


def pairs_within(here: Stored, methods: Sequence[str]) -> list[Pair]:
    """Every two of ``methods``, in the order given, on every task that has results of either."""
    return [
        Pair(table.name, table.metric, *sides)
        for table in here.tables
        for one, other in itertools.combinations(dict.fromkeys(methods), 2)
        if _any(*(sides := (_side(here, table, one), _side(here, table, other))))
    ]


def pairs_with_baseline(here: Stored, baseline: Stored, methods: Sequence[str] = ()) -> list[Pair]:
    """Each of ``methods``, or every row of either folder, in ``baseline`` (the first) and in ``here`` (the second).

    Raises UsageError if the two are one folder, which would be no worse than itself.
    """
    if here.root.samefile(baseline.root):
        raise UsageError(f"--baseline {baseline.root} is the results folder itself; name one that was kept from before")
    before, after = ({table.name: table for table in side.tables} for side in (baseline, here))
    found = []
    for name in sorted(before | after):
        of = [t for t in (before.get(name), after.get(name)) if t is not None]
        labels = methods or sorted({_name(row) for table in of for row in table.rows})
        for label in dict.fromkeys(labels):
            first, second = _side(baseline, before.get(name), label), _side(here, after.get(name), label)
            if _any(first, second):
                found.append(Pair(name, of[-1].metric, first, second))
    return found


def compare(pairs: Iterable[Pair], margin: float | None = None) -> list[Comparison]:
    """The numbers and the verdict of each pair, p-values adjusted over all of them.

    Without a margin the second is *worse* (or *better*) where the adjusted p is at most 0.05 and the interval lies
    below (above) zero. With one it is *worse* wherever the interval's lower end is below −``margin``: unless it is
    shown to be no worse than that. Raises UsageError for a margin that is no finite number of 0 or more, or that no
    difference of the scores could exceed.
    """
    if margin is not None and not (np.isfinite(margin) and margin >= 0):
        raise UsageError(f"--margin {margin:g}: give a number of 0 or more, in the scores' own unit")
    made = [_compare(pair) for pair in pairs]
    measured = [one for one in made if one.p is not None]
    share = next((one for one in measured if one.score != SQUARED_ERROR), None)
    if margin is not None and margin >= 1 and share is not None:
        raise UsageError(
            f"--margin {margin:g}: {share.score} on {share.task} is a share of 0 to 1; nothing could be worse by more"
        )
    for one, adjusted in zip(measured, holm([one.p for one in measured if one.p is not None]), strict=True):
        assert one.interval is not None, "it has a p"
        one.p_holm, one.verdict = adjusted, verdict(one.interval, adjusted, margin)
    return made


def verdict(interval: tuple[float, float], p: float, margin: float | None = None) -> Verdict:
    """What an interval of the difference and an adjusted p say: see :func:`compare`."""
    low, high = interval
    if margin is not None and low < -margin:
        return "worse"
    if p <= ALPHA and low > 0:
        return "better"
    return "worse" if margin is None and p <= ALPHA and high < 0 else "tie"


def failures(made: Sequence[Comparison], verdict: Verdict) -> list[str]:
    """Why a gate that asks for no such verdict does not open, a sentence each; empty if it does."""
    found = []
    for one in made:
        at = f"{one.task}  {one.first} -> {one.second}: "
        if one.verdict == verdict:
            assert one.interval is not None, "it has a verdict"
            found.append(f"{at}{verdict} ({one.score} {one.difference:+.4f}, interval from {one.interval[0]:+.4f})")
        found += [at + reason for reason in one.reasons]
    return found if made else ["nothing was compared: there are no such results"]


# --- finding the two sides --------------------------------------------------------------------------------------------


def _name(row: Row) -> str:
    """The row's name without the mark of one that stands apart."""
    return label_of(row.cells[0][1])


def _side(stored: Stored, table: Table | None, label: str) -> Side:
    rows = [row for row in table.rows if _name(row) == label] if table else []
    counted = next((row for row in rows if not row.apart), None)
    failed: list[Result] = []
    if table is not None and counted is not None:
        done = {result.seed: instant(result.finished) for _, result in counted.ok}
        failed = [
            result
            for _, result in stored.cells
            if (result.dataset, result.task, label_of(result)) == (table.dataset, table.task, label)
            and result.status == "failed"
            and (result.seed not in done or instant(result.finished) > done[result.seed])
        ]
    apart = tuple(row for row in rows if row.apart)
    where = f"{label!r} in {stored.root}"
    return Side(label, where, counted, apart, tuple(failed), len(stored.corrupt))


def _any(first: Side, second: Side) -> bool:
    """Whether there is anything to compare: not where neither has results, or neither can serve the dataset."""
    rows = [row for side in (first, second) for row in (side.row, *side.apart) if row is not None]
    return any(result.status != "skipped" for row in rows for _, result in row.cells)


# --- one pair ---------------------------------------------------------------------------------------------------------


def _compare(pair: Pair) -> Comparison:
    first, second = pair.first, pair.second
    found = Comparison(pair.task, first.label, second.label)
    found.reasons = [reason for side in (first, second) for reason in _troubles(side)]
    if first.row is None or second.row is None:
        return found
    of_first, of_second = _by_seed(first.row), _by_seed(second.row)
    found.reasons += _lacking(first, second) + _lacking(second, first)
    matrix: list[NDArray[np.float64]] = []
    samples: NDArray[Any] | None = None
    for seed in sorted(of_first.keys() & of_second.keys()):
        one, other = of_first[seed], of_second[seed]
        found.reasons += _undefined(pair, seed, one[1], other[1])
        if not all((folder / PREDICTIONS).exists() for folder, _ in (one, other)):
            without = first if not (one[0] / PREDICTIONS).exists() else second
            found.reasons.append(f"seed {seed} of {without.where} has no {PREDICTIONS}; run its cell again")
            continue
        try:
            found.score, names, differences = _paired(one, other)
            samples = names if samples is None else samples
            if not np.array_equal(names, samples):
                raise DataError(
                    f"{other[0] / PREDICTIONS} is of other samples, or names them otherwise, than the seeds before it; "
                    "run the cells again on the same data"
                )
            matrix.append(differences)
        except DataError as error:
            found.refused = found.refused or str(error)
            found.reasons.append(str(error))
    if matrix and not found.refused:
        differences = np.stack(matrix)
        found.difference, found.interval = float(differences.mean()), paired_interval(differences)
        found.p = sign_flip_p(differences.mean(axis=0))
        found.seeds, found.samples = differences.shape
    return found


def _troubles(side: Side) -> list[str]:
    """What is wrong with one row by itself."""
    found = [f"{side.where} stands apart: {row.apart}" for row in side.apart]
    if side.row is None and not side.apart:
        found.append(f"there is no {side.where}")
    troubles = [] if side.row is None else [result for _, result in side.row.troubles]
    later = {result.cell for result in side.failed} - {result.cell for result in troubles}
    for result in [*troubles, *(result for result in side.failed if result.cell in later)]:
        what = f"{result.status} after the one that counts" if result.cell in later else result.status
        found.append(f"seed {result.seed} of {side.where} {what}: {plain(result.reason or 'no reason given')}")
    if side.unread:
        found.append(f"{side.unread} of its folder's results could not be read and may be of {side.where}")
    return found


def _lacking(side: Side, other: Side) -> list[str]:
    """The other side's seeds that this one has no cell of."""
    assert side.row is not None, "the caller asked"
    assert other.row is not None, "the caller asked"
    seeds = sorted({result.seed for _, result in other.row.cells} - {result.seed for _, result in side.row.cells})
    if not seeds:
        return []
    listed = ", ".join(map(str, seeds[:10])) + (", …" if len(seeds) > 10 else "")
    return [f"there is no seed {listed} of {side.where}"]


def _undefined(pair: Pair, seed: int, one: Result, other: Result) -> list[str]:
    """Metrics that say nothing here: the one that ranks, and any that only one of the two has a value of."""
    found = []
    for name in dict.fromkeys([pair.metric, *one.scores, *other.scores]):
        missing = [
            (side, result)
            for side, result in ((pair.first, one), (pair.second, other))
            if result.scores.get(name) is None
        ]
        if len(missing) == 2 and name != pair.metric:
            continue
        for side, result in missing:
            why = plain(result.undefined.get(name, "no reason given"))
            found.append(f"{name} is undefined for seed {seed} of {side.where}: {why}")
    return found


def _by_seed(row: Row) -> dict[int, Cell]:
    return {result.seed: (folder, result) for folder, result in row.ok}


def _paired(one: Cell, other: Cell) -> tuple[str, NDArray[Any], NDArray[np.float64]]:
    """(what a score is, (N,) names or rows of the samples, (N,) the other's score minus the one's)."""
    paths = [folder / PREDICTIONS for folder, _ in (one, other)]
    if _data(one[1]) != _data(other[1]):
        raise DataError(
            f"{paths[0]} and {paths[1]} are predictions of different data, or by another version of the protocol, and "
            "cannot be paired; run both cells again on the same data"
        )
    first, second = (read_predictions(path, ids=True) for path in paths)
    # By name if both have names, exactly as they are written; otherwise by row of the split.
    by_id = first.ids is not None and second.ids is not None
    names = [np.asarray(read.ids if by_id else read.index) for read in (first, second)]
    orders = [np.argsort(of, kind="stable") for of in names]
    paired = [of[order] for of, order in zip(names, orders, strict=True)]
    if not (np.array_equal(paired[0], paired[1]) and np.array_equal(first.target[orders[0]], second.target[orders[1]])):
        raise DataError(
            f"{paths[0]} and {paths[1]} are predictions of different rows or targets and cannot be paired; "
            "run both cells again on the same data"
        )
    name, scores = sample_scores(paths[0], first, one[1].task_kind)
    _, other_scores = sample_scores(paths[1], second, other[1].task_kind)
    return name, paired[0], other_scores[orders[1]] - scores[orders[0]]


def _data(result: Result) -> tuple[Any, ...]:
    identity = result.identity
    return identity.get("fingerprint"), identity.get("protocol_version"), result.task_kind


# --- one sample -------------------------------------------------------------------------------------------------------

SQUARED_ERROR = "-squared error"


def sample_scores(path: Path, read: Predictions, kind: str | None) -> tuple[str, NDArray[np.float64]]:
    """(what it is, (N,) score of each row) of predictions from ``path`` on a kind of task; more is better.

    0/1 correctness, share of right labels, or the mean squared error with its sign turned. Raises DataError for
    predictions that are not finite or not of the targets' shape.
    """
    prediction, target = read.prediction.astype(np.float64), read.target.astype(np.float64)
    if not (np.isfinite(prediction).all() and np.isfinite(target).all()):
        raise DataError(f"{path}: predictions or targets that are not finite; run its cell again")
    if (target.ndim != 1) if kind == "classification" else (prediction.shape != target.shape):
        raise DataError(f"{path}: predictions {prediction.shape} for targets {target.shape}; run its cell again")
    if kind == "classification":
        return "accuracy", (prediction.argmax(axis=1) == target).astype(np.float64)
    if kind == "multilabel":
        return "label accuracy", ((prediction > 0.5) == (target > 0.5)).mean(axis=1)
    return SQUARED_ERROR, -((prediction - target) ** 2).mean(axis=1)
