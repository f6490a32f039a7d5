"""The measure ``interactions``: R, U1, U2 and S of every pair of modalities, as the leaderboard shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from braidbench.measuring import Opened
from braidbench_interactions.chart import said
from braidbench_interactions.estimation import Estimate
from braidbench_interactions.evidence import Estimator


def interactions(
    data: Opened,
    estimator: Estimator = "auto",
    label: str | None = None,
    quantiles: int = 2,
    clusters: int = 20,
    bootstrap: int = 100,
    permutations: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """All pairs of modalities in bits, as ``braidbench quantify`` estimates them with the same options.

    Raises:
        UsageError: the dataset has one modality, or an option is out of its range.
    """
    from itertools import combinations

    from braidbench.errors import UsageError
    from braidbench_interactions.reading import tabulate
    from braidbench_interactions.several import estimate_pairs

    table = tabulate(data, quantiles, label)
    if len(table.features) < 2:
        raise UsageError(f"dataset {data.dataset.name!r} has one modality; interactions are between two or more")
    found = estimate_pairs(
        table.features, table.labels, estimator, pairs=list(combinations(table.features, 2)), split=table.split,
        clusters=clusters, bootstrap=bootstrap, permutations=permutations, seed=seed,
    )  # fmt: skip
    return panel(table.label, list(found.items()))


def panel(label: str, found: Sequence[tuple[tuple[str, str], Estimate]]) -> dict[str, Any]:
    """One bar a pair of modalities; its parts are R, U1, U2 and S with their intervals.

    Args:
        label: what the information is about, in words.
        found: pairs of modalities and their estimates, all in one unit.
    """
    first = found[0][1]
    notes = [f"{first.confidence:.0%} intervals, corrected for bias; H(Y) = {first.label_entropy:.3f} {first.unit}."]
    notes += dict.fromkeys(f"{a} + {b}: {note}." for (a, b), estimate in found for note in estimate.notes)
    bars = [
        {
            "name": f"{a} + {b}",
            "parts": [
                {"name": said(name), "value": term.value, "low": term.low, "high": term.high}
                for name, term in estimate.terms.items()
            ],
        }
        for (a, b), estimate in found
    ]
    return {"label": label, "unit": first.unit, "bars": bars, "notes": notes[:50]}
