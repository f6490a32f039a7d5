"""The grid that robustness is measured on, and the area under a curve on it. No imports: what reads results comes
through here, and eleven points are sooner summed than made an array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

SEVERITIES = tuple(step / 10 for step in range(11))
"""The grid of the published protocol: 0, 0.1, …, 1."""


def relative_robustness(severities: Sequence[float], scores: Sequence[float | None], sign: int) -> float | None:
    """Area under ``sign`` × score over the severity range, divided by the range (trapezoids). None if a score is."""
    known = [score for score in scores if score is not None]
    if len(known) < len(scores) or len(scores) < 2:
        return None
    points = pairwise(zip(severities, known, strict=True))
    area = math.fsum((right - left) * (low + high) / 2 for (left, low), (right, high) in points)
    return sign * area / (severities[-1] - severities[0])
