"""A dataset's interactions as the document that the leaderboard shows on its page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from braidbench.measurements import Bar, Measurement, Part
from braidbench_interactions.chart import said
from braidbench_interactions.estimation import Estimate


def measurement(
    dataset: str, task: str, label: str, found: Sequence[tuple[tuple[str, str], Estimate]], command: str
) -> Measurement:
    """One bar a pair of modalities; its parts are R, U1, U2 and S with their intervals.

    Args:
        dataset, task: whose page it is for.
        label: what the information is about, in words.
        found: pairs of modalities and their estimates, all in one unit.
        command: measures it again.
    """
    first = found[0][1]
    notes = [f"{first.confidence:.0%} intervals, corrected for bias; H(Y) = {first.label_entropy:.3f} {first.unit}."]
    notes += dict.fromkeys(f"{a} + {b}: {note}." for (a, b), estimate in found for note in estimate.notes)
    return Measurement(
        measure="interactions",
        title="Interactions",
        dataset=dataset,
        task=task,
        label=label,
        unit=first.unit,
        bars=[_bar(f"{a} + {b}", estimate) for (a, b), estimate in found],
        notes=notes[:50],
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _bar(name: str, estimate: Estimate) -> Bar:
    parts = [
        Part(name=said(name), value=term.value, low=term.low, high=term.high) for name, term in estimate.terms.items()
    ]
    return Bar(name=name, parts=parts)
