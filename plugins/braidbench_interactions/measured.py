"""Measured accuracies by kind of method: unimodal, simple and complex fusion (thesis 6.4.2, table 6.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from braidbench.errors import UsageError

SIMPLE = frozenset({
    "early-fusion", "late-fusion", "additive", "ensemble-additive", "ensemble-vote", "early-fusion-transformer",
    "late-fusion-transformer", "ef-lstm", "ef-slstm", "ef-blstm", "ef-sblstm", "lf-lstm",
})  # fmt: skip
"""Methods that concatenate inputs or representations, or add, average or count decisions. Every other one of several
modalities counts as complex."""

Accuracies = Mapping[str, Mapping[str, float]]
"""Dataset → row of its table (``unimodal[audio]``, ``late-fusion``) → mean test accuracy over seeds."""


@dataclass(frozen=True)
class Best:
    """The method of the highest mean test accuracy. As in the thesis it is chosen by what it is judged by."""

    method: str
    accuracy: float


@dataclass(frozen=True)
class Measured:
    """The best of each kind on one dataset; None where none was run."""

    unimodal: Best | None
    simple: Best | None
    complex: Best | None

    @property
    def multimodal(self) -> Best | None:
        """The better of simple and complex."""
        return _best([best for best in (self.simple, self.complex) if best is not None])

    @property
    def best(self) -> Best:
        """The best of all."""
        found = _best([best for best in (self.unimodal, self.simple, self.complex) if best is not None])
        assert found is not None
        return found


def accuracies(folders: Iterable[Path]) -> Accuracies:
    """Test accuracies of ``braidbench run`` in ``folders``, and of the synthetic datasets those that are recorded.

    Raises:
        UsageError: a folder that is not there.
    """
    from braidbench.store import read
    from braidbench.summary import tables
    from braidbench_interactions.advise import recorded_scores

    found = {dataset: dict(scores) for dataset, scores in recorded_scores()[0].items()}
    for table in tables(read(tuple(folders)).results):
        for row in table.rows:
            score = row.scores.get("accuracy")
            # A row with overrides, or one measured differently, is no evidence about the method as it would be run.
            if score is not None and not row.overrides and not row.apart:
                found.setdefault(table.dataset, {})[row.label] = float(score.mean)
    return found


def best_of_each(dataset: str, scores: Mapping[str, float]) -> Measured:
    """The best unimodal, simple and complex method.

    Raises:
        UsageError: no method has a score.
    """
    if not scores:
        raise UsageError(f"no accuracy on {dataset!r}: give its results, --results DIR (braidbench run {dataset} …)")
    kinds: dict[str, list[Best]] = {"unimodal": [], "simple": [], "complex": []}
    for method, accuracy in scores.items():
        kind = "unimodal" if method.startswith("unimodal") else "simple" if method in SIMPLE else "complex"
        kinds[kind].append(Best(method, accuracy))
    return Measured(*(_best(kinds[kind]) for kind in ("unimodal", "simple", "complex")))


def _best(candidates: list[Best]) -> Best | None:
    return max(candidates, key=lambda best: best.accuracy, default=None)
