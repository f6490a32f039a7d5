"""Which methods to try on a dataset, from its interactions alone (thesis 3.3.4).

The decomposition of the dataset, normalised, is compared with those of the ten synthetic datasets of table 3.2; the
methods that score best on the nearest of them are recommended. The scores are results of ``braidbench run`` on
``synthetic/…``: those the user names, or else the recorded ones, which come with the package. The evidence is given in
full: distances, and every method's score on the nearest dataset.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from braidbench.errors import UsageError
from braidbench_interactions.estimation import Estimate
from braidbench_interactions.generators import TEN
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.synthetic import SPLITS
from braidbench_interactions.truth import truth

RECORDED = "synthetic_scores.json"
"""Test accuracy of seed 0 by plans/table-3.4.toml and plans/advice.toml; docs/interactions.md has the commands."""

Scores = Mapping[str, Mapping[str, float]]
"""Synthetic dataset → method → score, higher is better."""

ENOUGH = 0.95
"""Share of the information that a modality holds alone from which a model of it may do as well as any fusion."""

LITTLE = 0.02
"""Bits of information below which shares of it are noise, and advice is said to be doubtful."""


@dataclass(frozen=True)
class Neighbour:
    """A synthetic dataset and how far its interactions are."""

    dataset: str
    distance: float
    """Σ |share − share| over the four terms, between 0 and 2."""
    shares: tuple[float, float, float, float]
    """Of R, U1, U2 and S in its information."""


@dataclass(frozen=True)
class Advice:
    """Recommended methods, and why."""

    shares: tuple[float, float, float, float]
    """Of R, U1, U2 and S in the dataset's information."""
    neighbours: tuple[Neighbour, ...]
    """All ten, the nearest first."""
    recommended: tuple[str, ...]
    """Methods, the best first."""
    scores: Mapping[str, float]
    """Every method's score on the nearest dataset, the best first."""
    source: str
    """Where the scores come from."""
    notes: tuple[str, ...]
    estimate: Estimate

    def as_plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "scores": dict(self.scores), "estimate": self.estimate.as_plain()}


def shares(terms: Iterable[float]) -> FloatArray:
    """R, U1, U2 and S divided by their sum (equation 3.6); all zero if there is no information."""
    values = np.asarray(list(terms), dtype=np.float64)
    total = values.sum()
    normalised: FloatArray = values / total if total > 0 else values
    return normalised


def neighbours(terms: Iterable[float]) -> tuple[Neighbour, ...]:
    """The ten synthetic datasets by their distance to a decomposition (thesis 3.3.4), the nearest first."""
    own = shares(terms)
    found = []
    for name in TEN:
        other = shares(truth(name).terms)
        r, u1, u2, s = (float(value) for value in other)
        found.append(Neighbour(f"synthetic/{name}", float(np.abs(own - other).sum()), (r, u1, u2, s)))
    return tuple(sorted(found, key=lambda neighbour: neighbour.distance))


def advice(
    estimate: Estimate,
    names: tuple[str, str] = ("first", "second"),
    results: Iterable[Path] = (),
    top: int = 3,
    among: Iterable[str] | None = None,
) -> Advice:
    """Recommend ``top`` methods for a dataset of this decomposition.

    Args:
        estimate: of the dataset.
        names: of its two modalities, which stand for ``first`` and ``second`` of the synthetic datasets.
        results: folders of results on ``synthetic/…``; the recorded scores if there are none.
        among: the methods that can be had; all unless given.

    Raises:
        UsageError: ``top`` is below 1, or the results hold nothing on the nearest synthetic dataset.
    """
    if top < 1:
        raise UsageError(f"recommend one method or more, not {top}")
    folders = tuple(results)
    scores, source = (measured_scores(folders), ", ".join(map(str, folders))) if folders else recorded_scores()
    ranked = neighbours(estimate.values)
    nearest = ranked[0].dataset
    if not scores.get(nearest):
        raise UsageError(f"no result on {nearest!r} in {source}: braidbench run {nearest} METHOD …")
    ranking = sorted(scores[nearest].items(), key=lambda item: (-item[1], item[0]))
    ordered = {_renamed(method, names): score for method, score in ranking}
    if among is not None:
        had = set(among)
        ordered = {method: score for method, score in ordered.items() if method in had}
        if not ordered:
            raise UsageError(f"none of the methods that can be had has a score on {nearest!r} in {source}")
    notes = []
    if estimate.total < LITTLE * np.log(2) / np.log(estimate.base):
        notes.append(f"the dataset's information is {estimate.total:.3f} {estimate.unit}: too little to tell its kinds")
    if len(ranked) > 1 and ranked[1].distance - ranked[0].distance < 0.1:
        notes.append(f"{ranked[1].dataset} is nearly as near")
    alike = sum(_alike(score, ranking[0][1]) for score in ordered.values())
    if alike > top:
        notes.append(
            f"{alike} methods lie within two standard errors of the best on {nearest}: which of them comes first is "
            "noise, and any of them will do"
        )
    r, u1, u2, s = (float(value) for value in shares(estimate.values))
    for name, held in zip(names, (r + u1, r + u2), strict=True):
        if held >= ENOUGH:
            notes.append(
                f"{name} alone holds {held:.0%} of the information: hold every fusion against unimodal[{name}]"
            )
    return Advice((r, u1, u2, s), ranked, tuple(list(ordered)[:top]), ordered, source, tuple(notes), estimate)


def _alike(score: float, best: float) -> bool:
    """Whether two accuracies on the same test rows may differ by chance."""
    rows = SPLITS["test"]
    return 0.0 <= score <= best <= 1.0 and best - score <= 2 * math.sqrt(best * (1 - best) / rows)


def _renamed(method: str, names: tuple[str, str]) -> str:
    """``unimodal[first]`` → ``unimodal[image]``."""
    return method.replace("[first]", f"[{names[0]}]").replace("[second]", f"[{names[1]}]")


def measured_scores(folders: Iterable[Path], prefix: str = "synthetic/") -> Scores:
    """Mean score by dataset and method, of results of ``braidbench run``, by the ranking metric; errors are negated.

    Only datasets whose names begin with ``prefix``.
    """
    from braidbench.store import read
    from braidbench.summary import tables

    scores: dict[str, dict[str, float]] = {}
    for table in tables(read(tuple(folders)).results):
        if not table.dataset.startswith(prefix):
            continue
        for row in table.rows:
            score = row.scores.get(table.metric)
            # A row with overrides, or one measured differently, is no evidence about the method as it would be run.
            if score is not None and not row.overrides and not row.apart:
                scores.setdefault(table.dataset, {})[row.method] = table.sign * float(score.mean)
    return scores


def recorded_scores() -> tuple[Scores, str]:
    """The scores that come with the package, and what they are."""
    recorded = json.loads(files("braidbench_interactions").joinpath(RECORDED).read_text(encoding="utf-8"))
    return recorded["scores"], recorded["source"]


def record(folders: Iterable[Path], source: str) -> str:
    """The scores of results on ``synthetic/…`` as the JSON document that comes with the package."""
    rounded = {
        dataset: {method: round(score, 4) for method, score in sorted(methods.items())}
        for dataset, methods in sorted(measured_scores(folders).items())
    }
    return json.dumps({"source": source, "scores": rounded}, indent=1) + "\n"


@dataclass(frozen=True)
class Check:
    """How good advice was, by the scores that methods reached on the dataset itself (table 3.5)."""

    share: float
    """The best recommended method's score over the best of all; of errors, the other way round."""
    by_chance: float
    """The same for as many methods drawn at random, on average over every choice."""
    tried: tuple[str, ...]
    """Recommended methods that have a score."""
    best: str
    methods: int


def check(recommended: Iterable[str], scores: Mapping[str, float]) -> Check:
    """Advice against the scores on the dataset: higher is better, errors negated.

    Raises:
        UsageError: no recommended method has a score.
    """
    tried = tuple(name for name in recommended if name in scores)
    if not tried:
        raise UsageError("none of the recommended methods has a score on this dataset")
    shares = [_share(max(chosen), scores) for chosen in combinations(scores.values(), min(len(tried), len(scores)))]
    best = max(scores, key=lambda name: scores[name])
    share = _share(max(scores[name] for name in tried), scores)
    return Check(share, float(np.mean(shares)), tried, best, len(scores))


def _share(score: float, scores: Mapping[str, float]) -> float:
    best = max(scores.values())
    if best == score:
        return 1.0
    return score / best if best > 0 else best / score
