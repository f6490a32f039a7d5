"""What trained models learned: the interactions of their predictions, and what they lose when a modality is missing.

Source: *Foundations of Multisensory AI*, 3.3.3 and 3.3.4, table 3.4, figures 3.4 and 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError, UsageError
from braidbench.results import Result
from braidbench.specs import SPLITS
from braidbench_interactions.agreement import agreement
from braidbench_interactions.attributions import Attribution, integrated_gradients, shapley
from braidbench_interactions.evidence import Options
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.reading import Table
from braidbench_interactions.samples import TRAIN, IntArray

Prediction = Literal["label", "drawn"]

LITTLE = 0.05
"""Bits of unique information below which figure 3.4 explains a loss by synergy."""


@dataclass(frozen=True)
class Learned:
    """One trained model."""

    dataset: str
    method: str
    seed: int
    metric: str
    score: float
    """By the metric that ranks, on the test split; negated where a lower one is better."""
    needed: tuple[float, float, float, float]
    """R, U1, U2, S of the dataset, in bits."""
    terms: tuple[float, float, float, float]
    """R, U1, U2, S of the model's predictions, in bits."""
    drops: tuple[float, float]
    """What the score loses on the test split when the first, or the second, modality is missing."""
    shapley: Attribution | None = None
    gradients: Attribution | None = None
    """Where they were asked for and can be had: see :mod:`braidbench_interactions.attributions`."""

    @property
    def agreement(self) -> float:
        """α of equation 3.6."""
        return agreement(self.needed, self.terms).total


def learned(
    folder: Path,
    result: Result,
    table: Table,
    needed: Sequence[float],
    predictions: Prediction = "label",
    options: Options | None = None,
    attributions: bool = False,
) -> Learned:
    """The interactions of one stored model's predictions on its dataset's rows.

    The label that the model gives takes the place of the true one: D_pred = {(x1, x2, ŷ)}, decomposed by the estimator
    of ``options`` (``posterior`` unless given) as a dataset is. ``predictions="label"`` takes the most probable class,
    as the thesis does; a deterministic ŷ makes R + U1 + U2 + S = H(ŷ) whatever the model knows. ``"drawn"`` draws ŷ
    from the model's own probabilities, so that what it is unsure of is no information. A modality is missing when each
    of its rows is the training mean.

    Args:
        table: all rows of the dataset, as :func:`braidbench_interactions.reading.read` gives them.
        needed: R, U1, U2, S of the dataset.

    Raises:
        UsageError: the dataset has not two modalities, or ``"drawn"`` is asked of a regression.
        DataError: there is no model, or it was made by other code.
    """
    from braidbench.evaluation.scores import score
    from braidbench.trained import load_trained, without

    names = tuple(table.features)
    if len(names) != 2:
        raise UsageError(f"dataset {result.dataset!r} has {len(names)} modalities; interactions are of two")
    trained = load_trained(folder, result)
    opened = {name: trained.split(name) for name in SPLITS}
    given = np.concatenate([trained.predict(split)[0] for split in opened.values()])
    labels = table.choose(given) if predictions == "label" else _drawn(given, trained.recipe.task.kind, result.seed)
    terms = _terms(table, labels, options or Options("posterior", bootstrap=0, permutations=0))

    primary = next(iter(trained.recipe.metrics))
    sign = trained.recipe.metrics[primary].sign

    def measured(split: Any) -> float:
        value = score(trained.recipe.metrics, *trained.predict(split)).values[primary]
        return float("nan") if value is None else sign * value

    whole = measured(opened["test"])
    read = [modality.name for modality in trained.recipe.modalities]
    drops = [
        whole - measured(without(opened["test"], name, opened["train"])) if name in read else 0.0 for name in names
    ]
    r, u1, u2, s = (float(value) for value in terms)
    asked = attributions and len(read) == 2
    first, second, third, fourth = (float(value) for value in needed)
    return Learned(
        result.dataset, result.method, result.seed, primary, whole, (first, second, third, fourth), (r, u1, u2, s),
        (drops[0], drops[1]), shapley(trained) if asked else None, integrated_gradients(trained) if asked else None,
    )  # fmt: skip


def _drawn(given: NDArray[Any], kind: str, seed: int) -> IntArray:
    if kind != "classification":
        raise UsageError(f"labels can be drawn from probabilities of classes; this task is a {kind}")
    rng = np.random.default_rng([seed, 7])
    below = np.cumsum(given.astype(np.float64), axis=1) < rng.random((len(given), 1)) * given.sum(axis=1, keepdims=True)
    drawn: IntArray = below.sum(axis=1).clip(max=given.shape[1] - 1).astype(np.int64)
    return drawn


def _terms(table: Table, labels: IntArray, options: Options) -> FloatArray:
    """R, U1, U2, S of the labels in bits; zeros where there is but one."""
    from braidbench_interactions.estimation import estimate_samples
    from braidbench_interactions.samples import check_samples

    known = np.isin(labels, np.unique(labels[table.split == TRAIN]))
    if len(np.unique(labels[known])) < 2:
        return np.zeros(4)
    first, second = (features[known] for features in table.features.values())
    samples = check_samples(first, second, labels[known], table.split[known], options.seed)
    return estimate_samples(samples, replace(options, base=2)).values


def chosen_results(found: Iterable[tuple[Path, Result]], datasets: Sequence[str]) -> list[tuple[Path, Result]]:
    """Results with a score on one of the datasets (all, if none is named), whose methods are as they are declared."""
    kept = [
        (folder, result)
        for folder, result in found
        if result.status == "ok" and not result.overrides and (not datasets or result.dataset in datasets)
    ]
    if not kept:
        asked = f" on {', '.join(datasets)}" if datasets else ""
        raise DataError(f"there is no result{asked}: braidbench run DATASET METHOD …")
    return kept


# --- what they say together -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relation:
    """Two quantities of models, (n,) each."""

    x: str
    y: str
    over: str
    """Which models they are of, or how they are taken; empty for all of them as they are."""
    xs: FloatArray
    ys: FloatArray


def relations(models: Sequence[Learned]) -> list[Relation]:
    """What figures 3.4 and 3.5 plot, over any set of models.

    α against the score, over all models whose metric is the one most have, and within datasets (each dataset's means
    taken out, which leaves what tells models on one dataset apart), of all models and of those that see both
    modalities; U_i against what the score loses without modality i; and, where U_i ≤ 0.05 bit, S and R against it.
    """
    metrics = [model.metric for model in models]
    common = max(set(metrics), key=metrics.count)
    same = [model for model in models if model.metric == common]
    alphas, scores = np.array([m.agreement for m in same]), np.array([m.score for m in same])
    groups = np.array([m.dataset for m in same])
    # A row on one modality is named so: unimodal[first].
    both = np.array([not m.method.endswith("]") for m in same], dtype=bool)
    unique = np.array([m.terms[1 + i] for m in same for i in (0, 1)])
    synergy = np.array([m.terms[3] for m in same for _ in (0, 1)])
    redundancy = np.array([m.terms[0] for m in same for _ in (0, 1)])
    drops = np.array([drop for m in same for drop in m.drops])
    little = unique <= LITTLE
    lost, where = "loss without modality i", f"where U_i ≤ {LITTLE}"
    return [
        Relation("α", common, "", alphas, scores),
        Relation("α", common, "within datasets", _centred(alphas, groups), _centred(scores, groups)),
        Relation(
            "α",
            common,
            "within datasets, models of both modalities",
            _centred(alphas[both], groups[both]),
            _centred(scores[both], groups[both]),
        ),
        Relation("U_i", lost, "", unique, drops),
        Relation("S", lost, where, synergy[little], drops[little]),
        Relation("R", lost, where, redundancy[little], drops[little]),
    ]


def _centred(values: FloatArray, groups: NDArray[Any]) -> FloatArray:
    centred = values.copy()
    for group in np.unique(groups):
        centred[groups == group] -= values[groups == group].mean()
    return centred


@dataclass(frozen=True)
class Correlation:
    """Pearson's ρ over models, with how many there are and the interval that Fisher's z gives."""

    what: str
    value: float
    low: float
    high: float
    points: int


def correlate(relation: Relation) -> Correlation:
    """NaN where there are fewer than four models, or nothing varies."""
    from scipy.stats import pearsonr

    x, y = relation.xs, relation.ys
    what = ", ".join(part for part in (relation.x, relation.y, relation.over) if part)
    # Differences of rounding are no variation.
    if len(x) < 4 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return Correlation(what, float("nan"), float("nan"), float("nan"), len(x))
    found = pearsonr(x, y)
    interval = found.confidence_interval(0.95)
    return Correlation(what, float(found.statistic), float(interval.low), float(interval.high), len(x))


@dataclass(frozen=True)
class Family:
    """A row of table 3.4: one method over datasets."""

    method: str
    terms: Mapping[str, float]
    """R, U = U1 + U2, and S, each the mean over all datasets of the models' terms."""
    scores: Mapping[str, float]
    """The mean score on datasets whose largest term is R, U or S; left out where there is none."""


def families(models: Sequence[Learned]) -> list[Family]:
    """Table 3.4: which interactions each method learns on average, and how well it does where each is what counts."""
    rows = []
    for method in dict.fromkeys(model.method for model in models):
        own = [model for model in models if model.method == method]
        terms = {
            "R": float(np.mean([m.terms[0] for m in own])),
            "U": float(np.mean([m.terms[1] + m.terms[2] for m in own])),
            "S": float(np.mean([m.terms[3] for m in own])),
        }
        scores = {}
        for kind in terms:
            fitting = [m.score for m in own if _dominant(m.needed) == kind]
            if fitting:
                scores[kind] = float(np.mean(fitting))
        rows.append(Family(method, terms, scores))
    return rows


def _dominant(needed: Sequence[float]) -> str:
    r, u1, u2, s = needed
    return max({"R": r, "U": u1 + u2, "S": s}.items(), key=lambda item: item[1])[0]
