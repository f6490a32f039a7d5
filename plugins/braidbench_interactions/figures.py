"""What figures 6.2 and 6.3 of the thesis show, as panels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from braidbench_interactions.agreement import correlation
from braidbench_interactions.joint import FloatArray
from braidbench_interactions.measured import Measured
from braidbench_interactions.models import Relation, correlate
from braidbench_interactions.panels import Panel
from braidbench_interactions.random_joints import EXAMPLES, Study, study

Gains = list[tuple[str, float, Measured]]
"""Dataset, estimated performance and what was measured."""


def bound_panels(found: Study) -> list[Panel]:
    """Figure 6.2: S against two lower bounds and an upper one; on the line they are the same."""
    end = float(np.ceil(found.synergy.max() * 10) / 10)
    shown = (
        ("S_R, theorem 4", found.bounds.lower_redundancy),
        ("S_U, theorem 5, c = 1/4 nat", found.bounds.lower_uniqueness),
        ("three pairings, theorem 7", found.bounds.upper_pairings),
    )
    panels = []
    for title, bound in shown:
        low, high = _round(bound, 0.2)
        limits = (min(low, 0.0), max(high, end))
        panels.append(Panel(title, "S", "bound", (0.0, end), limits, (found.synergy, bound), ((0, 0), (end, end))))
    return panels


def disagreement_panels(found: Study) -> list[Panel]:
    """Disagreement of both classifiers against synergy, and against what theorem 5 says it needs."""
    joints = np.array(list(EXAMPLES.values())).reshape(-1, 2, 2, 2)
    marked = study(joints / joints.sum((1, 2, 3), keepdims=True))
    points = [
        (name[:3], float(alpha), float(s))
        for name, alpha, s in zip(EXAMPLES, marked.bounds.disagreement, marked.synergy, strict=True)
    ]
    alpha, bounds = found.bounds.disagreement, found.bounds
    x = (0.0, max(_round(alpha, 0.1)[1], 0.6))
    needed = found.synergy + (bounds.unique1 + bounds.unique2) / 2
    line = ((0.0, 0.0), (x[1], x[1] / (4 * math.log(2))))
    return [
        Panel("S; points: table 6.2", "disagreement α", "bits", x, (0.0, 1.0), (alpha, found.synergy), (), points),
        Panel("S + (U1 + U2) / 2; line: α / (4 ln 2)", "disagreement α", "bits", x, (0.0, 1.0), (alpha, needed), line),
    ]


def gain_panels(gains: Gains) -> list[Panel]:
    """Figure 6.3: what the best multimodal method gains over the best unimodal one, and the best complex over the best
    simple one, against the estimated performance. Datasets without one of them are left out."""
    fused, refined = [], []
    for name, estimated, seen in gains:
        if seen.unimodal is not None and seen.multimodal is not None:
            fused.append((name, estimated, seen.multimodal.accuracy - seen.unimodal.accuracy))
        if seen.simple is not None and seen.complex is not None:
            refined.append((name, estimated, seen.complex.accuracy - seen.simple.accuracy))
    panels = []
    for said, points in (("best multimodal − best unimodal", fused), ("best complex − best simple", refined)):
        if len(points) > 1:
            panels.append(_scatter(said, points))
    return panels


def relation_panels(relations: Sequence[Relation]) -> list[Panel]:
    """Figures 3.4 and 3.5: one panel a relation that has a correlation."""
    panels = []
    for relation in relations:
        found = correlate(relation)
        if found.value == found.value:
            ranges = [_round(values, 0.1) for values in (relation.xs, relation.ys)]
            x = f"{relation.x}, {relation.over}" if relation.over else relation.x
            title = f"ρ = {found.value:.2f} over {found.points}"
            points = [("", float(one), float(other)) for one, other in zip(relation.xs, relation.ys, strict=True)]
            panels.append(Panel(title, x, relation.y, ranges[0], ranges[1], points=points))
    return panels


def _scatter(said: str, points: Sequence[tuple[str, float, float]]) -> Panel:
    x, y = np.array([point[1] for point in points]), np.array([point[2] for point in points])
    title = f"ρ = {correlation(x.tolist(), y.tolist()):.2f}"
    low, high = _round(np.append(y, 0.0), 0.02)
    return Panel(title, "estimated performance", said, _round(x, 0.05), (low, high), None, (), points)


def _round(values: FloatArray, step: float) -> tuple[float, float]:
    """The range of ``values``, its ends moved outwards to multiples of ``step``, and not empty."""
    low, high = math.floor(values.min() / step + 1e-9) * step, math.ceil(values.max() / step - 1e-9) * step
    return round(low, 10), round(max(high, low + step), 10)
